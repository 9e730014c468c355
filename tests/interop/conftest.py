"""What the tests share: three brokers and a proxy in front of them, for the whole run."""

import signal
import sys
import uuid

import pytest
from harness.brokers import Mosquitto
from harness.cluster import Cluster
from harness.network import private_network
from harness.proxy import Proxy


def pytest_configure():
    # Ends the run as Ctrl-C does, so that the fixtures stop what they started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """For configurations and logs, kept for a look after the run."""
    return tmp_path_factory.mktemp("interop")


@pytest.fixture(scope="session")
def brokers(folder):
    started = []
    try:
        for number in (1, 2, 3):
            started.append(Mosquitto(folder, f"broker-{number}"))
        yield started
    finally:
        for broker in started:
            broker.stop()


@pytest.fixture(scope="session")
def start_proxy(folder):
    """Starts proxies, and stops them at the end of the run."""
    started = []

    def start(pools, name, **keys):
        started.append(Proxy(folder, pools, name, **keys))
        return started[-1]

    try:
        yield start
        for proxy in started:
            if proxy.process.child.poll() is None:
                proxy.stop()
    finally:
        for proxy in started:
            proxy.kill()


@pytest.fixture(scope="session")
def proxy(start_proxy, brokers):
    return start_proxy({"mqtt": brokers}, "shared")


@pytest.fixture
def cluster(tmp_path):
    """Brokers that the test may break."""
    made = Cluster(tmp_path)
    try:
        yield made
        made.stop()
    finally:
        made.kill()


@pytest.fixture
def network():
    """A network of the test's own."""
    try:
        with private_network():
            yield
    except OSError as fault:
        pytest.skip(f"network namespaces and nftables need root's rights: {fault}")


@pytest.fixture
def say(capsys):
    """Prints a figure that is worth reading although the test has passed."""

    def say(text):
        with capsys.disabled():
            print(f"\n  {text}", flush=True)

    return say


@pytest.fixture
def unique():
    """A name that no other test uses, for client IDs and topics."""
    return f"t{uuid.uuid4().hex[:12]}"
