"""The admin API held against its own description, by requests that are made up: good and bad ones."""

import subprocess
import sys
from pathlib import Path

import pytest
from harness.clients import Client
from harness.process import LOOPBACK

TOKEN = "interop-token"

# Enough to come by every parameter, in half a minute.
EXAMPLES = 25


@pytest.fixture(scope="module")
def operated(start_proxy, brokers, folder):
    """A proxy with a token, sessions to find and to end, and a pool that nobody touches."""
    file = folder / "admin.token"
    file.write_text(TOKEN)
    proxy = start_proxy({"mqtt": brokers, "other": brokers[:1]}, "operated", token_file=file)
    sessions = [Client(proxy.port, f"operated-{number}", (3, 4, 5)[number % 3]) for number in range(60)]
    proxy.wait_for_entries(60, event="connect")
    yield proxy
    for session in sessions:
        session.disconnect()


def test_answers_are_as_described(operated, folder):
    url = f"http://{LOOPBACK}:{operated.admin}"
    command = [
        Path(sys.executable).with_name("st"),
        *("--config-file", Path(__file__).with_name("schemathesis.toml")),
        *("run", f"{url}/api/v1/openapi.json", "--url", url),
        *("--header", f"Authorization: Bearer {TOKEN}"),
        *("--max-examples", str(EXAMPLES), "--seed", "1", "--generation-database", "none"),
        *("--mode", "all", "--checks", "all", "--continue-on-failure", "--no-color"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    # All but the one that the description itself came by, and the one that is switched off.
    assert "Operations:       18 selected / 19 total" in said
    # Not only empty answers: sessions were found and ended, brokers were drained.
    assert operated.entries(end_cause="kicked"), said
    log = operated.process.text()
    assert "set by the operator pool=mqtt" in log and "weight=" in log, log
