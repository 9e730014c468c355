"""Mosquitto and RabbitMQ on free loopback ports."""

import os
import signal
import subprocess
from pathlib import Path

from .process import LOOPBACK, Process, accepts, free_port

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


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


class RabbitMq:
    """A private node with the MQTT plugin; epmd is started here too, so that it ends as well."""

    # Erlang starts slowly, the more so on two busy cores.
    STARTUP = 60.0

    def __init__(self, folder):
        self.name = "rabbitmq"
        self.port = free_port()
        folder = Path(folder)
        ports = {"amqp": free_port(), "epmd": free_port(), "dist": free_port()}
        config = folder / "rabbitmq.conf"
        config.write_text(
            f"listeners.tcp.default = {LOOPBACK}:{ports['amqp']}\n"
            f"mqtt.listeners.tcp.default = {LOOPBACK}:{self.port}\n"
            "mqtt.allow_anonymous = true\n"
        )
        plugins = folder / "enabled_plugins"
        plugins.write_text("[rabbitmq_mqtt].\n")
        env = {
            **os.environ,
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(ports["epmd"]),
            "RABBITMQ_NODENAME": f"mqtt-lb-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(ports["dist"]),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }
        epmd = ["epmd", "-address", LOOPBACK, "-port", ports["epmd"]]
        self.epmd = Process("epmd", epmd, folder, env)
        self.process = None
        try:
            self.epmd.wait_until("a listener", lambda: accepts(ports["epmd"]))
            self.process = Process("rabbitmq", [RABBITMQ], folder, env)
            self.process.wait_until("MQTT", lambda: accepts(self.port), self.STARTUP)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        if self.process:
            self.process.stop(self.STARTUP)
        self.epmd.kill()
