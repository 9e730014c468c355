"""How each proxy is configured and started, as an operator would run it."""

import json
import os
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
ENVIRONMENT = """\
environment:
  HAPROXY, NGINX  other binaries than those of the search path
  NGINX_MODULES   modules for it to load, with spaces in between
  NGINX_HASH      what it hashes ($remote_addr$remote_port)
  NGINX_SERVER    directives for its server. With a module that reads the CONNECT and is turned on by
                  mqtt_preread: NGINX_SERVER='mqtt_preread on;' NGINX_HASH='$mqtt_preread_clientid'
  MQTT_LB_BASE    another build of mqtt-lb: the proxy mqtt-lb-base"""


def binary(name):
    """The program of a proxy."""
    if name == "mqtt-lb":
        return str(ROOT / "target/dist/mqtt-lb")
    return os.environ.get(name.upper().replace("-", "_"), name)


class Proxy:
    """A running proxy: its process, where it listens and where its access log is."""

    def __init__(self, name, brokers, directory, scenario, certificates, quiet_broker=None):
        self.port = free_port()
        # A second listener, with a pool of this one broker.
        self.quiet_broker = quiet_broker
        self.quiet_port = free_port() if quiet_broker else None
        # What clients speak: "tcp", "tls" with the certificate or "websocket".
        self.transport = scenario.transport
        self.certificate = certificates.servers[scenario.key] if scenario.transport == "tls" else None
        # Whose clients' certificates are asked for; None: nobody's.
        self.client_ca = certificates.ca.cert if scenario.mutual else None
        self.log = None
        self.admin_port = None
        # Those it is to use.
        self.brokers = brokers
        self.process = STARTERS[name](self, brokers, directory)
        try:
            self.process.wait_listening(self.port)
            if self.quiet_port:
                self.process.wait_listening(self.quiet_port)
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
    needed = {"haproxy": "haproxy", "haproxy-splice": "haproxy", "nginx": "nginx", "mqtt-lb-base": "mqtt-lb-base"}
    tools = {binary(needed[name]) for name in names if name in needed}
    tools |= {"cargo", "openssl"} if with_tls else {"cargo"}
    return sorted(tool for tool in tools if not shutil.which(tool))


def build(names):
    """Builds the rig and, if it takes part, the proxy."""
    commands = [["cargo", "build", "--release", "--locked", "--manifest-path", RIG / "Cargo.toml"]]
    if any(name.startswith("mqtt-lb") and name != "mqtt-lb-base" for name in names):
        commands.append(["cargo", "build", "--profile", "dist", "--locked", "--bin", "mqtt-lb"])
    for command in commands:
        if subprocess.run(command, cwd=ROOT).returncode:
            raise Failure("the build failed")


def version(name):
    """What a proxy says it is."""
    command = {
        "mqtt-lb": [binary("mqtt-lb"), "--version"],
        "mqtt-lb-base": [binary("mqtt-lb-base"), "--version"],
        "haproxy": [binary("haproxy"), "-v"],
        "nginx": [binary("nginx"), "-v"],
    }.get(name)
    if command is None:
        return None
    said = subprocess.run(command, capture_output=True, text=True)
    return (said.stdout + said.stderr).splitlines()[0].strip()


def start_mqtt_lb(proxy, brokers, directory, program="mqtt-lb", listener_keys=None, **pool):
    proxy.log = directory / "access.log"
    proxy.admin_port = free_port()
    upstreams = [
        {"name": f"broker-{at}", "address": f"127.0.0.1:{port}"} for at, port in enumerate(brokers, 1)
    ]
    listener = {"name": "mqtt", "bind": f"127.0.0.1:{proxy.port}", "pool": "brokers", **(listener_keys or {})}
    if proxy.transport == "tls":
        listener["tls"] = {
            "certificates": [{"cert": str(proxy.certificate.cert), "key": str(proxy.certificate.key)}]
        }
        if proxy.client_ca:
            listener["tls"] |= {"client_auth": "required", "client_ca": str(proxy.client_ca)}
    elif proxy.transport == "websocket":
        listener["websocket"] = {"path": WEBSOCKET_PATH}
    listeners, pools = [listener], [{"name": "brokers", "upstreams": upstreams, **pool}]
    if proxy.quiet_port:
        listeners.append({"name": "quiet", "bind": f"127.0.0.1:{proxy.quiet_port}", "pool": "quiet"})
        pools.append({"name": "quiet", "upstreams": [{"name": "quiet", "address": f"127.0.0.1:{proxy.quiet_broker}"}]})
    # JSON is YAML.
    config = {
        "runtime": {"workers": 1},
        "listeners": listeners,
        "pools": pools,
        "access_log": [{"path": str(proxy.log), "format": "json"}],
        "admin": {"bind": f"127.0.0.1:{proxy.admin_port}"},
        # Sessions that the load left open must not hold up the end of a run.
        "drain": {"timeout": "1s"},
    }
    file = directory / "config.yaml"
    file.write_text(json.dumps(config, indent=2))
    command = [binary(program), "run", "-c", file]
    return Process("mqtt-lb", command, PROXY_CORE, directory)


