#!/usr/bin/env bash
# Builds target/debian/mqtt-lb_VERSION_ARCH.deb. Needs cargo-deb: `cargo install cargo-deb`.
set -euo pipefail

cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
cargo build --release --locked --bin mqtt-lb

# What the program says of itself, at a path that Cargo.toml can name.
made=target/package
rm -rf "$made"
"$target/release/mqtt-lb" man "$made/man1"
gzip -9n "$made"/man1/*
for shell in bash zsh fish; do
  "$target/release/mqtt-lb" completions "$shell" >"$made/mqtt-lb.$shell"
done

cargo deb --no-build --locked --strip "$@"
