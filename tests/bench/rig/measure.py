"""A measurement: stub brokers, a fresh proxy and the load, and what the proxy took meanwhile."""

import json
import subprocess
import time
import urllib.request
from dataclasses import dataclass, replace

from .certificate import Certificates
from .network import await_few_time_waits
from .process import LOAD_CORE, PROXY_CORE, Failure, Process, core_busy_ns, free_port
from .proxies import BINARIES, WEBSOCKET_PATH, Proxy
from .scenarios import PINGS

BROKERS = 3
# No broker may get less of the clients than this; a fair share is a third.
LEAST_SHARE = 0.15
# Handshakes are so dear that a quarter of the connects takes as long.
HANDSHAKES = 0.25
# More a second than any proxy does on a core.
MOST_HANDSHAKES = 6_000


@dataclass
class Settings:
    """What holds for all measurements of a run."""

    # Of connect churn over plain TCP.
    connects: int
    # Of round trips and streams.
    seconds: float
    # None where no scenario has TLS.
    certificates: Certificates | None


class Load:
    """The load generator, spoken to in lines."""

    def __init__(self, scenario, port, settings, directory, realtime=False):
        total = settings.connects
        if scenario.transport == "tls":
            total = max(scenario.clients, int(total * HANDSHAKES))
        command = [BINARIES / "load", scenario.kind, "--target", f"127.0.0.1:{port}"]
        command += ["--clients", scenario.clients, "--total", total]
        command += ["--seconds", settings.seconds, "--size", scenario.size, *scenario.options]
        if scenario.transport == "tls":
            command += ["--tls", settings.certificates.servers[scenario.key].cert]
            if scenario.mutual:
                command += ["--identity", settings.certificates.client.both]
        elif scenario.transport == "websocket":
            command += ["--websocket", WEBSOCKET_PATH]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = Process(scenario.name, command, LOAD_CORE, directory, realtime=realtime, **pipes)
        self.scenario = scenario

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop()

    def wait_ready(self):
        line = self._line()
        if line != "ready":
            raise Failure(f"{self.scenario.name}: failed before the timed part: {line}")

    def run(self):
        """Starts the timed part and gives its result, which is free of errors."""
        self.next()
        return self.result()

    def result(self):
        """Of the timed part that was started with `next`."""
        result = json.loads(self._line())
        if result["errors"] or not result["operations"]:
            raise Failure(f"{self.scenario.name}: {result}")
        return result

    def next(self):
        self.process.child.stdin.write("next\n")
        self.process.child.stdin.flush()

    def _line(self):
        line = self.process.child.stdout.readline().strip()
        if not line:
            self.process.child.wait()
            raise Failure(f"{self.scenario.name}: the load ended: {self.process.complaint()}")
        return line


