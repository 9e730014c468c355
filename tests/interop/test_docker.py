"""The image and the composition, without an engine: its last stage as a folder to be the root of a
process, and its services by hand."""

import json
import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import compose_spec
import pytest
from harness.clients import Client
from harness.process import LOOPBACK, Process, wait_for
from harness.proxy import ROOT, binary
from harness.shipped import DEPLOY, TOKEN, lines, load, running, with_token

DOCKERFILE = DEPLOY / "docker/Dockerfile"
HADOLINT = shutil.which("hadolint", path=f"{Path(os.sys.executable).parent}")

# MQTT 5.0 section 3.2.2.2.
SERVER_UNAVAILABLE = 0x88


def instruction(name):
    """What the last stage says, JSON decoded where it is that."""
    last = DOCKERFILE.read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    said = re.findall(rf"^{name} +(?:--\S+ +)*(?:CMD )?(.*)$", last, re.MULTILINE)[-1].strip()
    return json.loads(said) if said.startswith("[") else said


@pytest.mark.skipif(not HADOLINT, reason="no hadolint for this machine")
def test_hadolint():
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its root")
def test_the_image(tmp_path, network):
    """With what the build stage makes, the program's libraries if it is not the static one, and
    nothing else."""
    assert DOCKERFILE.read_text().rpartition("\nFROM ")[2].startswith("scratch\n")
    image = tmp_path / "image"
    # That the folders are made is the command of the build stage; here it gets another folder.
    made = re.search(r"^RUN (mkdir -p /image.*?[^\\])\n", DOCKERFILE.read_text(), re.S | re.M)[1]
    script = made.replace("\\\n", " ").replace("/image", str(image))
    subprocess.run(["sh", "-e", "-c", script], check=True)
    (image / "usr/bin").mkdir(parents=True)
    shutil.copy(binary(), image / "usr/bin/mqtt-lb")
    # Nothing for the static program that the build stage makes.
    linked = subprocess.run(["ldd", binary()], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r"(/\S+) \(0x", linked):
        place = image / library[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)
    (image / "dev").mkdir()
    log = "/var/log/mqtt-lb/access.log"
    config = {
        "listeners": [{"name": "mqtt", "bind": "0.0.0.0:1883", "pool": "none"}],
        "pools": [{"name": "none", "upstreams": [{"name": "none", "address": "127.0.0.9:1"}]}],
        "access_log": [{"path": log}],
        "admin": {"bind": "127.0.0.1:9883"},
    }
    (image / "etc/mqtt-lb/config.yaml").write_text(json.dumps(config))

    user, group = instruction("USER").split(":")
    assert int(user) > 0 and int(group) > 0
    assert f":{user}:{group}:" in (image / "etc/passwd").read_text()
    enter = ["chroot", f"--userspec={user}:{group}", image, "/usr/bin/mqtt-lb"]
    assert instruction("ENTRYPOINT") == ["mqtt-lb"]

    def health():
        command, *arguments = instruction("HEALTHCHECK")
        assert command == "mqtt-lb"
        done = subprocess.run([*enter, *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    process = Process("image", [*enter, *instruction("CMD")], tmp_path)
    try:
        process.wait_until("to listen", lambda: " admin listening" in process.text())
        status = Path(f"/proc/{process.child.pid}/status").read_text()
        assert re.search(rf"^Uid:\t{user}\t", status, re.MULTILINE)
        assert health() == (0, "ready\n", "")
        # Its broker is not there; that it answers is what matters here.
        assert Client(1883, "somebody").connack == SERVER_UNAVAILABLE
        wait_for("a record", lambda: '"client_id":"somebody"' in (image / log[1:]).read_text())
        # Now it knows that nobody can be served.
        wait_for("it not to be ready", lambda: "pool none" in health()[2])
        assert process.stop() == 0
        code, _, said = health()
        assert code == 1 and "9883" in said
    finally:
        process.kill()


def test_the_composition_is_one():
    compose_spec.PyCompose.from_yaml((DEPLOY / "docker/compose.yaml").read_text()).validate()


def test_the_composition_names_what_there_is():
    services = load("docker/compose.yaml")["services"]
    assert len([name for name in services if name.startswith("broker-")]) == 3
    sources = [
        volume.split(":")[0] for one in services.values() for volume in one.get("volumes", [])
    ]
    sources += [secret["file"] for secret in load("docker/compose.yaml")["secrets"].values()]
    missing = [one for one in sources if not (DEPLOY / "docker" / one).exists()]
    assert len(sources) > 8 and not missing
    build = services["mqtt-lb"]["build"]
    assert (DEPLOY / "docker" / build["context"]).resolve() == ROOT
    assert ROOT / build["dockerfile"] == DOCKERFILE
    listeners = load("docker/mqtt-lb.yaml")["listeners"]
    published = {port.split(":")[-2] for port in services["mqtt-lb"]["ports"]}
    assert {one["bind"].split(":")[-1] for one in listeners} < published


def test_the_composition(tmp_path, network):
    """The proxy, its three brokers and what they are told, under the names that they have there."""
    config = with_token(load("docker/mqtt-lb.yaml"), tmp_path)
    for listener in config["listeners"]:
        # The brokers have the same port, at other addresses of this host.
        listener["bind"] = listener["bind"].replace("0.0.0.0", LOOPBACK)
    names = [one["name"] for one in config["pools"][0]["upstreams"]]
    brokers = [(f"127.0.0.1{number}", 1883) for number in range(len(names))]
    dns = [f"--host-record={name},{host}" for name, (host, _) in zip(names, brokers, strict=True)]
    with running(tmp_path, config, brokers, dns) as proxy:
        wait_for("all brokers to be up", lambda: len(re.findall(r"_up\{.*\} 1\n", metrics())) == 3)
        used = set()
        for number in range(40):
            name = f"device-{number}"
            with Client(1883, name) as client:
                client.subscribe(name, 1)
                client.publish(name, b"hello")
                client.receive()
            ends = wait_for("a record", lambda name=name: lines(proxy, client_id=name))
            used.add(ends[0]["upstream"])
        assert used == set(names)
        assert proxy.stop() == 0


def metrics():
    request = urllib.request.Request(
        "http://127.0.0.1:9883/metrics", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def test_its_prometheus(tmp_path):
    """The rules are those that are shipped; the token is anywhere."""
    text = (DEPLOY / "docker/prometheus.yml").read_text()
    token = tmp_path / "admin_token"
    token.write_text(TOKEN)
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/admin_token", str(token)))
    shutil.copy(DEPLOY / "prometheus/alerts.yml", tmp_path)
    subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], check=True)
