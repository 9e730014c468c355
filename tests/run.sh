#!/usr/bin/env bash
# Every test of mqtt-lb, on a Debian machine that has Rust: installs what they need, and runs them.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: tests/run.sh [--quick] [--audit]
  --quick  without the interop tests and what only they need
  --audit  installs cargo-deny where it is missing (some minutes), and runs it

Without --audit cargo-deny runs where it is installed. Its advisories need their database from the
network: DENY_CHECKS="advisories bans licenses sources" asks for them too.
USAGE
}

quick=false audit=false
for argument in "$@"; do
  case $argument in
    --quick) quick=true ;;
    --audit) audit=true ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done

cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR=$target
venv=$target/interop/venv
read -ra deny_checks <<<"${DENY_CHECKS:-bans licenses sources}"

passed=() failed=() skipped=()

# step TITLE COMMAND...: runs it under a heading; a failure is remembered, and the rest still runs.
step() {
  local title=$1 from=$SECONDS
  shift
  printf '\n=== %s\n' "$title"
  if "$@"; then
    passed+=("$title ($((SECONDS - from)) s)")
  else
    failed+=("$title")
    printf '=== FAILED: %s\n' "$title"
  fi
}

skip() {
  skipped+=("$1: $2")
  printf '\n=== %s: skipped, %s\n' "$1" "$2"
}

as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

is_installed() {
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Debian starts what it installs; a policy that says no keeps the default ports free.
install_quietly() {
  local policy=/usr/sbin/policy-rc.d ours=false code=0
  if [[ ! -e $policy ]]; then
    ours=true
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "$@" || code=$?
  if $ours; then as_root rm "$policy"; fi
  return "$code"
}

install_packages() {
  # A C compiler, because some crates have a little C.
  # fail2ban reads the access log in a test.
  local wanted=(build-essential dnsmasq-base fail2ban nginx-light haproxy openssl) missing=() package
  if ! $quick; then
    # nginx's stream module is for tests/bench/compare.sh, and for the PROXY protocol.
    wanted+=(libnginx-mod-stream mosquitto mosquitto-clients prometheus python3 python3-venv)
    # Another broker; and what a plugin of Mosquitto's is compiled with.
    wanted+=(ejabberd libmosquitto-dev mosquitto-dev)
    # For MQTT.js in a page; what drives it brings no browser of its own.
    wanted+=(chromium)
    # What takes access logs, and what puts them aside.
    wanted+=(rsyslog logrotate)
    # For devices with pre-shared keys.
    wanted+=(stunnel4)
    # For the network that loses packets.
    wanted+=(iproute2 nftables)
    # They read what is in deploy/ for them; procps has the kill of a unit. systemd also runs it.
    wanted+=(ca-certificates keepalived procps systemd)
    if ! command -v node >/dev/null; then wanted+=(nodejs); fi
    if ! command -v npm >/dev/null; then wanted+=(npm); fi
  fi
  for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
  done
  local rabbitmq=false
  if ! $quick && ! is_installed rabbitmq-server; then rabbitmq=true; fi
  if ((${#missing[@]})) || $rabbitmq; then as_root apt-get update -q || return; fi
  if ((${#missing[@]})); then install_quietly "${missing[@]}" || return; fi
  if $rabbitmq && ! install_quietly rabbitmq-server; then
    echo "rabbitmq-server cannot be installed: its tests will be skipped"
  fi
}

install_clients() {
  if [[ ! -x $venv/bin/python ]]; then python3 -m venv "$venv" || return; fi
  "$venv/bin/python" -m pip install -q --disable-pip-version-check \
    -r tests/interop/requirements.txt || return
  # npm leaves a lock in the folder it made; an older one is of other versions.
  if [[ tests/interop/package-lock.json -nt tests/interop/node_modules/.package-lock.json ]]; then
    (cd tests/interop && npm ci --silent) || return
  fi
}

# It makes the package that a test installs.
install_packager() {
  if ! command -v cargo-deb >/dev/null; then cargo install --locked --debug cargo-deb || return; fi
}

deny() {
  if ! command -v cargo-deny >/dev/null; then cargo install --locked cargo-deny || return; fi
  cargo deny check "${deny_checks[@]}"
}

# The tests with many kinds of brokers and clients spend most of their time waiting, so that they
# run at the same time as the others.
interop() {
  local names=(clients enhanced_authentication identity other_brokers rabbitmq)
  local kinds=("${names[@]/%/.py}")
  kinds=("${kinds[@]/#/tests/interop/test_}")
  local log=$target/interop/kinds.log code=0
  interop_tests kinds "${kinds[@]}" >"$log" 2>&1 &
  local kinds_run=$!
  # A script's background jobs do not get Ctrl-C.
  trap "kill $kinds_run 2>/dev/null || true" EXIT
  interop_tests rest tests/interop "${kinds[@]/#/--ignore=}" || code=$?
  wait "$kinds_run" || code=$?
  trap - EXIT
  cat "$log"
  return "$code"
}

# interop_tests NAME ARGUMENT...: runs pytest, with a folder of this name for what the tests write.
interop_tests() {
  MQTT_LB=$target/debug/mqtt-lb "$venv/bin/python" -m pytest -p no:cacheprovider \
    --basetemp "$target/interop/tmp-$1" -rs --durations 5 "${@:2}"
}

step "Debian packages" install_packages
step "cargo fmt" cargo fmt --check
step "cargo clippy" cargo clippy --all-targets --locked -- -D warnings
if $audit || command -v cargo-deny >/dev/null; then
  step "cargo deny" deny
else
  skip "cargo deny" "not installed (--audit installs it)"
fi
step "Unit and integration tests" cargo test --no-fail-fast --lib --bins --tests --examples --locked
step "Doc tests" cargo test --doc --locked
step "Documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked
if $quick; then
  skip "Interop tests" "--quick"
else
  step "Clients for the interop tests" install_clients
  step "cargo-deb" install_packager
  step "The proxy, and what the interop tests have in Rust" cargo build --locked --bins --examples
  step "Interop tests" interop
fi

printf '\n=== Summary, after %d s\n' "$SECONDS"
((${#passed[@]} == 0)) || printf 'passed   %s\n' "${passed[@]}"
((${#skipped[@]} == 0)) || printf 'skipped  %s\n' "${skipped[@]}"
((${#failed[@]} == 0)) || printf 'FAILED   %s\n' "${failed[@]}"
((${#failed[@]} == 0))
