#!/usr/bin/env bash
# Builds target/debian/mqtt-lb_VERSION_ARCH.deb. Needs cargo-deb: `cargo install cargo-deb`.
set -euo pipefail

cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
cargo build --profile dist --locked --bin mqtt-lb

# Manual pages and completions, at a path that Cargo.toml can name.
made=target/package
rm -rf "$made"
"$target/dist/mqtt-lb" man --dir "$made"
gzip -9n "$made"/man?/*
for shell in bash zsh fish; do
  "$target/dist/mqtt-lb" completions "$shell" >"$made/mqtt-lb.$shell"
done

cargo deb --no-build --profile dist --locked --strip "$@"
