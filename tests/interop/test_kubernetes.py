"""The chart, rendered by Helm itself, and the manifests: what Kubernetes takes of them, and what
the proxy takes."""

import json
import subprocess

import pytest
import yaml
from harness.clients import Client
from harness.process import wait_for
from harness.proxy import binary
from harness.shipped import DEPLOY, lines, running, with_token

helm = pytest.importorskip("helm_python", reason="no Helm for this machine")
kubernetes = pytest.importorskip("kubernetes_validate")

CHART = DEPLOY / "helm/mqtt-lb"
# The oldest that the chart allows, and the newest that there are schemas of.
VERSIONS = ["1.30", "1.37"]
PLAIN = {"adminToken": {"existingSecret": "mqtt-lb-admin"}}


def render(values):
    with helm.Chart.load(CHART) as chart:
        texts = chart.render(values, name="mqtt-lb", namespace="mqtt")
    found = [yaml.safe_load(text) for name, text in texts.items() if not name.endswith(".txt")]
    return {one["kind"]: one for one in found if one}


def proxy_config(objects):
    return yaml.safe_load(objects["ConfigMap"]["data"]["config.yaml"])


@pytest.fixture(scope="module")
def objects():
    return render({})


def test_lint():
    found = helm.lint(CHART, strict=True)
    said = [one["error"] for one in found["messages"]]
    assert (said, found["errors"]) == (["icon is recommended"], [])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "values",
    [
        {},
        PLAIN,
        {"service": {"type": "NodePort"}, "podAnnotations": {"a": "b"}},
        {"service": {"type": "ClusterIP"}, "podDisruptionBudget": {"enabled": False}},
        {
            "extraVolumes": [{"name": "tls", "secret": {"secretName": "tls"}}],
            "extraVolumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": True}],
            "tolerations": [{"operator": "Exists"}],
            "nodeSelector": {"edge": "yes"},
            "affinity": {"nodeAffinity": {}},
            "imagePullSecrets": [{"name": "registry"}],
        },
    ],
)
def test_what_kubernetes_takes(version, values):
    for one in render(values).values():
        kubernetes.validate(one, version, strict=True)


def test_the_proxy_takes_its_configuration(objects, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps(with_token(proxy_config(objects), tmp_path)))
    done = subprocess.run([binary(), "check", "-c", file], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_listener_has_its_port():
    names = ["mqtt", "mqtts", "local"]
    binds = ["0.0.0.0:1883", "[::]:8883", "unix:/run/mqtt.sock"]
    listeners = [
        {"name": name, "bind": bind, "pool": "brokers"}
        for name, bind in zip(names, binds, strict=True)
    ]
    found = render({"config": {"listeners": listeners}})
    service = {(one["name"], one["port"]) for one in found["Service"]["spec"]["ports"]}
    assert service == {("mqtt", 1883), ("mqtts", 8883)}
    pod = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert {(one["name"], one["containerPort"]) for one in pod} == {*service, ("admin", 9883)}


def test_a_pod_has_the_time_to_drain():
    found = render({"shutdown": {"unreadySeconds": 40, "drainSeconds": 300}})
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["lifecycle"]["preStop"] == {"sleep": {"seconds": 40}}
    assert proxy_config(found)["drain"] == {"timeout": "300s"}
    assert pod["terminationGracePeriodSeconds"] > 340


def test_a_monitor_has_the_token():
    found = render({"podMonitor": {"enabled": True}})
    endpoint = found["PodMonitor"]["spec"]["podMetricsEndpoints"][0]
    assert endpoint["authorization"]["credentials"]["name"] == found["Secret"]["metadata"]["name"]


def test_the_manifests_are_the_charts():
    """`helm template` writes them again; deploy/kubernetes/mqtt-lb.yaml says how."""
    shipped = yaml.safe_load_all((DEPLOY / "kubernetes/mqtt-lb.yaml").read_text())
    assert {one["kind"]: one for one in shipped} == render(PLAIN)


def test_it_finds_the_brokers_of_a_stateful_set(objects, tmp_path, network):
    """With the records that a headless Service has, and the configuration as it is."""
    config = proxy_config(objects)
    service = config["pools"][0]["discover"]["dns"]
    domain = service.split(".", 2)[2]
    # The proxy has 1883 of every address of this host.
    pods = {f"emqx-{number}.{domain}": (f"127.0.0.1{number}", 1884) for number in range(3)}
    dns = [f"--host-record={name},{host}" for name, (host, _) in pods.items()]
    dns += [f"--srv-host={service},{name},{port},0,33" for name, (_, port) in pods.items()]
    with running(tmp_path, with_token(config, tmp_path), list(pods.values()), dns) as proxy:
        used = set()
        for number in range(40):
            with Client(1883, f"device-{number}") as client:
                assert client.connack == 0
            ends = wait_for(
                "a record", lambda number=number: lines(proxy, client_id=f"device-{number}")
            )
            used.add(ends[0]["upstream"])
        assert used == set(pods)
        assert proxy.stop() == 0
