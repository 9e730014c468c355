"""The dashboard in Chromium: against an invented proxy, and in front of real brokers."""

import shutil
import subprocess

import pytest
from harness.process import PATIENCE
from harness.proxy import ROOT

SCRIPTS = ROOT / "tests/interop/dashboard"


def run(script, *arguments):
    """Runs a script of tests; its report where one fails."""
    chromium = shutil.which("chromium")
    assert chromium, "no chromium: tests/run.sh installs it"
    command = ["node", "--test-reporter=spec", SCRIPTS / f"{script}.js", chromium, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10 * PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "script", ["brokers", "actions", "access", "hostile", "log", "accessibility"]
)
def test_page(script):
    run(script)
