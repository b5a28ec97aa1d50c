"""`python -m benchmarks.policy`: the same as `python -m benchmarks policy`."""

from __future__ import annotations

import sys

from benchmarks.policy.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
