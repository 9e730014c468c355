#!/usr/bin/env python3
"""Compares the CPU, latency and memory of mqtt-lb with HAProxy's, nginx's and a raw epoll relay's.

The proxy under test has core 1 for itself; load generator and stub brokers share core 0.
Every measurement has a fresh proxy on a loopback of its own (without root: on the common one,
after waiting for its TIME_WAITs to end), and the proxies take turns within each scenario of each
round, so that drift of the machine meets all alike. Any error ends the run with status 1.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

from rig import certificate, network, process, proxies, report
from rig.measure import Settings, measure
from rig.process import Failure
from rig.scenarios import SCENARIOS, chosen

DEFAULT_PROXIES = "mqtt-lb,haproxy,nginx,relay,relay-splice"


def main():
    options = parse_options()
    # A signal ends the program as an exception does, through every `with`.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        compare(options)
    except Failure as failure:
        sys.exit(f"FAILED: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


def parse_options():
    parser = argparse.ArgumentParser(
        prog="compare.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"scenarios: {', '.join(scenario.name for scenario in SCENARIOS)}\n"
        f"proxies: {', '.join(proxies.STARTERS)}\n\n{proxies.ENVIRONMENT}",
    )
    parser.add_argument("--rounds", type=int, help="measurements of each (3; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="shorter and one round: under two minutes")
    parser.add_argument("--only", metavar="NAMES", help="scenarios, by the start of their names: rtt,stream-1m")
    parser.add_argument("--proxies", metavar="NAMES", default=DEFAULT_PROXIES, help=f"({DEFAULT_PROXIES})")
    parser.add_argument("--seconds", type=float, help="of round trips and streams (3; 1 with --quick)")
    parser.add_argument("--connects", type=int, help="of connect churn (12,000; 5,000 with --quick); a quarter with TLS")
    parser.add_argument(
        "--realtime", action="store_true", help="run the proxies ahead of what else the machine does (SCHED_FIFO)"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all numbers here")
    parser.add_argument("--no-build", action="store_true", help="take the binaries as they are")
    options = parser.parse_args()

    process.proxies_are_realtime = options.realtime
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1.0 if options.quick else 3.0)
    # Well below the 28,232 ephemeral ports that a client has towards one proxy.
    options.connects = options.connects or (5_000 if options.quick else 12_000)
    options.proxies = options.proxies.split(",")
    for name in options.proxies:
        if name not in proxies.STARTERS:
            parser.error(f"no such proxy: {name}")
    starts = tuple((options.only or "").split(","))
    options.scenarios = chosen(starts)
    if not options.scenarios:
        parser.error(f"no such scenario: {options.only}")
    return options


def compare(options):
    with_tls = any(scenario.transport == "tls" for scenario in options.scenarios)
    absent = proxies.missing(options.proxies, with_tls)
    if absent:
        raise Failure(f"not installed: {', '.join(absent)} (apt-get install, or leave out with --proxies)")
    if len(os.sched_getaffinity(0)) < 2:
        raise Failure("two cores are needed: one for the proxy, one for the load")
    if not options.no_build:
        proxies.build(options.proxies)

    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mqtt-lb-bench-") as keys:
        made = certificate.make(Path(keys)) if with_tls else None
        samples, isolated = take_turns(options, Settings(options.connects, options.seconds, made))

    if not isolated:
        print("\nNo network namespace without root: all measurements shared one loopback.")
    rows = report.summarize(options.scenarios, samples)
    print()
    print(report.table(rows, options.proxies))
    print()
    print(report.NOTES)
    print(report.additions(rows) + report.resumption(rows), end="")
    print(f"\n{options.rounds} round(s) in {time.monotonic() - begin:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(document(options, rows, samples), indent=2) + "\n")


def take_turns(options, settings):
    """Every scenario on every proxy in every round; tells also whether each had a loopback of its own."""
    samples = {}
    isolated = True
    for round_number in range(options.rounds):
        for scenario in options.scenarios:
            # Memory does not vary: once is enough.
            if scenario.kind == "idle" and round_number > 0:
                continue
            names = [name for name in options.proxies if scenario.runs_on(name)]
            turn = round_number % len(names) if names else 0
            for name in names[turn:] + names[:turn]:
                isolated = isolated and network.renew()
                with tempfile.TemporaryDirectory(prefix="mqtt-lb-bench-") as directory:
                    sample = measure(scenario, name, settings, Path(directory))
                samples.setdefault(scenario.name, {}).setdefault(name, []).append(sample)
                show(round_number, options.rounds, scenario, name, sample)
    return samples, isolated


def show(round_number, rounds, scenario, name, sample):
    if scenario.kind == "fairness":
        rate = f", {sample['rate']:,.0f} MB/s at {sample['cpu']:.3f} ns/B" if "rate" in sample else ""
        pings = " / ".join(report.number(sample[f"ping {of}"]) for of in ("p50", "p99", "max"))
        said = f"pings {pings} ms (p50 / p99 / max){rate}"
    else:
        value = sample["first"] if scenario.kind == "idle" else sample["cpu"]
        said = f"{report.number(value):>8} {scenario.unit}"
    print(
        f"round {round_number + 1}/{rounds}  {scenario.name:<14}  {name:<15}{said}",
        flush=True,
    )


def document(options, rows, samples):
    return {
        "machine": {
            "kernel": platform.release(),
            "cores": os.cpu_count(),
            "processor": processor(),
        },
        "versions": {name: proxies.version(name) for name in options.proxies},
        "rounds": options.rounds,
        "seconds": options.seconds,
        "connects": options.connects,
        "rows": rows,
        "samples": samples,
    }


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
