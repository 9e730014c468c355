"""The scenarios: what is run and what is aimed at."""

from dataclasses import dataclass, field

# Those that can end TLS.
TLS_PROXIES = ("mqtt-lb", "mqtt-lb-base", "haproxy", "nginx")
# Those that can listen on two ports.
FAIR_PROXIES = ("mqtt-lb", "mqtt-lb-base", "haproxy", "haproxy-splice", "nginx")

PEERS = ("haproxy", "haproxy-splice", "nginx")


@dataclass
class Scenario:
    name: str
    title: str
    kind: str
    # What CPU time is divided by, or "session" where memory is.
    unit: str
    clients: int
    size: int = 64
    # Upper limits of mqtt-lb's ratio to the better peer, or of a value itself, by measure.
    targets: dict = field(default_factory=dict)
    # The only proxies that run it; None is all that are not just for streams.
    only: tuple | None = None
    # What clients speak to the proxy: "tcp", "tls" or "websocket".
    transport: str = "tcp"
    # Over TLS: the key of the proxy's certificate, and whether clients show one too.
    key: str = "p256"
    mutual: bool = False
    # Further options of the load generator.
    options: tuple = ()
    # Targets are then ratios to mqtt-lb's own value in the scenario of this name.
    base: str | None = None
    # Whose better one mqtt-lb is compared with.
    peers: tuple = PEERS

    def runs_on(self, name):
        if self.only is not None:
            return name in self.only
        # Splice variants differ from the plain ones only in streams.
        return self.kind == "stream" or not name.endswith("-splice")


def fairness(streams, targets):
    """Pings of one session while so many others stream 4 MiB messages through the same worker."""
    return Scenario(
        f"fair-{streams}",
        f"with {streams} bulk streams",
        "fairness",
        "ns/B",
        streams,
        4 * 1024 * 1024,
        targets=targets,
        only=FAIR_PROXIES,
        # Its round is budgeted as well; nginx reads a connection for as long as there is something.
        peers=("haproxy",),
    )


# The session whose pings are measured in those.
PINGS = Scenario("pings", "pings", "pings", "ms", 1)

# Targets are ratios to the better of HAProxy and nginx, but for memory: bytes.
SCENARIOS = [
    Scenario("connect", "connect churn", "connect", "µs/op", 100, targets={"cpu": 0.85}),
    Scenario("rtt-1", "QoS 1 round trips, 1 client", "round-trips", "µs/op", 1),
    Scenario("rtt-100", "QoS 1 round trips, 100", "round-trips", "µs/op", 100, targets={"cpu": 0.85}),
    Scenario(
        "rtt-1000",
        "QoS 1 round trips, 1,000",
        "round-trips",
        "µs/op",
        1_000,
        targets={"cpu": 0.75, "p99.9": 1.0},
    ),
    Scenario("rtt-5000", "QoS 1 round trips, 5,000", "round-trips", "µs/op", 5_000),
    Scenario(
        "stream-64k", "64 KiB QoS 0 stream", "stream", "ns/B", 4, 64 * 1024, targets={"cpu": 1.0}
    ),
    Scenario(
        "stream-1m", "1 MiB QoS 0 stream", "stream", "ns/B", 4, 1024 * 1024, targets={"cpu": 0.6}
    ),
    fairness(0, {}),
    fairness(1, {"ping p99": 0.5}),
    fairness(4, {"ping p99": 0.5}),
    fairness(16, {"ping p99": 0.5}),
    Scenario(
        "fair-tls",
        "during a storm of full TLS handshakes",
        "fairness",
        "µs/op",
        100,
        only=TLS_PROXIES,
        transport="tls",
        peers=("haproxy",),
    ),
    Scenario(
        "idle-6000", "6,000 idle", "idle", "B/session", 6_000, targets={"first": 1_300, "again": 1_300}
    ),
    Scenario(
        "idle-9000",
        "9,000 idle",
        "idle",
        "B/session",
        9_000,
        targets={"first": 1_300, "again": 1_300},
        only=("mqtt-lb", "mqtt-lb-base", "relay"),
    ),
    Scenario(
        "tls-connect",
        "full TLS handshake and session",
        "connect",
        "µs/op",
        100,
        targets={"cpu": 0.45},
        only=TLS_PROXIES,
        transport="tls",
    ),
    Scenario(
        "tls-connect-rsa",
        "full TLS handshake, RSA-2048",
        "connect",
        "µs/op",
        100,
        only=TLS_PROXIES,
        transport="tls",
        key="rsa2048",
    ),
    Scenario(
        "tls-connect-mutual",
        "full mutual TLS handshake",
        "connect",
        "µs/op",
        100,
        only=TLS_PROXIES,
        transport="tls",
        mutual=True,
    ),
    # Small devices often prefer the curve of their certificate.
    Scenario(
        "tls-connect-p256",
        "full TLS handshake, P-256 key exchange",
        "connect",
        "µs/op",
        100,
        only=TLS_PROXIES,
        transport="tls",
        options=("--key-exchange", "p256"),
    ),
    # OpenSSL has this key exchange from 3.5 on, so the peers of Debian 12 do not.
    Scenario(
        "tls-connect-pq",
        "full TLS handshake, X25519MLKEM768",
        "connect",
        "µs/op",
        100,
        only=("mqtt-lb", "mqtt-lb-base"),
        transport="tls",
        options=("--key-exchange", "x25519mlkem768"),
    ),
    Scenario(
        "tls-resume",
        "resumed TLS handshake and session",
        "connect",
        "µs/op",
        100,
        targets={"cpu": 0.4},
        only=TLS_PROXIES,
        transport="tls",
        options=("--resume",),
        base="tls-connect",
    ),
    Scenario(
        "tls-rtt-1000",
        "QoS 1 round trips over TLS, 1,000",
        "round-trips",
        "µs/op",
        1_000,
        targets={"cpu": 0.55},
        only=TLS_PROXIES,
        transport="tls",
    ),
    Scenario(
        "tls-stream-64k",
        "64 KiB QoS 0 stream over TLS",
        "stream",
        "ns/B",
        4,
        64 * 1024,
        targets={"cpu": 0.55},
        only=TLS_PROXIES,
        transport="tls",
    ),
    Scenario(
        "tls-idle-4000",
        "4,000 idle over TLS",
        "idle",
        "B/session",
        4_000,
        targets={"first": 1_800, "again": 1_800},
        only=TLS_PROXIES,
        transport="tls",
    ),
    Scenario(
        "tls-idle-9000",
        "9,000 idle over TLS",
        "idle",
        "B/session",
        9_000,
        targets={"first": 1_600, "again": 1_600},
        only=("mqtt-lb", "mqtt-lb-base"),
        transport="tls",
    ),
    Scenario(
        "ws-rtt-1000",
        "QoS 1 round trips over WebSocket, 1,000",
        "round-trips",
        "µs/op",
        1_000,
        only=("mqtt-lb", "mqtt-lb-base"),
        transport="websocket",
    ),
    Scenario(
        "ws-idle-4000",
        "4,000 idle over WebSocket",
        "idle",
        "B/session",
        4_000,
        targets={"first": 10_000, "again": 10_000},
        only=("mqtt-lb", "mqtt-lb-base"),
        transport="websocket",
    ),
]


def chosen(starts):
    """The scenarios whose names start so, and those that they are compared with."""
    bases = {scenario.base for scenario in SCENARIOS if scenario.name.startswith(starts)}
    return [one for one in SCENARIOS if one.name.startswith(starts) or one.name in bases]
