"""A Prometheus server, and what its queries name."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request

from .process import LOOPBACK, Process, free_port

# Of PromQL: groupings and matchings by labels; series or functions, when those are gone; spans.
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"([A-Za-z_:][\w:]*)\s*(\{[^}]*\})?(\s*\()?")
NO_METRIC = {"and", "or", "unless", "bool", "offset"}
SPAN = re.compile(r"\[[^\]]*\]")


def selectors(expression):
    """The series that an expression asks for, each as `name{labels}`."""
    bare = SPAN.sub("", GROUPING.sub("", expression))
    found = SELECTOR.finditer(bare)
    return {one[1] + (one[2] or "") for one in found if not one[3] and one[1] not in NO_METRIC}


def grouping(expression):
    """The labels that an expression groups and matches by."""
    names = ",".join(GROUPING.findall(expression)).split(",")
    return {name.strip() for name in names if name.strip()}


class Prometheus:
    """Runs with a configuration, and keeps its data next to it."""

    def __init__(self, folder, config):
        self.port = free_port()
        command = [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--log.level=warn",
        ]
        self.process = Process("prometheus", command, folder)
        self.process.wait_until("being ready", self.is_ready)

    def is_ready(self):
        try:
            self.fetch("/-/ready")
        except OSError:
            return False
        return True

    def fetch(self, path):
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}{path}", timeout=10) as answer:
            return answer.read()

    def ask(self, path, **parameters):
        """The data of an answer of the API; fails with its words if it has none."""
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            answer = json.loads(self.fetch(f"/api/v1/{path}?{query}"))
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        assert answer["status"] == "success" and not answer.get("warnings"), answer
        return answer["data"]

    def query(self, expression):
        """The series of a vector, each with its labels."""
        return [one["metric"] for one in self.ask("query", query=expression)["result"]]

    def series(self, selector):
        return self.ask("series", **{"match[]": selector})

    def rules(self):
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def stop(self):
        assert self.process.stop() == 0, self.process.text()
