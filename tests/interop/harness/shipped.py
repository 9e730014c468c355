"""What is in deploy/, started as it is shipped but for addresses and paths."""

import json
from contextlib import ExitStack, contextmanager

import yaml

from .process import Process
from .proxy import ROOT, binary

DEPLOY = ROOT / "deploy"
TOKEN = "a-token-of-the-test"


def load(path):
    return yaml.safe_load((DEPLOY / path).read_text())


def with_token(config, folder):
    """The configuration with its token file where the test can write one."""
    file = folder / "admin.token"
    file.write_text(f"{TOKEN}\n")
    return {**config, "admin": {**config["admin"], "token_file": str(file)}}


@contextmanager
def running(folder, config, brokers, dns):
    """The proxy with this configuration, Mosquittos at `brokers` (host, port), and a name server
    that knows what `dns` says, in dnsmasq's words."""
    with ExitStack() as started:

        def start(name, said, *command):
            process = Process(name, command, folder)
            started.callback(process.kill)
            process.wait_until(f"{said!r}", lambda: said in process.text())
            return process

        for number, (host, port) in enumerate(brokers, 1):
            file = folder / f"mosquitto-{number}.conf"
            shipped = (DEPLOY / "docker/mosquitto.conf").read_text()
            text = shipped.replace("listener 1883", f"listener {port} {host}")
            assert text != shipped
            # As root it would become another user, who cannot read the test's files.
            file.write_text(f"{text}user root\n")
            start(f"mosquitto-{number}", " running\n", "/usr/sbin/mosquitto", "-c", file)
        options = ["--keep-in-foreground", "--log-facility=-", "--pid-file=", "--user=root"]
        options += ["--listen-address=127.0.0.53", "--bind-interfaces", "--no-resolv", "--no-hosts"]
        start("dnsmasq", " started, ", "/usr/sbin/dnsmasq", *options, *dns)
        file = folder / "config.yaml"
        file.write_text(json.dumps({**config, "dns": {"servers": ["127.0.0.53:53"]}}))
        yield start("mqtt-lb", "admin listening", binary(), "run", "-c", file)


def lines(proxy, **fields):
    """The access log's lines that have these fields, where the log is standard output."""
    every = [line for line in proxy.text().splitlines() if line.startswith('{"time":')]
    found = (json.loads(line) for line in every)
    return [one for one in found if all(one.get(key) == value for key, value in fields.items())]
