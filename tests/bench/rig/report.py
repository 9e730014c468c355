"""The table and the JSON: medians over the rounds, ratios and verdicts."""

from statistics import median

SUBJECT = "mqtt-lb"
# Another build of it, where one takes part.
BEFORE = "mqtt-lb-base"
FLOORS = ("relay", "relay-splice")
# Where the raw relay itself misses a ratio, being so close to it counts.
NEAR_FLOOR = 1.10

MEASURES = {
    "connect": [("cpu", "CPU")],
    "round-trips": [("cpu", "CPU"), ("p50", "p50"), ("p99", "p99"), ("p99.9", "p99.9")],
    "stream": [("cpu", "CPU")],
    "fairness": [("ping p50", "ping p50"), ("ping p99", "ping p99"), ("cpu", "CPU of the others")],
    "idle": [("first", "memory"), ("again", "memory, second wave")],
}


def summarize(scenarios, samples):
    """One row a measure: medians by proxy, ratios, target and whether it is met."""
    rows = []
    by_name = {}
    for scenario in scenarios:
        taken = samples.get(scenario.name)
        if not taken:
            continue
        for measure, label in MEASURES[scenario.kind]:
            values = {name: [run[measure] for run in runs if measure in run] for name, runs in taken.items()}
            values = {name: of for name, of in values.items() if of}
            if not values:
                continue
            medians = {name: median(of) for name, of in values.items()}
            peer, floor = best(medians, scenario.peers), best(medians, FLOORS)
            subject = medians.get(SUBJECT)
            base = by_name.get((scenario.base, measure), {}).get("medians", {})
            row = {
                "scenario": scenario.name,
                "measure": measure,
                "title": f"{scenario.title}: {label}",
                "unit": unit(scenario, measure),
                "values": values,
                "medians": medians,
                "to_peer": ratio(subject, peer),
                "to_relay": ratio(subject, floor),
                "to_before": ratio(subject, medians.get(BEFORE)),
                "relay_to_peer": ratio(floor, peer),
                # Of each proxy to itself in the scenario that is the base.
                "to_base": {name: ratio(of, base.get(name)) for name, of in medians.items()},
                "base": scenario.base,
                "target": scenario.targets.get(measure),
                "spread": max((max(of) - min(of)) / median(of) if median(of) else 0 for of in values.values()),
                "others": max((run.get("others", 0) for runs in taken.values() for run in runs)),
            }
            row["verdict"] = verdict(row, scenario.kind)
            by_name[scenario.name, measure] = row
            rows.append(row)
    return rows


def unit(scenario, measure):
    if measure.startswith("ping"):
        return "ms"
    return scenario.unit if measure in ("cpu", "first", "again") else "µs"


def best(medians, names):
    return min((medians[name] for name in names if name in medians), default=None)


def ratio(value, base):
    return value / base if value is not None and base else None


def verdict(row, kind):
    """`met`, `near relay` (where the relay misses the target too), `MISSED`, or nothing to say."""
    target, subject = row["target"], row["medians"].get(SUBJECT)
    if target is None or subject is None:
        return None
    if kind == "idle":
        return "met" if subject <= target else "MISSED"
    if row["base"]:
        own = row["to_base"][SUBJECT]
        return None if own is None else "met" if own <= target else "MISSED"
    if row["to_peer"] is None:
        return None
    if row["to_peer"] <= target:
        return "met"
    relay_misses = row["relay_to_peer"] is not None and row["relay_to_peer"] > target
    return "near relay" if relay_misses and row["to_relay"] <= NEAR_FLOOR else "MISSED"


def table(rows, proxies):
    """The rows as text, a column a proxy."""
    ratios = {"to_peer": "lb/peer", "to_relay": "lb/relay", "relay_to_peer": "relay/peer"}
    if BEFORE in proxies:
        ratios["to_before"] = "lb/base"
    heads = ["", "unit", *proxies, *ratios.values(), "target", "", "spread", "others"]
    lines = [heads]
    for row in rows:
        lines.append(
            [
                row["title"],
                row["unit"],
                *(number(row["medians"].get(name)) for name in proxies),
                *(fixed(row[key]) for key in ratios),
                limit(row),
                row["verdict"] or "",
                f"{row['spread']:.0%}",
                f"{row['others']:.0%}",
            ]
        )
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    text = []
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        text.append("  ".join(cells).rstrip())
    text.insert(1, "-" * max(map(len, text)))
    return "\n".join(text)


def limit(row):
    if row["target"] is None:
        return "–"
    return f"≤ {row['target']:,}" + (f" × {row['base']}" if row["base"] else "")


def additions(rows):
    """What optional work adds to the proxy without it, where both were measured."""
    lines = []
    for row in rows:
        for name, base in [
            ("mqtt-lb-guarded", "mqtt-lb-plain"),
            ("mqtt-lb-identity", "mqtt-lb"),
            ("mqtt-lb-rules", "mqtt-lb"),
        ]:
            added = ratio(row["medians"].get(name), row["medians"].get(base))
            if added is not None:
                lines.append(f"{row['title']}: {name} is {added:.3f} of {base}")
    return "".join(line + "\n" for line in lines)


def resumption(rows):
    """What each proxy saves where its clients come back with a ticket."""
    lines = []
    for row in rows:
        shares = [f"{name} {share:.2f}" for name, share in row["to_base"].items() if share is not None]
        if shares:
            lines.append(f"{row['title']}, to the same proxy's {row['base']}: {', '.join(shares)}")
    return "".join(line + "\n" for line in lines)


def number(value):
    """Three digits or so."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def fixed(value):
    return "–" if value is None else f"{value:.2f}"


NOTES = """\
CPU: all of the proxy's threads, user and system, divided by operations (bytes for streams); median of the rounds.
lb/peer: mqtt-lb to the better of HAProxy and nginx; lb/relay: to the raw epoll relay, the better with or without
splice; relay/peer: what that relay itself reaches. `near relay`: the relay misses the target too, and mqtt-lb is
within 1.10 of it. spread: largest difference between rounds of one proxy; others: largest share of the proxy's
core that was not the proxy's. nginx reads no CONNECT (its open-source build has no MQTT module, see --help): it
hashes the client's address and port, the relay the client ID by FNV-1a, HAProxy the client ID with its MQTT converter.
Pings: one every 2 ms, of a session with a broker of its own; lb/peer is then to HAProxy alone. lb/base: to mqtt-lb-base.
Over TLS: a P-256 certificate, and clients that offer TLS 1.3 with the suites and groups of OpenSSL 3, in its order."""
