"""The `processingpool` command: a table of sub-commands, each loaded only when it is called.

The table names modules by text, so that `processingpool worker` has its SIGTERM handler in place before anything
heavy is imported, and so that worker and operator code never meet in one process.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Final

COMMANDS: Final = {
    "run": ("pool_operator.cli.run", "Run a pool on this machine, without a cluster."),
    "submit": ("pool_client.cli", "Put media files on a pool's queue."),
    "jobs": ("pool_client.cli", "List, follow, cancel or retry jobs."),
    "status": ("pool_operator.cli.status", "Show pools, their queues, replicas and last decision."),
    "explain": ("pool_operator.cli.explain", "Say why a pool has, or had, its replicas."),
    "replay": ("pool_operator.cli.replay", "Decide again over what was recorded, or with other settings."),
    "simulate": (
        "pool_operator.cli.simulate",
        "Run the engine on recorded or generated jobs, beside other autoscalers.",
    ),
    "report": ("pool_operator.cli.report", "Say what a pool did and cost in a month."),
    "export": ("pool_operator.cli.export", "Write a pool's ledger, or its jobs as a trace."),
    "operator": ("pool_operator.cli.operator", "Run the operator in a cluster."),
    "worker": ("pool_worker.app", "Run a worker: N slots, one model."),
    "crd": ("pool_operator.cli.crd", "Print the CustomResourceDefinition."),
}

EXTRAS: Final = {
    "run": "demo",
    "submit": "client",
    "jobs": "client",
    "status": "client",
    "simulate": "simulate",
    "replay": "simulate",
    "operator": "operator",
    "worker": "worker",
}
"""What brings the packages that a command imports."""

READER_GONE: Final = 141
"""As if SIGPIPE had ended us."""


def usage() -> str:
    lines = ["usage: processingpool COMMAND [OPTIONS]", "", "commands:"]
    lines += [f"  {name:<10}{sentence}" for name, (_, sentence) in COMMANDS.items()]
    return "\n".join([*lines, "", "processingpool COMMAND --help tells more."])


def main() -> int:
    """Dispatch to `main(arguments) -> exit status` of the command's module."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(usage())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"processingpool {version('processing-pool')}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        print(f"processingpool: there is no command '{name}'\n\n{usage()}", file=sys.stderr)
        return 2
    return _call(name, arguments)


def _call(name: str, arguments: list[str]) -> int:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C while modules are imported: nothing has begun, so no traceback; commands that clean up set their own
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        status: int = import_module(COMMANDS[name][0]).main(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        _forget_output()
        return READER_GONE
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if name not in EXTRAS or not package or package.startswith("pool_") or package in sys.stdlib_module_names:
            raise  # a fault of ours
        print(
            f"processingpool {name}: the Python package '{package}' is not installed: "
            f"pip install 'processing-pool[{EXTRAS[name]}]'",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        _forget_output()
        print(f"processingpool {name}: {error.strerror or error}", file=sys.stderr)
        return 1
    return status


def _forget_output() -> None:
    """Python would try to write the rest once more when it ends, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
