"""Brokers other than Mosquitto and RabbitMQ, on free loopback ports."""

import os
import sys
from pathlib import Path

from .process import LOOPBACK, Process, accepts, free_port
from .proxy import ROOT, binary

# An account of ejabberd, which accepts no client without one.
USER, PASSWORD = "device@localhost", "tell-nobody-2718281828"


class Broker:
    """One instance. Its class says what it does when it is asked directly, without a proxy:

    - `versions`: the protocol levels that it accepts
    - `takes_over`: whether a second connection of one client ID ends the first
    - `queues`: whether a session keeps messages while its client is away
    - `login`: the username and password that clients need
    """

    versions = (4,)
    takes_over = queues = True
    login = (None, None)

    def __init__(self, folder, name=None):
        self.name = name or type(self).__name__.lower()
        self.port = free_port()
        self.folder = Path(folder) / f"broker-{self.name}"
        self.folder.mkdir()
        self.process = Process(self.name, self.command(), self.folder, os.environ | self.env())
        try:
            self.process.wait_until("a listener", lambda: accepts(self.port))
        except BaseException:
            self.stop()
            raise

    def command(self):
        raise NotImplementedError

    def env(self):
        return {}

    def stop(self):
        # They keep nothing that an orderly end would save, and some take seconds for one.
        if self.process.child.poll() is None:
            self.process.kill()


class Ejabberd(Broker):
    """Debian's ejabberd: a chat server whose `mod_mqtt` serves MQTT to its accounts."""

    versions = (4, 5)
    login = (USER, PASSWORD)

    def command(self):
        config = self.folder / "ejabberd.yml"
        config.write_text(
            "hosts: [localhost]\n"
            "loglevel: warning\n"
            "listen:\n"
            f"  - {{ port: {self.port}, ip: '{LOOPBACK}', module: mod_mqtt, backlog: 1000 }}\n"
            "modules: { mod_mqtt: {} }\n"
        )
        # `ejabberdctl` would change the user and need an epmd; a node without a name needs neither.
        name, host = USER.split("@")
        register = (
            f'ok = ejabberd_auth:try_register(<<"{name}">>, <<"{host}">>, <<"{PASSWORD}">>).'
        )
        database = f'"{self.folder / "mnesia"}"'
        return [
            "erl", "-noinput", "+S", "1:1", "-mnesia", "dir", database, "-s", "ejabberd",
            "-eval", register,
        ]  # fmt: skip

    def env(self):
        # Debian has its libraries in the architecture's folder.
        return {
            "ERL_LIBS": str(next(Path("/usr/lib").glob("*/ejabberd-*")).parent),
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "HOME": str(self.folder),
        }


class Amqtt(Broker):
    """PyPI's amqtt, which serves 3.1.1 only."""

    takes_over = queues = False

    def command(self):
        config = self.folder / "amqtt.yaml"
        config.write_text(
            "listeners:\n"
            f"  default: {{ type: tcp, bind: '{LOOPBACK}:{self.port}' }}\n"
            "plugins:\n"
            "  amqtt.plugins.authentication.AnonymousAuthPlugin: { allow_anonymous: true }\n"
        )
        return [Path(sys.executable).with_name("amqtt"), "-c", config]


class Aedes(Broker):
    """npm's aedes, which serves 3.1 and 3.1.1."""

    versions = (3, 4)

    def command(self):
        return ["node", ROOT / "tests/interop/mqttjs/aedes.js", self.port]


class RumqttdV4(Broker):
    """The crate rumqttd, whose listeners serve one version each."""

    def command(self):
        return [binary().parent / "examples/rumqttd", self.port, self.versions[0]]


class RumqttdV5(RumqttdV4):
    versions = (5,)


KINDS = [Ejabberd, Amqtt, Aedes, RumqttdV4, RumqttdV5]
