#!/usr/bin/env python3
"""Run `make check` and every suite that this machine can run; end with a table of what ran and what did not, and why.

    hack/test.py                  everything
    hack/test.py pure redis       these suites only

Exit status 1 when a suite failed, or, with CI=true, when tests were skipped: a green CI must prove something.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "test"
SUITES = ("check", "pure", "redis", "apiserver", "faults", "policy", "cluster", "demo")
SIDE_BY_SIDE = ("pure", "redis")
"""Each test has its own server and mostly waits: twice as many processes as cores."""
PYTEST = ("pure", "redis", "apiserver", "faults", "cluster")


@dataclass
class Outcome:
    """What one suite came to."""

    suite: str
    seconds: float
    failed_to_run: bool
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        if self.failed or self.failed_to_run:
            return "FAILED"
        return "passed" if self.passed else "did not run"


def run(suite: str) -> Outcome:
    print(f"\n=== {suite}", flush=True)
    started = time.monotonic()
    if suite in PYTEST:
        return pytest_suite(suite, started)
    command = {
        "check": ["make", "--no-print-directory", "check"],
        "policy": [sys.executable, "-m", "benchmarks", "policy", "--quick"],
        "demo": ["make", "--no-print-directory", "demo"],
    }[suite]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    return Outcome(suite, time.monotonic() - started, status != 0, passed=int(status == 0), failed=int(status != 0))


def pytest_suite(suite: str, started: float) -> Outcome:
    report = RESULTS / f"{suite}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", f"tests/{suite}", "-q", f"--junit-xml={report}", "--durations=5"]
    if suite in SIDE_BY_SIDE:
        command += ["-n", str(2 * (os.cpu_count() or 1)), "--dist=worksteal"]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    outcome = Outcome(suite, time.monotonic() - started, status not in {0, 1, 5} or not report.exists())
    if not report.exists():
        return outcome
    for case in ET.parse(report).iter("testcase"):
        skip = case.find("skipped")
        if skip is not None:
            outcome.skipped += 1
            reason = (skip.get("message") or "").strip()
            if reason not in outcome.reasons:
                outcome.reasons.append(reason)
        elif case.find("failure") is not None or case.find("error") is not None:
            outcome.failed += 1
        else:
            outcome.passed += 1
    return outcome


def show(outcomes: list[Outcome]) -> None:
    table = Table(title="what ran")
    for column in ("suite", "result", "passed", "failed", "skipped", "seconds", "why not"):
        table.add_column(column, justify="right" if column in {"passed", "failed", "skipped", "seconds"} else "left")
    for one in outcomes:
        why = "; ".join(one.reasons[:3])
        table.add_row(
            one.suite, one.verdict, str(one.passed), str(one.failed), str(one.skipped), f"{one.seconds:.0f}", why
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def main() -> int:
    chosen = sys.argv[1:] or list(SUITES)
    unknown = [name for name in chosen if name not in SUITES]
    if unknown:
        print(f"hack/test.py: there is no suite '{unknown[0]}'; suites: {', '.join(SUITES)}", file=sys.stderr)
        return 2
    RESULTS.mkdir(parents=True, exist_ok=True)
    outcomes = [run(suite) for suite in chosen if suite not in PYTEST or (ROOT / "tests" / suite).is_dir()]
    show(outcomes)
    passed, failed = (sum(getattr(one, name) for one in outcomes) for name in ("passed", "failed"))
    skipped = sum(one.skipped for one in outcomes)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    broken = [one.suite for one in outcomes if one.failed or one.failed_to_run]
    if broken:
        print(f"failed: {', '.join(broken)}", file=sys.stderr)
        return 1
    if skipped and os.environ.get("CI") == "true":
        print("tests were skipped: with CI=true that is a failure", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
