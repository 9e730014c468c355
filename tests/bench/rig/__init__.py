"""The driver of the benchmark: processes, proxies, scenarios and the report."""
