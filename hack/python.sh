#!/usr/bin/env bash
# Print the first Python of this machine that the product runs on (3.11 to 3.13), or nothing.
for name in python3.12 python3.13 python3.11 python3; do
  if "$name" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
    command -v "$name"
    exit 0
  fi
done
