"""Real brokers, the proxy and real clients, started and stopped for the tests."""
