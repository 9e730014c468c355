"""What deploy/ has for Prometheus and Grafana: sound, and of the metrics that there really are."""

import json
import re
import socket
import subprocess
import urllib.request

import pytest
from harness.brokers import Mosquitto
from harness.certificates import Authority
from harness.clients import Client
from harness.process import LOOPBACK, PATIENCE, free_port, wait_for
from harness.prometheus import Prometheus, grouping, selectors
from harness.proxy import ROOT, Proxy

DEPLOY = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "mqtt-lb.json").read_text())
TOKEN = "a-token-of-the-test"

# What Grafana puts in place of its variables, with everything selected.
VARIABLES = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*", "$pool": ".*"}


class EverythingProxy(Proxy):
    """One whose configuration has everything that has metrics of its own."""

    def config(self, pools, keys):
        config = super().config(pools, keys)
        token = self.folder / "token"
        token.write_text(TOKEN)
        config["admin"]["token_file"] = str(token)
        port = next(iter(pools.values()))[0].port
        # /etc/hosts comes before DNS.
        found = {"dns": "localhost", "type": "a", "port": port}
        config["pools"].append({"name": "discovered", "discover": found})
        # A broker that is away.
        away = {"name": "away", "address": f"{LOOPBACK}:{free_port()}"}
        config["pools"][0]["upstreams"].append(away)
        require = [{"client_id": "device-*"}]
        requiring = {"name": "requiring", "bind": f"{LOOPBACK}:0", "pool": "mqtt"}
        rules = [{"name": "canary", "when": {"percent": 50}, "pool": "mqtt"}]
        config["listeners"].append(requiring | {"require": require, "rules": rules})
        quota = {"name": "clients", "key": "${client_id}", "max_connections": 1000}
        rate = {"rate": 10_000, "burst": 10_000}
        config["limits"] = {"quotas": [quota], "handshakes_per_ip": rate}
        return config

    def get(self, path):
        url = f"http://{LOOPBACK}:{self.admin}{path}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()


@pytest.fixture(scope="module")
def own_folder(folder):
    made = folder / "prometheus"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def everything(own_folder, brokers):
    """A proxy that has seen sessions, refusals and nonsense."""
    server = str(Authority(own_folder).issue("localhost"))
    secured = {"certificates": [{"cert": server, "key": server}]}
    guarded = Mosquitto(own_folder, "guarded", users={"alice": "rabbit-hole"})
    proxy = EverythingProxy(
        own_folder,
        {"mqtt": brokers, "guarded": [guarded]},
        secured=secured,
        health={"active": {"type": "mqtt", "interval": "500ms", "expect": [0, 5]}},
        admission={"rate": 1000, "burst": 1000, "max_wait": "5s"},
    )
    try:
        for number in range(12):
            with Client(proxy.port, f"everything-{number}", (3, 4, 5)[number % 3]) as client:
                client.subscribe("everything", 0)
                client.publish("everything", b"x" * 100)
                client.receive()
        Client(proxy.ports["guarded"], "mallory", 5, user="alice", word="guess").disconnect()
        Client(proxy.ports["requiring"], "mallory", 5).disconnect()
        with socket.create_connection((LOOPBACK, proxy.port), timeout=PATIENCE) as sock:
            sock.sendall(b"\xc0\x00")
            assert sock.recv(1024) == b""
        proxy.wait_for_entries(12, event="disconnect")
        proxy.wait_for_entries(3, event="reject")
        away = ("mqtt", "away", "failed")
        checks = ("health_checks_total", "pool", "upstream", "outcome")
        wait_for("failed checks", lambda: proxy.metrics(*checks)[away] >= 3)
        yield proxy
        proxy.stop()
    finally:
        proxy.kill()
        guarded.stop()


@pytest.fixture(scope="module")
def prometheus(own_folder, everything):
    """Scrapes the proxy by the configuration that is shipped, more often and elsewhere."""
    token = own_folder / "mqtt-lb.token"
    token.write_text(TOKEN)
    config = (DEPLOY / "prometheus.yml").read_text()
    for shipped, here in (
        ("15s", "1s"),
        ('["10.0.0.11:9883", "10.0.0.12:9883"]', f'["{LOOPBACK}:{everything.admin}"]'),
        ("/etc/prometheus/mqtt-lb.token", str(token)),
        ("- alerts.yml", f"- {DEPLOY / 'alerts.yml'}"),
    ):
        assert shipped in config
        config = config.replace(shipped, here)
    file = own_folder / "prometheus.yml"
    file.write_text(config)
    server = Prometheus(own_folder, file)
    try:
        # A rate takes two samples; all series were there before the first.
        wait_for("some scrapes", lambda: server.query("sum_over_time(up[1m]) >= 3"))
        yield server
        server.stop()
    finally:
        server.process.kill()


