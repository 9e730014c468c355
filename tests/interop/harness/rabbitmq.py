"""A RabbitMQ cluster with the MQTT plugin, on free loopback ports."""

import os
import subprocess
from pathlib import Path

from .process import LOOPBACK, Process, accepts, free_port

BIN = Path("/usr/lib/rabbitmq/bin")
INSTALLED = (BIN / "rabbitmq-server").exists()
# Erlang starts slowly, the more so on two busy cores.
STARTUP = 60.0
# One scheduler a node and no busy waiting: three nodes share the cores with all the rest.
FRUGAL = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
# The plugins that a node gets; libraries have other names and come with them.
PLUGINS = ("rabbitmq_mqtt", "rabbitmq_prelaunch")


class RabbitMqNode:
    """One node, which joins the cluster of `seeds`; its name is also that of the upstream."""

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
    """Three nodes; two of them have the queue of each persistent session."""

    def __init__(self, folder):
        self.folder = Path(folder)
        epmd = free_port()
        self.env = {
            **os.environ,
            # The nodes and the commands find their common cookie there.
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
            # The process is then the node itself and not a shell, so that signals reach the node.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        command = ["epmd", "-address", LOOPBACK, "-port", epmd]
        self.epmd = Process("epmd", command, self.folder, self.env)
        # The port in the name keeps two runs on one machine apart.
        names = [f"rabbit-{number}-{epmd}" for number in (1, 2, 3)]
        # The first forms the cluster: with seeds that do not answer it would wait for their lock.
        self.nodes = [RabbitMqNode(self, names[0], [])]
        self.nodes += [RabbitMqNode(self, name, names[:1]) for name in names[1:]]
        try:
            self.epmd.wait_until("a listener", lambda: accepts(epmd))
            self.form()
        except BaseException:
            self.stop()
            raise

    def plugins(self):
        """A folder with the needed plugins only. A node reads every plugin that it finds: with all
        of them three starts and a restart take 28 s of CPU time instead of 18 s."""
        folder = self.folder / "plugins"
        folder.mkdir()
        for plugin in next(BIN.parent.glob("lib/rabbitmq_server-*/plugins")).glob("*-*"):
            if not plugin.name.startswith("rabbitmq_") or plugin.name.startswith(PLUGINS):
                (folder / plugin.name).symlink_to(plugin)
        return folder

    def form(self):
        """Has the others join the first, one by one: two at once wait for each other's lock."""
        for node in self.nodes:
            node.start()
            node.wait()
        running = self.nodes[0].ctl("rabbitmqctl", "cluster_status", "--formatter", "json")
        assert all(f'"{node.name}@localhost"' in running for node in self.nodes), running
        # A classic queue that is on one node alone is out of reach while that node restarts.
        mirrored = '{"ha-mode": "exactly", "ha-params": 2, "ha-sync-mode": "automatic"}'
        self.nodes[0].ctl("rabbitmqctl", "set_policy", "sessions", "^mqtt-subscription-", mirrored)

    def restart(self, node, meanwhile):
        """Stops the node, runs `meanwhile`, and starts the node again, as RabbitMQ's guide to
        rolling upgrades says: once each of its queues has a synchronized mirror elsewhere."""
        node.ctl("rabbitmq-upgrade", "await_online_synchronized_mirror")
        node.ctl("rabbitmq-upgrade", "await_online_quorum_plus_one")
        node.stop()
        meanwhile()
        node.start()
        node.wait()

    def stop(self):
        # All are told first, so that they stop at the same time.
        for node in self.nodes:
            if node.process and node.process.child.poll() is None:
                node.process.child.terminate()
        for node in self.nodes:
            node.stop()
        self.epmd.kill()
