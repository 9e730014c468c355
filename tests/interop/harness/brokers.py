"""Mosquitto on a free loopback port."""

import signal
import subprocess
from pathlib import Path

from .process import LOOPBACK, Process, accepts, free_port


class Mosquitto:
    """A broker without persistence, open to all unless `users` names some."""

    def __init__(self, folder, name, users=None, extra=""):
        self.name = name
        self.port = free_port()
        config = [f"listener {self.port} {LOOPBACK}", "persistence false"]
        # As root it would become another user, who cannot read the test's files.
        config += ["user root", f"allow_anonymous {'false' if users else 'true'}"]
        if users:
            passwords = Path(folder) / f"{name}.passwords"
            passwords.write_text("".join(f"{user}:{word}\n" for user, word in users.items()))
            subprocess.run(["mosquitto_passwd", "-U", passwords], check=True)
            config.append(f"password_file {passwords}")
        self.file = Path(folder) / f"{name}.conf"
        self.file.write_text("\n".join([*config, extra, ""]))
        self.start()

    def start(self):
        """On the port that it had, should it have been there before."""
        command = ["/usr/sbin/mosquitto", "-c", self.file]
        self.process = Process(self.name, command, self.file.parent)
        self.process.wait_until("a listener", lambda: accepts(self.port))

    def kill(self):
        """As `kill -9`: its connections end with it."""
        self.process.kill()

    def freeze(self):
        """It answers nothing any more, while the kernel still accepts connections for it."""
        self.process.child.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.child.send_signal(signal.SIGCONT)

    def stop(self):
        # A frozen one would not hear of its end.
        self.thaw()
        if self.process.child.poll() is None:
            self.process.stop()
