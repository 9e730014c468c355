"""HAProxy, nginx and stunnel, in front of the proxy and behind it."""

from pathlib import Path

from .process import LOOPBACK, Process, accepts, free_port

STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


class Balancer:
    """`ports` are what its configuration listens on, by name."""

    def __init__(self, folder, name, ports, config, command):
        self.name, self.ports = name, ports
        self.file = Path(folder) / f"{name}.conf"
        self.file.write_text(config)
        self.process = Process(name, [*command, self.file], folder)
        for port in ports.values():
            self.process.wait_until("a listener", lambda port=port: accepts(port))

    def stop(self):
        if self.process.child.poll() is None:
            self.process.stop()


def haproxy(folder, name, sections):
    """Each section is (options of `bind`, target port, options of `server`, further lines)."""
    ports = {section: free_port() for section in sections}
    listens = "".join(
        f"""
listen {section}
    bind {LOOPBACK}:{ports[section]} {bind}
    server next {LOOPBACK}:{target} {server}
    {more}
"""
        for section, (bind, target, server, more) in sections.items()
    )
    config = f"""
global
    nbthread 1
    maxconn 200
    log stdout format raw local0 info
defaults
    mode tcp
    log global
    timeout connect 5s
    timeout client 1m
    timeout server 1m
{listens}"""
    return Balancer(folder, name, ports, config, ["/usr/sbin/haproxy", "-db", "-f"])


def nginx(folder, name, servers):
    """Each server is (options of `listen`, target port, further lines). Who connected is in the
    access log, its output."""
    ports = {server: free_port() for server in servers}
    listens = "".join(
        f"server {{ listen {LOOPBACK}:{ports[server]} {listen};"
        f" proxy_pass {LOOPBACK}:{target}; {more} }}\n"
        for server, (listen, target, more) in servers.items()
    )
    module = f"load_module {STREAM_MODULE};" if STREAM_MODULE.exists() else ""
    config = f"""
{module}
user root;
daemon off;
master_process off;
pid {folder}/{name}.pid;
error_log stderr warn;
events {{}}
stream {{
    log_format client 'client=$proxy_protocol_addr:$proxy_protocol_port';
    access_log /dev/stdout client;
    {listens}}}
"""
    return Balancer(folder, name, ports, config, ["/usr/sbin/nginx", "-p", folder, "-c"])


def stunnel(folder, name, services):
    """Each service is (target port, further lines)."""
    ports = {service: free_port() for service in services}
    sections = "".join(
        f"[{service}]\naccept = {LOOPBACK}:{ports[service]}\nconnect = {LOOPBACK}:{target}\n{more}\n"
        for service, (target, more) in services.items()
    )
    config = f"foreground = yes\npid =\n{sections}"
    return Balancer(folder, name, ports, config, ["/usr/bin/stunnel4"])