class Stub:
    """The stub brokers."""

    def __init__(self, directory, name="stub", brokers=BROKERS, realtime=False):
        self.ports = [free_port() for _ in range(brokers)]
        command = [BINARIES / "stub"]
        for port in self.ports:
            command += ["--listen", f"127.0.0.1:{port}"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = Process(name, command, LOAD_CORE, directory, realtime=realtime, **pipes)
        for port in self.ports:
            self.process.wait_listening(port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop()

    def counts(self):
        self.process.child.stdin.write("counts\n")
        self.process.child.stdin.flush()
        return json.loads(self.process.child.stdout.readline())


def measure(scenario, name, settings, directory):
    """Runs a scenario on a fresh proxy; gives its sample."""
    if scenario.kind == "connect":
        await_few_time_waits()
    if scenario.kind == "fairness":
        return measure_fairness(scenario, name, settings, directory)
    with (
        Stub(directory) as stub,
        Proxy(name, stub.ports, directory, scenario, settings.certificates) as proxy,
    ):
        try:
            proxy.process.settle()
            with Load(scenario, proxy.port, settings, directory) as load:
                if scenario.kind == "idle":
                    sample = measure_memory(load, proxy)
                else:
                    sample = measure_cpu(scenario, load, proxy)
            check_brokers(scenario, stub.counts()[: len(proxy.brokers)])
            check_features(scenario, proxy, sample)
        except (Failure, OSError, ValueError) as error:
            complaint = proxy.process.complaint()
            raise Failure(f"{name}, {scenario.name}: {error}\n{name} said: {complaint}") from error
    return sample


def measure_cpu(scenario, load, proxy):
    process = proxy.process
    descriptors = process.descriptors()
    load.wait_ready()
    # What the opening of the sessions set off is not the timed part's.
    process.settle(descriptors if scenario.kind == "connect" else None)
    busy, cpu, start = core_busy_ns(PROXY_CORE), process.cpu_ns(), time.monotonic_ns()
    result = load.run()
    process.settle(descriptors if scenario.kind == "connect" else None)
    cpu, busy = process.cpu_ns() - cpu, core_busy_ns(PROXY_CORE) - busy
    wall = time.monotonic_ns() - start
    load.next()
    if scenario.kind == "stream":
        per_unit = cpu / result["bytes"]
    else:
        per_unit = cpu / 1e3 / result["operations"]
    return {
        "cpu": per_unit,
        **(result["latency_us"] or {}),
        "operations": result["operations"],
        "bytes": result["bytes"],
        "seconds": result["seconds"],
        "cpu_seconds": cpu / 1e9,
        # Share of the proxy's core that others took meanwhile: noise.
        "others": max(0, busy - cpu) / wall,
    }


def measure_fairness(scenario, name, settings, directory):
    """Pings of a session whose broker is idle, while the scenario's clients stream to other brokers, or shake hands."""
    with (
        Stub(directory) as sink,
        Stub(directory, "echo", brokers=1, realtime=True) as echo,
        Proxy(name, sink.ports, directory, scenario, settings.certificates, echo.ports[0]) as proxy,
    ):
        try:
            proxy.process.settle()
            with Load(PINGS, proxy.quiet_port, settings, directory, realtime=True) as pinger:
                pinger.wait_ready()
                if scenario.clients == 0:
                    proxy.process.settle()
                    pings, cpu, streamed = pinger.run(), None, None
                else:
                    noise = replace(scenario, kind="connect" if scenario.transport == "tls" else "stream")
                    # It goes on for longer than the pings.
                    connects = int((settings.seconds + 0.5) * MOST_HANDSHAKES / HANDSHAKES)
                    longer = replace(settings, seconds=settings.seconds + 0.5, connects=connects)
                    with Load(noise, proxy.port, longer, directory) as load:
                        load.wait_ready()
                        proxy.process.settle()
                        cpu = proxy.process.cpu_ns()
                        load.next()
                        time.sleep(0.2)
                        pings = pinger.run()
                        streamed = load.result()
                        proxy.process.settle()
                        cpu = proxy.process.cpu_ns() - cpu
                        load.next()
                pinger.next()
            check_brokers(scenario, sink.counts())
        except (Failure, OSError, ValueError) as error:
            complaint = proxy.process.complaint()
            raise Failure(f"{name}, {scenario.name}: {error}\n{name} said: {complaint}") from error
    sample = {f"ping {of}": value / 1e3 for of, value in pings["latency_us"].items()}
    sample["operations"] = pings["operations"]
    if streamed and scenario.transport == "tls":
        sample["cpu"] = cpu / 1e3 / streamed["operations"]
    elif streamed:
        sample["cpu"] = cpu / streamed["bytes"]
        sample["rate"] = streamed["bytes"] / streamed["seconds"] / 1e6
    return sample


def measure_memory(load, proxy):
    process, clients = proxy.process, load.scenario.clients
    descriptors = process.descriptors()
    empty = process.anonymous_bytes()
    taken = []
    for _wave in range(2):
        load.wait_ready()
        process.settle(descriptors)
        load.run()
        process.settle()
        taken.append((process.anonymous_bytes() - empty) / clients)
        load.next()
    load.wait_ready()
    return {"first": taken[0], "again": taken[1], "operations": 2 * clients, "empty_bytes": empty}


def check_brokers(scenario, counts):
    """The stub saw no error, and with many clients every broker has its share."""
    if any(broker["errors"] for broker in counts):
        raise Failure(f"errors at the brokers: {counts}")
    connects = [broker["connects"] for broker in counts]
    if scenario.clients >= 100 and min(connects) < LEAST_SHARE * sum(connects) * 3 / len(connects):
        raise Failure(f"not spread over the brokers: {connects}")


def check_features(scenario, proxy, sample):
    """The access log has a line for every session, and the metrics count them."""
    if scenario.kind != "connect":
        return
    if proxy.admin_port:
        with urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin_port}/metrics", timeout=5) as page:
            counted = sum(
                float(line.rpartition(" ")[2])
                for line in page.read().decode().splitlines()
                if line.startswith("mqtt_lb_sessions_total")
            )
        if counted < sample["operations"]:
            raise Failure(f"metrics count {counted} of {sample['operations']} sessions")
    if proxy.log:
        # Whatever is still buffered is written at the end.
        proxy.process.stop()
        if proxy.log_lines() < sample["operations"]:
            raise Failure(f"{proxy.log_lines()} log lines for {sample['operations']} sessions")
