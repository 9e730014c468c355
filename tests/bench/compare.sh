#!/usr/bin/env bash
# Compares mqtt-lb with HAProxy, nginx and a raw relay; `compare.sh --help` says how.
set -euo pipefail
# The driver becomes this process, so a signal sent here ends it and all that it started.
exec python3 "$(dirname "${BASH_SOURCE[0]}")/compare.py" "$@"