def promtool(*command):
    done = subprocess.run(
        ["promtool", *map(str, command)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_way_to_scrape_is_sound(tmp_path):
    shipped = (DEPLOY / "prometheus.yml").read_text()
    head, jobs = shipped.split("scrape_configs:\n")
    # Lines that are further in than a sentence are configuration.
    jobs = [re.sub(r"^  # (?=- |  )", "  ", job, flags=re.M) for job in jobs.split("\n\n")]
    assert len(jobs) == 4
    head = re.sub(r"^# (?=alerting:|  )", "", head, flags=re.M)
    token, file = tmp_path / "token", tmp_path / "prometheus.yml"
    token.write_text(TOKEN)
    for job in jobs:
        config = f"{head}scrape_configs:\n{job}\n"
        for shipped, here in (
            ("/etc/prometheus/mqtt-lb.token", str(token)),
            ("- alerts.yml", f"- {DEPLOY / 'alerts.yml'}"),
            # Debian builds Prometheus without Kubernetes.
            ("kubernetes_sd_configs:\n      - role: pod", "static_configs: []"),
        ):
            config = config.replace(shipped, here)
        file.write_text(config)
        assert "alerting:\n  alertmanagers:" in config and "- job_name: mqtt-lb\n    " in config
        promtool("check", "config", file)


def test_each_alert_fires_when_it_should():
    promtool("check", "rules", DEPLOY / "alerts.yml")
    promtool("test", "rules", DEPLOY / "alerts_test.yml")
    alerts = set(re.findall(r"- alert: (\w+)", (DEPLOY / "alerts.yml").read_text()))
    tested = set(re.findall(r'alertname="(\w+)"', (DEPLOY / "alerts_test.yml").read_text()))
    assert alerts == tested


def assert_asks_for_what_is_there(prometheus, expression, shown):
    """Each series that the expression names exists, with the labels it goes by and shows."""
    labels = {"job", "instance", "le"}
    for selector in selectors(expression):
        series = prometheus.series(selector)
        assert series, f"nothing is {selector}, of: {expression}"
        labels |= set.union(*map(set, series))
    missing = (grouping(expression) | shown) - labels
    assert not missing, f"no label is {missing}, of: {expression}"


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_the_dashboard_asks_for_what_is_there(prometheus, panel):
    assert panel["targets"]
    for target in panel["targets"]:
        expression = target["expr"]
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert_asks_for_what_is_there(prometheus, expression, shown)
        result = prometheus.query(expression)
        if "> 0" in expression:
            continue
        assert result, f"empty: {expression}"
        assert all(shown <= set(series) for series in result), f"{shown}: {expression}"


def test_the_dashboard_is_whole():
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert variables.pop("datasource")["query"] == "prometheus"
    assert set(variables) | {"__rate_interval"} == {name[1:] for name in VARIABLES}
    source = {"type": "prometheus", "uid": "${datasource}"}
    for one in [*panels(), *variables.values(), *(t for p in panels() for t in p["targets"])]:
        assert one["datasource"] == source, one
    # No two panels have an ID or a place in common, and none is wider than the page.
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        columns = range(at["x"], at["x"] + at["w"])
        place = {(x, at["y"] + y) for x in columns for y in range(at["h"])}
        assert columns.stop <= 24, panel["title"]
        assert not place & taken, panel["title"]
        taken |= place


def test_variables_of_the_dashboard_have_values(prometheus):
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            of = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
            selector = of[1]
            for name, value in VARIABLES.items():
                selector = selector.replace(name, value)
            assert all(of[2] in series for series in prometheus.series(selector)), variable


def test_the_alerts_ask_for_what_is_there(prometheus):
    rules = prometheus.rules()
    assert len(rules) == (DEPLOY / "alerts.yml").read_text().count("- alert:")
    for rule in rules:
        texts = " ".join(rule["annotations"].values())
        shown = set(re.findall(r"\$labels\.(\w+)", texts))
        assert_asks_for_what_is_there(prometheus, rule["query"], shown)


def test_what_is_wrong_here_is_alerted_of(prometheus):
    """A broker that is away, and a certificate of two days."""

    def alerts():
        pending = {}
        for rule in prometheus.rules():
            assert rule["health"] != "err", rule
            for alert in rule["alerts"]:
                pending.setdefault(rule["name"], []).append(alert["annotations"]["summary"])
        return pending

    def those_expected():
        found = alerts()
        expected = {"MqttLbBrokerDown", "MqttLbCertificateExpires", "MqttLbCertificateExpiresNow"}
        return expected <= set(found) and found

    found = wait_for("the alerts", those_expected)
    assert "Broker away of pool mqtt gets no clients" in found["MqttLbBrokerDown"]
    # A certificate for two days, made just now.
    left = re.compile(r"A certificate of listener \S+ expires in 1d 23h \d+m \d+s")
    assert all(map(left.fullmatch, found["MqttLbCertificateExpiresNow"])), found


def test_the_manual_lists_every_metric(everything):
    ops = (ROOT / "deploy/man/mqtt-lb-ops.7.md").read_text()
    section = ops.split("\n## Metrics\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (`.+?) \| (.*?) \|", section, flags=re.M)
    listed = {}
    for names, labels in rows:
        for name in re.findall(r"`(\w+)`", names):
            listed[name] = set(re.findall(r"`(\w+)`", labels))
    exposed = {}
    for line in everything.get("/metrics").splitlines():
        if of := re.match(r"mqtt_lb_(\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? ", line):
            exposed.setdefault(of[1], set()).update(re.findall(r'(\w+)="', of[2] or ""))
    for labels in exposed.values():
        labels.discard("le")
    assert listed == exposed
