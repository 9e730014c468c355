#!/usr/bin/env bash
# Builds target/debian/mqtt-lb_VERSION_ARCH.deb. Needs cargo-deb: `cargo install cargo-deb`.
# PROFILE=dev packages the program that `cargo build` has left; arguments are those of cargo-deb.
set -euo pipefail

cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
profile=${PROFILE:-dist}
if [[ $profile == dist ]]; then cargo build --profile dist --locked --bin mqtt-lb; fi
# Cargo has the profile `dev` in a folder of another name.
folder=${profile/#dev/debug}

# Manual pages and completions, at a path that Cargo.toml can name.
made=target/package
rm -rf "$made"
"$target/$folder/mqtt-lb" man --dir "$made"
gzip -9n "$made"/man?/*
for shell in bash zsh fish; do
  "$target/$folder/mqtt-lb" completions "$shell" >"$made/mqtt-lb.$shell"
done

cargo deb --no-build --profile "$profile" --locked --strip "$@"