def start_base(proxy, brokers, directory):
    """Another build, to compare with in the same run."""
    return start_mqtt_lb(proxy, brokers, directory, program="mqtt-lb-base")


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


def start_identity(proxy, brokers, directory):
    """Every CONNECT is checked against a requirement, and rewritten."""
    rewrite = {
        "client_id": "${listener}/${client_id}",
        "username": "${listener}",
        "user_properties": [{"name": "ip", "value": "${source_ip}"}],
    }
    return start_mqtt_lb(
        proxy, brokers, directory, listener_keys={"require": [{"client_id": "*"}], "rewrite": rewrite}
    )


def start_rules(proxy, brokers, directory):
    """Twenty rules that hold for no client of the load, one of them a list of a million client IDs."""
    listed = directory / "stolen-ids.txt"
    listed.write_text("".join(f"stolen-{number:07}\n" for number in range(1_000_000)))
    conditions = [
        {"client_id": {"file": str(listed)}},
        {"source": ["10.0.0.0/8", "192.168.0.0/16", "2001:db8::/32"]},
        {"protocol_version": 3.1},
        {"will": True},
        {"username": "nobody"},
        *({"client_id": [f"fleet-{number}-*", f"*-lot-{number}"]} for number in range(14)),
        # A hash of the key for each client.
        {"percent": 0},
    ]
    rules = [
        {"name": f"rule-{at}", "when": when, "refuse": "banned"} for at, when in enumerate(conditions, 1)
    ]
    return start_mqtt_lb(proxy, brokers, directory, listener_keys={"rules": rules})


def start_haproxy(proxy, brokers, directory, tuning="", options=""):
    proxy.log = directory / "haproxy.log"
    tls = f" ssl crt {proxy.certificate.both} ssl-min-ver TLSv1.3" if proxy.transport == "tls" else ""
    if proxy.client_ca:
        tls += f" ca-file {proxy.client_ca} verify required"
    servers = "\n".join(f"    server broker-{at} 127.0.0.1:{port}" for at, port in enumerate(brokers, 1))
    quiet = ""
    if proxy.quiet_port:
        quiet = f"""
listen quiet
    bind 127.0.0.1:{proxy.quiet_port}
    server quiet 127.0.0.1:{proxy.quiet_broker}
"""
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
{quiet}""")
    # It writes its log to standard output, which costs it one call a line.
    with proxy.log.open("w") as log:
        return Process("haproxy", [binary("haproxy"), "-db", "-f", file], PROXY_CORE, directory, stdout=log)


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
    if proxy.client_ca:
        certificate += f"""
        ssl_verify_client on;
        ssl_client_certificate {proxy.client_ca};"""
    # Debian's module is for Debian's nginx.
    debians = str(STREAM_MODULE) if STREAM_MODULE.exists() and "NGINX" not in os.environ else ""
    modules = "\n".join(f"load_module {module};" for module in os.environ.get("NGINX_MODULES", debians).split())
    # The open-source build reads no CONNECT, so it cannot hash client IDs.
    key = os.environ.get("NGINX_HASH", "$remote_addr$remote_port")
    quiet = ""
    if proxy.quiet_port:
        quiet = f"""
    server {{
        listen 127.0.0.1:{proxy.quiet_port};
        proxy_pass 127.0.0.1:{proxy.quiet_broker};
        proxy_timeout 1h;
    }}"""
    servers = "\n".join(f"        server 127.0.0.1:{port};" for port in brokers)
    file = directory / "nginx.conf"
    file.write_text(f"""\
{modules}
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
        hash {key} consistent;
{servers}
    }}
    server {{
        listen 127.0.0.1:{proxy.port}{ssl} backlog=4096;{certificate}
        {os.environ.get("NGINX_SERVER", "")}
        proxy_pass brokers;
        proxy_connect_timeout 1s;
        proxy_timeout 1h;
    }}{quiet}
}}
""")
    command = [binary("nginx"), "-p", directory, "-c", file]
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
    "mqtt-lb-base": start_base,
    "mqtt-lb-plain": start_plain,
    "mqtt-lb-guarded": start_guarded,
    "mqtt-lb-identity": start_identity,
    "mqtt-lb-rules": start_rules,
    "haproxy": start_haproxy,
    "haproxy-splice": start_haproxy_splice,
    "nginx": start_nginx,
    "relay": start_relay,
    "relay-splice": start_relay_splice,
}
