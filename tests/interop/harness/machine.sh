# machine.sh FOLDER TARGET: boots systemd with this unit on a copy of the root, with FOLDER as /mnt.
# It runs in namespaces of its own (mount, pid, cgroup), so that nothing here outlives it.
set -euo pipefail
folder=$1 target=$2

mount --make-rprivate /
# Bound before the copy's place is covered.
mount --bind "$folder" /mnt
mount -t tmpfs -o mode=755 tmpfs /tmp
mkdir /tmp/{changes,work,root}
mount -t overlay -o lowerdir=/,upperdir=/tmp/changes,workdir=/tmp/work overlay /tmp/root
cd /tmp/root
mount --move /mnt mnt

mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
# The settings of the kernel are also those of this machine.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys

mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
# A unit with PrivateDevices copies it.
ln -s pts/ptmx dev/ptmx
mkdir dev/{pts,shm}
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
for temporary in dev/shm run tmp; do mount -t tmpfs tmpfs "$temporary"; done
chmod 1777 dev/shm tmp

# None of what this machine runs. The journal is in memory.
rm -rf etc/systemd/system var/log/journal
mkdir -p etc/systemd/system
# This machine has loaded its modules.
ln -s /dev/null etc/systemd/system/systemd-modules-load.service
: >etc/fstab
: >etc/machine-id
# Only where it says no would the package start nothing.
rm -f usr/sbin/policy-rc.d
# An index of all manual pages takes its time.
rm -f var/lib/man-db/auto-update
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' \
  >"etc/systemd/system/$target"

mkdir run/before
pivot_root . run/before
umount --lazy /run/before
echo booting
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd \
  --system --unit="$target" --show-status=no
