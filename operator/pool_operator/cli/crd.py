"""`processingpool crd`: print the CustomResourceDefinition, or check that a file still is what we would print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import unified_diff
from itertools import islice
from pathlib import Path
from typing import Final

from pool_client.connect import Parser
from pool_client.errors import ClientError
from pool_operator.api.crd import crd_yaml

MOST_LINES: Final = 40


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: printed, or the same; 1: the file differs; 2: wrong usage."""
    parser = Parser(prog="processingpool crd", description="Print the CustomResourceDefinition of ProcessingPool.")
    parser.add_argument("--check", metavar="FILE", type=Path, help="print nothing; fail if FILE is not what we print")
    try:
        path: Path | None = parser.parse_args(list(arguments[1:])).check
    except ClientError as error:
        print(f"processingpool crd: {error}", file=sys.stderr)
        return 2
    text = crd_yaml()
    if path is None:
        print(text, end="")
        return 0
    return _check(path, text)


def _check(path: Path, text: str) -> int:
    try:
        stored = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        print(
            f"processingpool crd: --check {path}: cannot be read ({getattr(error, 'strerror', None) or error})",
            file=sys.stderr,
        )
        return 2
    if stored == text:
        return 0
    print(f"processingpool crd: {path} is out of date; write it anew: processingpool crd > {path}", file=sys.stderr)
    changes = unified_diff(stored.splitlines(), text.splitlines(), str(path), "processingpool crd", lineterm="")
    print("\n".join(islice(changes, MOST_LINES)), file=sys.stderr)
    return 1
