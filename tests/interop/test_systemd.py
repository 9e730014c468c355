"""The units: what systemd says of them, and its own activation by sockets."""

import re
import shutil
import subprocess

import pytest
from harness.clients import Client
from harness.process import LOOPBACK, Process, accepts, free_port
from harness.proxy import binary
from harness.shipped import DEPLOY

UNITS = DEPLOY / "systemd"
# Of 10: "OK" ends at 4.
EXPOSURE = 2.0
DROP_INS = ["notify-reload.conf", "privileged-ports.conf"]

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd")


def systemd():
    said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True)
    return int(said.stdout.split()[1])


def analyze(*arguments):
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(params=[None, *DROP_INS])
def units(request, tmp_path):
    """The units with the program where this test has it, without and with each drop-in."""
    if request.param == "notify-reload.conf" and systemd() < 253:
        pytest.skip("no Type=notify-reload before 253")
    for name in ("mqtt-lb.service", "mqtt-lb.socket"):
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/bin/mqtt-lb", str(binary())))
    if request.param:
        folder = tmp_path / "mqtt-lb.service.d"
        folder.mkdir()
        text = (UNITS / request.param).read_text()
        (folder / request.param).write_text(text.replace("/usr/bin/mqtt-lb", str(binary())))
    return tmp_path


def test_verify(units):
    found = analyze("verify", "--man=no", units / "mqtt-lb.service", units / "mqtt-lb.socket")
    assert (found.returncode, found.stderr) == (0, "")


def test_security(units, say):
    found = analyze("security", "--offline=true", "--no-pager", units / "mqtt-lb.service")
    exposure = float(re.search(r"Overall exposure level for \S+: (\S+)", found.stdout)[1])
    say(f"exposure {exposure} of 10")
    assert exposure <= EXPOSURE, found.stdout


def test_users(tmp_path):
    (tmp_path / "etc").mkdir()
    file = UNITS / "mqtt-lb.sysusers"
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", file], check=True)
    assert (tmp_path / "etc/passwd").read_text().startswith("mqtt-lb:x:")
    unit = (UNITS / "mqtt-lb.service").read_text()
    assert "\nUser=mqtt-lb\n" in unit and "\nGroup=mqtt-lb\n" in unit


def test_activation(brokers, tmp_path, unique):
    """systemd's own helper listens, starts the program at the first client, and hands both sockets
    over under one name: addresses tell them apart."""
    ports = [free_port(), free_port()]
    binds = [f"{LOOPBACK}:{port}" for port in ports]
    listeners = "".join(
        f"  - {{ name: listener-{number}, bind: '{bind}', pool: brokers }}\n"
        for number, bind in enumerate(binds)
    )
    upstream = f"{{ name: broker, address: '{LOOPBACK}:{brokers[0].port}' }}"
    file = tmp_path / "config.yaml"
    file.write_text(
        f"listeners:\n{listeners}pools: [{{ name: brokers, upstreams: [{upstream}] }}]\n"
        f"access_log: [{{ path: {tmp_path}/access.log }}]\n"
    )
    # The other way round than in the configuration.
    listen = [option for bind in reversed(binds) for option in ("-l", bind)]
    command = ["systemd-socket-activate", *listen, "--fdname=mqtt-lb.socket:mqtt-lb.socket"]
    process = Process("activated", [*command, binary(), "run", "-c", file], tmp_path)
    try:
        process.wait_until("to listen", lambda: accepts(ports[0]))
        for number, port in enumerate(ports):
            with Client(port, f"{unique}-{number}"):
                pass
        assert process.stop() == 0
        output = process.text()
    finally:
        process.kill()
    assert " ERROR " not in output and "inherited socket" not in output, output
    log = (tmp_path / "access.log").read_text()
    for number in range(2):
        assert log.count(f'"client_id":"{unique}-{number}"') == 2
        assert re.search(rf'"listener":"listener-{number}".*"{unique}-{number}"', log)
