#!/usr/bin/env python3
"""Ten minutes of upgrades under 5,000 sessions of every kind, with traffic.

It is the interop test of upgrades with other numbers, and prints how long each upgrade took and the
longest pause of the sessions that ping. `tests/run.sh` installs what it needs.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=5000)
    parser.add_argument("--upgrades", type=int, default=50)
    parser.add_argument("--pause", type=float, default=10, help="seconds between two upgrades")
    options = parser.parse_args()
    build = ["cargo", "build", "--locked"]
    subprocess.run([*build, "--profile", "dist", "--bin", "mqtt-lb"], cwd=ROOT, check=True)
    subprocess.run([*build, "--release", "--example", "fleet"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    environment = os.environ | {
        "MQTT_LB": str(target / "dist/mqtt-lb"),
        "FLEET": str(target / "release/examples/fleet"),
        "UPGRADE_SESSIONS": str(options.sessions),
        "UPGRADES": str(options.upgrades),
        "UPGRADE_PAUSE": str(options.pause),
    }
    python = target / "interop/venv/bin/python"
    command = [python, "-m", "pytest", "-q", "-s", "test_upgrade.py"]
    sys.exit(subprocess.run(command, cwd=ROOT / "tests/interop", env=environment).returncode)


if __name__ == "__main__":
    main()
