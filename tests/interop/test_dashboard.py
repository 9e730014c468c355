"""The dashboard in Chromium: against an invented proxy, and in front of real brokers."""

import json
import shutil
import subprocess
from collections import Counter
from contextlib import ExitStack

import pytest
from harness.clients import Client
from harness.process import LOOPBACK, PATIENCE
from harness.proxy import ROOT, Proxy

SCRIPTS = ROOT / "tests/interop/dashboard"


def run(script, *arguments):
    """Runs a script of tests; its report where one fails."""
    chromium = shutil.which("chromium")
    assert chromium, "no chromium: tests/run.sh installs it"
    command = ["node", "--test-reporter=spec", SCRIPTS / f"{script}.js", chromium, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10 * PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "script", ["brokers", "actions", "rules", "access", "hostile", "log", "accessibility"]
)
def test_page(script):
    run(script)


TOKEN = "a-token-for-the-tests-of-the-dashboard"


class Guarded(Proxy):
    """With a token for its admin listener."""

    def config(self, pools, keys):
        token = self.folder / f"{self.name}.token"
        token.write_text(TOKEN)
        config = super().config(pools, keys)
        config["admin"]["token_file"] = str(token)
        return config


def test_in_front_of_real_brokers(brokers, tmp_path, unique):
    proxy = Guarded(tmp_path, {"mqtt": brokers}, "guarded")
    try:
        ids = [f"{unique}-{number}" for number in range(12)]
        orders = proxy.orders(ids, "mqtt")
        home, second, _ = orders[ids[0]]
        sessions = Counter({broker.name: 0 for broker in brokers})
        sessions.update(order[0] for order in orders.values())
        with ExitStack() as stack:
            clients = [stack.enter_context(Client(proxy.port, one)) for one in ids]
            about = {
                "token": TOKEN,
                "file": str(proxy.file),
                "sessions": sessions,
                "client": ids[0],
                "home": home,
                "second": second,
            }
            run("real", f"http://{LOOPBACK}:{proxy.admin}", json.dumps(about))
            assert clients[0].ended.wait(PATIENCE)
            end = proxy.entry(event="disconnect", client_id=ids[0])
            assert (end["end_by"], end["end_cause"], end["upstream"]) == ("proxy", "kicked", home)
            # Nobody else was: neither by the drain nor by the reloads.
            assert [client for client in clients[1:] if client.ended.is_set()] == []
            with Client(proxy.port, ids[0]):
                again = proxy.wait_for_entries(2, event="connect", client_id=ids[0])[1]
                assert again["upstream"] == second
    finally:
        proxy.kill()
