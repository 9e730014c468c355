"""A RabbitMQ cluster with the MQTT plugin, on free loopback ports."""

import os
import subprocess
from pathlib import Path

from .process import LOOPBACK, Process, accepts, free_port, wait_for

BIN = Path("/usr/lib/rabbitmq/bin")
INSTALLED = (BIN / "rabbitmq-server").exists()
# Erlang starts slowly, the more so on two busy cores.
STARTUP = 60.0
# One scheduler a node and no busy waiting: three nodes share the cores with all the rest.
FRUGAL = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
# Of the plugins only this one and what it is built on.
PLUGINS = ("rabbitmq_mqtt", "rabbitmq_prelaunch")


class RabbitMqNode:
    """One node; its name is also that of the upstream."""

    def __init__(self, cluster, name, seeds):
        self.name = name
        self.port = free_port()
        self.folder = cluster.folder / name
        self.folder.mkdir()
        config = self.folder / "rabbitmq.conf"
        lines = [
            f"listeners.tcp.default = {LOOPBACK}:{free_port()}",
            f"mqtt.listeners.tcp.default = {LOOPBACK}:{self.port}",
            "mqtt.allow_anonymous = true",
            # A node that finds none of the others yet would wait for the lock among them.
            "cluster_formation.peer_discovery_backend = classic_config",
        ]
        for number, seed in enumerate(seeds, 1):
            lines.append(f"cluster_formation.classic_config.nodes.{number} = {seed}@localhost")
        config.write_text("\n".join([*lines, ""]))
        enabled = self.folder / "enabled_plugins"
        enabled.write_text("[rabbitmq_mqtt].\n")
        self.env = cluster.env | {
            "RABBITMQ_NODENAME": f"{name}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(enabled),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
        }
        self.process = None

    def start(self):
        """Begins to start; `wait` tells when it serves."""
        self.process = Process(self.name, [BIN / "rabbitmq-server"], self.folder, self.env)

    def wait(self):
        self.process.wait_until("MQTT", lambda: accepts(self.port), STARTUP)

    def ctl(self, command, *arguments):
        """Runs one of RabbitMQ's commands against this node."""
        done = subprocess.run(
            [BIN / command, *arguments], env=self.env, capture_output=True, text=True,
            timeout=STARTUP,
        )  # fmt: skip
        assert done.returncode == 0, f"{command} {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def stop(self):
        """In order: its connections are closed, and its queues go on at their mirrors."""
        if self.process and self.process.child.poll() is None:
            self.process.stop(STARTUP)


class RabbitMqCluster:
    """Three nodes, each of which has every persistent session's queue."""

    def __init__(self, folder):
        self.folder = Path(folder)
        epmd = free_port()
        self.env = {
            **os.environ,
            # Where the nodes and the commands find their common cookie.
            "HOME": str(self.folder),
            # An epmd of the cluster's own, so that it ends with the tests.
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(epmd),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-kernel inet_dist_use_interface {{127,0,0,1}} {FRUGAL}"
            ),
            "RABBITMQ_CTL_ERL_ARGS": FRUGAL,
            "RABBITMQ_PLUGINS_DIR": str(self.plugins()),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }
        command = ["epmd", "-address", LOOPBACK, "-port", epmd]
        self.epmd = Process("epmd", command, self.folder, self.env)
        # The port in the name keeps two runs on one machine apart.
        names = [f"rabbit-{number}-{epmd}" for number in (1, 2, 3)]
        self.nodes = [RabbitMqNode(self, name, names[:1] if n else []) for n, name in enumerate(names)]
        try:
            self.epmd.wait_until("a listener", lambda: accepts(epmd))
            self.form()
        except BaseException:
            self.stop()
            raise

    def plugins(self):
        """A folder of the few plugins that are needed: a node reads all that it finds, which more
        than doubles the time that it takes to start."""
        folder = self.folder / "plugins"
        folder.mkdir()
        for plugin in next(BIN.parent.glob("lib/rabbitmq_server-*/plugins")).glob("*-*"):
            if not plugin.name.startswith("rabbitmq_") or plugin.name.startswith(PLUGINS):
                (folder / plugin.name).symlink_to(plugin)
        return folder

    def form(self):
        """The others join the first, one after the other: two at once wait for each other's lock."""
        for node in self.nodes:
            node.start()
            node.wait()
        running = self.nodes[0].ctl("rabbitmqctl", "cluster_status", "--formatter", "json")
        assert all(f'"{node.name}@localhost"' in running for node in self.nodes), running
        # A classic queue that is on one node alone is out of reach while that node restarts.
        mirrored = '{"ha-mode": "all", "ha-sync-mode": "automatic"}'
        self.nodes[0].ctl("rabbitmqctl", "set_policy", "sessions", "^mqtt-subscription-", mirrored)

    def restart(self, node, meanwhile):
        """As RabbitMQ's own guide for rolling upgrades has it: a node is stopped once each of its
        queues has a mirror that has all its messages."""
        node.ctl("rabbitmq-upgrade", "await_online_synchronized_mirror")
        node.ctl("rabbitmq-upgrade", "await_online_quorum_plus_one")
        node.stop()
        meanwhile()
        node.start()
        node.wait()

    def stop(self):
        # The last to stop is the first that is asked to start: none waits for another here.
        for node in self.nodes:
            if node.process and node.process.child.poll() is None:
                node.process.child.terminate()
        for node in self.nodes:
            node.stop()
        self.epmd.kill()
