"""How each proxy is configured and started, as an operator would run it."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

from .process import PROXY_CORE, Failure, Process, free_port

ROOT = Path(__file__).resolve().parents[3]
RIG = ROOT / "tests/bench/load"
BINARIES = RIG / "target/release"
WEBSOCKET_PATH = "/mqtt"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


class Proxy:
    """A running proxy: its process, where it listens and where its access log is."""

    def __init__(self, name, brokers, directory, transport, certificate):
        self.port = free_port()
        # What clients speak: "tcp", "tls" with the certificate or "websocket".
        self.transport = transport
        self.certificate = certificate
        self.log = None
        self.admin_port = None
        # Those it is to use.
        self.brokers = brokers
        self.process = STARTERS[name](self, brokers, directory)
        try:
            self.process.wait_listening(self.port)
        except BaseException:
            self.process.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop()

    def log_lines(self):
        """Lines of the access log; complete only once the proxy has ended."""
        with self.log.open("rb") as log:
            return sum(1 for _ in log)


def missing(names, with_tls):
    """What has to be installed for the chosen proxies, and to make a certificate."""
    needed = {"haproxy": ["haproxy"], "haproxy-splice": ["haproxy"], "nginx": ["nginx"]}
    tools = {tool for name in names for tool in needed.get(name, [])}
    tools |= {"cargo", "openssl"} if with_tls else {"cargo"}
    return sorted(tool for tool in tools if not shutil.which(tool))


def build(names):
    """Builds the rig and, if it takes part, the proxy."""
    commands = [["cargo", "build", "--release", "--locked", "--manifest-path", RIG / "Cargo.toml"]]
    if any(name.startswith("mqtt-lb") for name in names):
        commands.append(["cargo", "build", "--release", "--locked", "--bin", "mqtt-lb"])
    for command in commands:
        if subprocess.run(command, cwd=ROOT).returncode:
            raise Failure("the build failed")


def version(name):
    """What a proxy says it is."""
    command = {
        "mqtt-lb": [ROOT / "target/release/mqtt-lb", "--version"],
        "haproxy": ["haproxy", "-v"],
        "nginx": ["nginx", "-v"],
    }.get(name)
    if command is None:
        return None
    said = subprocess.run(command, capture_output=True, text=True)
    return (said.stdout + said.stderr).splitlines()[0].strip()


def start_mqtt_lb(proxy, brokers, directory, **pool):
    proxy.log = directory / "access.log"
    proxy.admin_port = free_port()
    upstreams = [
        {"name": f"broker-{at}", "address": f"127.0.0.1:{port}"} for at, port in enumerate(brokers, 1)
    ]
    listener = {"name": "mqtt", "bind": f"127.0.0.1:{proxy.port}", "pool": "brokers"}
    if proxy.transport == "tls":
        listener["tls"] = {
            "certificates": [{"cert": str(proxy.certificate.cert), "key": str(proxy.certificate.key)}]
        }
    elif proxy.transport == "websocket":
        listener["websocket"] = {"path": WEBSOCKET_PATH}
    # JSON is YAML.
    config = {
        "runtime": {"workers": 1},
        "listeners": [listener],
        "pools": [{"name": "brokers", "upstreams": upstreams, **pool}],
        "access_log": [{"path": str(proxy.log), "format": "json"}],
        "admin": {"bind": f"127.0.0.1:{proxy.admin_port}"},
        # Sessions that the load left open must not hold up the end of a run.
        "drain": {"timeout": "1s"},
    }
    file = directory / "config.yaml"
    file.write_text(json.dumps(config, indent=2))
    command = [ROOT / "target/release/mqtt-lb", "run", "-c", file]
    return Process("mqtt-lb", command, PROXY_CORE, directory)


def start_plain(proxy, brokers, directory):
    """One static broker and no checks: what the care for several brokers is measured against."""
    proxy.brokers = brokers[:1]
    return start_mqtt_lb(proxy, proxy.brokers, directory, health={"passive": {"failures": 0}})


def start_guarded(proxy, brokers, directory):
    """All that can be done about brokers that fail, fill up and return."""
    return start_mqtt_lb(
        proxy,
        brokers,
        directory,
        balance={"bounded_load": 1.25},
        health={"active": {"type": "mqtt", "interval": "1s"}},
        slow_start="30s",
        rebalance={"rate": 50},
        admission={"rate": 1_000_000},
    )


def start_haproxy(proxy, brokers, directory, tuning="", options=""):
    proxy.log = directory / "haproxy.log"
    tls = f" ssl crt {proxy.certificate.both} ssl-min-ver TLSv1.3" if proxy.transport == "tls" else ""
    servers = "\n".join(f"    server broker-{at} 127.0.0.1:{port}" for at, port in enumerate(brokers, 1))
    file = directory / "haproxy.cfg"
    file.write_text(f"""\
