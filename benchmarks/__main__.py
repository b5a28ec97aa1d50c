"""`python -m benchmarks NAME`: run one benchmark, print its table, write build/bench/NAME.json.

`policy` takes options, has tables of its own and an exit status: benchmarks/policy/.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

NAMES = ("reaction", "overhead", "idle", "decision", "ledger")


def main() -> int:
    if sys.argv[1:2] == ["policy"]:
        from benchmarks.policy import main as policy

        return policy(sys.argv[2:])
    if len(sys.argv) != 2 or sys.argv[1] not in NAMES:
        print(f"usage: make bench NAME={'|'.join((*NAMES, 'policy'))}", file=sys.stderr)
        return 2
    name = sys.argv[1]
    rows: list[dict[str, object]] = import_module(f"benchmarks.{name}").run()
    out = Path("build/bench") / f"{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "machine": platform.machine(), "kernel": platform.release()}
    out.write_text(json.dumps({"name": name, "machine": machine, "rows": rows}, indent=2) + "\n")
    table = Table(title=name)
    for column in ("measure", "value", "target", "holds"):
        table.add_column(column)
    for row in rows:
        holds = row.get("holds")
        table.add_row(
            str(row["measure"]),
            str(row["value"]),
            str(row.get("target", "")),
            {True: "yes", False: "NO"}.get(holds, ""),
        )
    Console(width=140).print(table)
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
