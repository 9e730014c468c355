"""Access logs in other programs' hands: a syslog daemon takes them, logrotate puts them aside."""

import gzip
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from harness.clients import Client
from harness.process import LOOPBACK, Process, accepts, free_port, wait_for
from harness.proxy import ROOT

RSYSLOG = Path("/usr/sbin/rsyslogd")
LOGROTATE = Path("/usr/sbin/logrotate")

# A client's own words, which no daemon is to misread.
NAMES = ["plain", 'quo"te\\', "<0>1 - -", "ümläut-𝄞", "n" * 3000]

# One file a transport; the header's fields stand before the line, apart from it by tabs.
CONFIG = """
global(workDirectory="{folder}" maxMessageSize="64k")
module(load="imtcp")
module(load="imudp")
module(load="imuxsock" SysSock.Use="off")
template(name="fields" type="string"
    string="%pri%\\t%timestamp:::date-rfc3339%\\t%hostname%\\t%app-name%\\t%procid%\\t%msgid%\\t%msg%\\n")
ruleset(name="tcp") {{ action(type="omfile" file="{folder}/tcp" template="fields") }}
ruleset(name="udp") {{ action(type="omfile" file="{folder}/udp" template="fields") }}
ruleset(name="unix") {{ action(type="omfile" file="{folder}/unix" template="fields") }}
input(type="imtcp" address="{host}" port="{port}" ruleset="tcp")
input(type="imudp" address="{host}" port="{port}" ruleset="udp")
input(type="imuxsock" socket="{folder}/log.sock" useSpecialParser="off" parseHostname="on"
    ignoreTimestamp="off" useSysTimeStamp="off" ruleset="unix")
"""


class Rsyslog:
    """The daemon of most distributions, with nothing of the system's own in it."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.config = folder / "rsyslog.conf"
        text = CONFIG.format(folder=folder, host=LOOPBACK, port=self.port)
        self.config.write_text(text)
        self.start()

    def start(self):
        pid = self.folder / "rsyslog.pid"
        command = [RSYSLOG, "-n", "-f", self.config, "-i", pid]
        self.process = Process("rsyslog", command, self.folder)
        self.process.wait_until("its port", lambda: accepts(self.port))

    def targets(self):
        return {
            "tcp": f"tcp://{LOOPBACK}:{self.port}",
            "udp": f"udp://{LOOPBACK}:{self.port}",
            "unix": f"unix:{self.folder}/log.sock",
        }

    def lines(self, transport):
        file = self.folder / transport
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def rsyslog(tmp_path):
    if not RSYSLOG.exists():
        pytest.skip("rsyslog is not installed")
    daemon = Rsyslog(tmp_path)
    try:
        yield daemon
    finally:
        daemon.process.kill()


def sessions(proxy, prefix):
    for number, name in enumerate(NAMES):
        with Client(proxy.port, f"{prefix}-{name}", (3, 4, 5)[number % 3]):
            pass


def test_rsyslog(rsyslog, start_proxy, brokers, unique):
    """Every transport, and the daemon away in between, without a line lost or changed."""
    logs = [{"syslog": {"to": to, "facility": "local5"}} for to in rsyslog.targets().values()]
    proxy = start_proxy({"mqtt": brokers}, f"syslog-{unique}", logs=logs)
    sessions(proxy, "before")
    count = 2 * len(NAMES)
    proxy.wait_for_entries(count)
    for transport in rsyslog.targets():
        wait_for(f"{transport}'s lines", lambda: len(rsyslog.lines(transport)) >= count)

    rsyslog.process.stop()
    sessions(proxy, "meanwhile")
    # What is said once a log: of each of them, that sessions wait for it.
    proxy.process.wait_until(
        "three failures", lambda: proxy.process.text().count("ERROR access log cannot be") == 3
    )
    rsyslog.start()
    sessions(proxy, "after")
    proxy.wait_for_entries(3 * count)
    written = proxy.log.read_text().splitlines()
    host = os.uname().nodename
    for transport in rsyslog.targets():
        wait_for(f"{transport}'s lines", lambda: len(rsyslog.lines(transport)) >= 3 * count)
        received = [line.split("\t") for line in rsyslog.lines(transport)]
        assert [fields[6] for fields in received] == written
        for fields, line in zip(received, map(json.loads, written)):
            # local5 is 21, info is 6.
            wanted = [str(8 * 21 + 6), line["time"], host, "mqtt-lb", str(proxy.process.child.pid)]
            assert fields[:6] == [*wanted, line["event"]]
    assert not proxy.metrics("access_log_dropped_total")
    proxy.stop(errors=3)


def whole_lines(file):
    read = gzip.open if file.suffix == ".gz" else open
    with read(file, "rt", encoding="utf-8") as text:
        return [json.loads(line) for line in text]


def test_logrotate(start_proxy, brokers, tmp_path, unique):
    """The configuration that is shipped, with another folder, user and service manager."""
    if not LOGROTATE.exists():
        pytest.skip("logrotate is not installed")
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o755)
    log = folder / "access.log"
    proxy = start_proxy({"mqtt": brokers}, f"rotated-{unique}", logs=[{"path": str(log)}])

    text = (ROOT / "deploy/logrotate/mqtt-lb").read_text()
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    group = subprocess.run(["id", "-gn"], capture_output=True, text=True, check=True).stdout.strip()
    for shipped, ours in (("/var/log/mqtt-lb/", f"{folder}/"), ("mqtt-lb mqtt-lb", f"{user} {group}")):
        assert shipped in text
        text = text.replace(shipped, ours)
    config = tmp_path / "logrotate.conf"
    config.write_text(text)
    config.chmod(0o644)
    # Notes what it is asked, and does it.
    systemctl = tmp_path / "systemctl"
    asked = tmp_path / "asked"
    pid = proxy.process.child.pid
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {asked}\nkill -USR1 {pid}\n')
    systemctl.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [LOGROTATE, "--force", "--state", tmp_path / "state", config]

    rotations = 3
    for number in range(rotations):
        for name in range(10):
            with Client(proxy.port, f"{number}-{name}"):
                pass
        wait_for("the lines", lambda: len(whole_lines(log)) == 20)
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        wait_for("the new file", lambda: is_open(pid, log))
    with Client(proxy.port, "last"):
        pass
    wait_for("the last lines", lambda: len(whole_lines(log)) == 2)

    requests = asked.read_text().splitlines()
    assert len(requests) == rotations
    assert all("USR1" in one and "mqtt-lb.service" in one for one in requests)
    old = sorted(file for file in folder.iterdir() if file != log)
    assert [file.name for file in old] == ["access.log.1", "access.log.2.gz", "access.log.3.gz"]
    # Oldest first, they are what the log is that nobody touched.
    found = [one for file in (*reversed(old), log) for one in whole_lines(file)]
    assert found == whole_lines(proxy.log)
    assert len(found) == 20 * rotations + 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in (log, *old)} == {0o640}
    proxy.stop()


def is_open(pid, file):
    opened = [os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink()]
    return str(file) in opened