global
    nbthread 1
    maxconn 9900
    {tuning}
    log stdout format raw local0 info

defaults
    mode tcp
    log global
    {options}
    timeout connect 1s
    timeout client 1h
    timeout server 1h

frontend mqtt
    bind 127.0.0.1:{proxy.port}{tls}
    tcp-request inspect-delay 10s
    tcp-request content reject unless {{ req.payload(0,0),mqtt_is_valid }}
    tcp-request content set-var(sess.client_id) req.payload(0,0),mqtt_field_value(connect,client_identifier)
    log-format "%ci:%cp [%t] %b/%s %Tw/%Tc/%Tt %U/%B %ts %[var(sess.client_id)]"
    default_backend brokers

backend brokers
    balance hash var(sess.client_id)
    hash-type consistent
{servers}
""")
    # It writes its log to standard output, which costs it one call a line.
    with proxy.log.open("w") as log:
        return Process("haproxy", ["haproxy", "-db", "-f", file], PROXY_CORE, directory, stdout=log)


def start_haproxy_splice(proxy, brokers, directory):
    # By default it wants so many pipes that maxconn no longer fits the descriptors.
    return start_haproxy(proxy, brokers, directory, "maxpipes 50", "option splice-auto")


def start_nginx(proxy, brokers, directory):
    proxy.log = directory / "nginx.log"
    ssl, certificate = "", ""
    if proxy.transport == "tls":
        ssl = " ssl"
        certificate = f"""
        ssl_certificate {proxy.certificate.cert};
        ssl_certificate_key {proxy.certificate.key};
        ssl_protocols TLSv1.3;
        ssl_session_tickets on;"""
    module = f"load_module {STREAM_MODULE};" if STREAM_MODULE.exists() else ""
    servers = "\n".join(f"        server 127.0.0.1:{port};" for port in brokers)
    file = directory / "nginx.conf"
    file.write_text(f"""\
{module}
user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{
    worker_connections 19900;
}}
stream {{
    log_format session '$remote_addr:$remote_port [$time_iso8601] $upstream_addr $status $bytes_received/$bytes_sent $session_time';
    access_log {proxy.log} session buffer=64k flush=1s;
    upstream brokers {{
        # The open-source build reads no CONNECT, so it cannot hash client IDs.
        hash $remote_addr$remote_port consistent;
{servers}
    }}
    server {{
        listen 127.0.0.1:{proxy.port}{ssl} backlog=4096;{certificate}
        proxy_pass brokers;
        proxy_connect_timeout 1s;
        proxy_timeout 1h;
    }}
}}
""")
    command = ["nginx", "-p", directory, "-c", file]
    # A worker outlives a master that is killed, but not one that is asked to end.
    return Process("nginx", command, PROXY_CORE, directory, death_signal=signal.SIGTERM)


def start_relay(proxy, brokers, directory, *options):
    command = [BINARIES / "relay", "--listen", f"127.0.0.1:{proxy.port}", *options]
    for port in brokers:
        command += ["--broker", f"127.0.0.1:{port}"]
    return Process("relay", command, PROXY_CORE, directory)


def start_relay_splice(proxy, brokers, directory):
    return start_relay(proxy, brokers, directory, "--splice")


STARTERS = {
    "mqtt-lb": start_mqtt_lb,
    "mqtt-lb-plain": start_plain,
    "mqtt-lb-guarded": start_guarded,
    "haproxy": start_haproxy,
    "haproxy-splice": start_haproxy_splice,
    "nginx": start_nginx,
    "relay": start_relay,
    "relay-splice": start_relay_splice,
}
