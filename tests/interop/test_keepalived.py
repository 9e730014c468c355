"""The example for keepalived, read by keepalived."""

import shutil
import subprocess

import pytest
from harness.shipped import DEPLOY

KEEPALIVED = shutil.which("keepalived", path="/usr/sbin:/usr/local/sbin")
EXAMPLE = DEPLOY / "keepalived/keepalived.conf"

pytestmark = pytest.mark.skipif(not KEEPALIVED, reason="no keepalived")


def test_it_reads_the_example(tmp_path, network):
    # It wants to see the interface that it is told of.
    interface = ["eth0", "type", "veth", "peer", "name", "eth1"]
    subprocess.run(["ip", "link", "add", *interface], check=True)
    assert check(EXAMPLE) == ""
    assert "Unknown keyword" in check_broken(tmp_path)


def check(file):
    """What is wrong with it. Version 2.2 ends a check that found nothing by SIGTERM."""
    command = [KEEPALIVED, "--config-test", "--use-file", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout + done.stderr


def check_broken(folder):
    broken = folder / "broken.conf"
    broken.write_text(EXAMPLE.read_text().replace("track_script", "track_scripts"))
    return check(broken)
