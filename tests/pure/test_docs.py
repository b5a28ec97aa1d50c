"""What the documents list is what the code has: metrics, reasons, conditions, variables; and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pool_operator.names import Condition, ConditionReason, PassError, Reason
from pool_operator.telemetry.metrics import Metrics
from pool_operator.telemetry.pool_metrics import POOL, QUEUE_STATES
from pool_worker.meter import RESULTS, Meter

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
DOCUMENTS = [
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    ROOT / "CHANGELOG.md",
]
SOURCES = [path for folder in ("contract", "client", "operator", "worker") for path in (ROOT / folder).rglob("*.py")]
FIXED = re.compile(r"`([A-Za-z]+)`")


def table(*header):
    """The rows below this header in the guide, cell by cell."""
    lines = GUIDE.splitlines()
    start = lines.index(f"| {' | '.join(header)} |") + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def listed(*header):
    """Names and labels of a table of metrics."""
    return {row[0].strip("`"): tuple(filter(None, row[1].split(", "))) for row in table(*header)}


def exposed(registry):
    """Names as they are exposed, with their labels."""
    found = {}
    for metric in registry._collector_to_names:
        name = metric._name + ("_total" if metric._type == "counter" else "")
        found[name] = tuple(label for label in metric._labelnames if label not in POOL)
    return found


def test_the_guide_lists_exactly_the_operator_s_metrics():
    found = listed("metric of a pool", "more labels", "what") | listed("metric of the operator", "labels", "what")
    assert found == exposed(Metrics().registry)
    of_pools = {name for name in found if not name.startswith("processingpool_operator_")}
    assert set(listed("metric of a pool", "more labels", "what")) == of_pools


def test_the_guide_lists_exactly_the_worker_s_metrics():
    assert listed("metric of a worker", "labels", "what") == exposed(Meter(("default",))._registry)


@pytest.mark.parametrize(
    ("metric", "header", "values"),
    [
        ("processingpool_queue_jobs", ("metric of a pool", "more labels", "what"), QUEUE_STATES),
        ("processingpool_jobs_total", ("metric of a worker", "labels", "what"), RESULTS),
        (
            "processingpool_operator_reconcile_errors_total",
            ("metric of the operator", "labels", "what"),
            tuple(map(str, PassError)),
        ),
    ],
)
def test_the_guide_lists_the_closed_values_of_a_label(metric, header, values):
    words = next(row[2] for row in table(*header) if row[0] == f"`{metric}`")
    assert tuple(FIXED.findall(words)) == values


def names(*header):
    return [name for row in table(*header) for name in row[0].split(", ")]


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (("reason", "why"), Reason),
        (("reason", "what to do"), ConditionReason),
        (("condition", "True means"), Condition),
    ],
    ids=["decisions", "conditions' reasons", "conditions"],
)
def test_the_guide_lists_exactly_the_names_of_the_code(header, kind):
    assert sorted(names(*header)) == sorted(map(str, kind))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8"))
    local = [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]
    assert [target for target in local if not (document.parent / target).exists()] == []


def test_variables_that_documents_name_are_read_by_the_code():
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    fields = set(
        re.findall(r"^    (\w+): ", (ROOT / "worker/pool_worker/settings.py").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = {
        name for path in DOCUMENTS for name in re.findall(r"PROCESSINGPOOL_([A-Z_]+[A-Z])", path.read_text("utf-8"))
    } - {"SLOTZ"}  # the mistyped one of docs/bad-input.md
    assert named
    assert {name for name in named if name.lower() not in fields and f"PROCESSINGPOOL_{name}" not in code} == set()
