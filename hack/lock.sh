#!/usr/bin/env bash
# Write the hash-locked, universal requirement files from pyproject.toml (run after changing a dependency).
# usage: lock.sh [--check]   --check fails when a file no longer satisfies pyproject.toml
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-uv}
compile() { # file extra...
  local file=$1 extras=() extra
  shift
  for extra in "$@"; do extras+=(--extra "$extra"); done
  "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --custom-compile-command "make lock" \
    --python-version 3.11 "${extras[@]}" pyproject.toml --output-file "$out/$file"
}
out=requirements
if [ "${1:-}" = "--check" ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
  cp requirements/*.txt "$out/"
fi
echo "hatchling>=1.27" | "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 \
  - --output-file "$out/build.txt" # what the Dockerfile builds our wheel with
compile operator.txt operator
compile worker.txt worker
compile worker-gpu.txt worker gpu
compile dev.txt operator client worker demo simulate dev
[ "$out" = requirements ] || diff -ru requirements "$out" || { echo "requirements/ does not fit pyproject.toml: run 'make lock'" >&2; exit 1; }
