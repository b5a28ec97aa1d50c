"""The resource's schema keeps the conventions of Kubernetes APIs, field by field; and the file is what we print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import Field
from tests.fakes.pools import pool_object

from pool_operator.api.base import Model
from pool_operator.api.crd import COLUMNS, crd, crd_yaml, root_schema, schema_of
from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.api.status import ProcessingPoolStatus
from pool_operator.backends.base import BackendView, Problem
from pool_operator.cli.crd import main
from pool_operator.engine.state import Spend
from pool_operator.engine.types import Budget, Decision, Observed, QueueReading, Reading
from pool_operator.names import ConditionReason, Limit, Reason
from pool_operator.runtime.conditions import Facts
from pool_operator.runtime.status import build_status

FILE = Path(__file__).parents[2] / "crds" / "processingpools.yaml"
SCHEMA = root_schema()
OURS = {"apiVersion", "kind", "metadata"}  # of every object; the server describes them


def walk(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, one in node.get("properties", {}).items():
        yield from walk(one, f"{path}.{name}")
    if "items" in node:
        yield from walk(node["items"], f"{path}[]")


NODES = dict(walk(SCHEMA["properties"]["spec"], "spec")) | dict(walk(SCHEMA["properties"]["status"], "status"))
FIELDS = {path: node for path, node in NODES.items() if not path.endswith("[]")}
SPEC = {path: node for path, node in NODES.items() if path.startswith("spec")}


def kinds(kind, nodes=NODES):
    return {path: node for path, node in nodes.items() if node.get("type") == kind}


# --- conventions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_is_described(path):
    assert FIELDS[path]["description"][0].isupper()


@pytest.mark.parametrize("path", [path for path, node in SPEC.items() if node.get("default") not in (None, {})])
def test_every_default_is_in_the_description(path):
    described = re.search(r"Default: (.+)\.$", SPEC[path]["description"])
    assert described
    assert described[1] == str(SPEC[path]["default"])


def test_every_optional_field_says_what_its_absence_means():
    silent = []
    for path, node in kinds("object", SPEC).items():
        for name, one in node.get("properties", {}).items():
            told = "default" in one or "Default:" in one["description"] or "absent" in one["description"].lower()
            if name not in node.get("required", ()) and not told and not path.startswith("spec.template"):
                silent.append(f"{path}.{name}")
    assert silent == []


@pytest.mark.parametrize("path", kinds("string"))
def test_strings_are_bounded(path):
    node = NODES[path]
    assert "enum" in node or node.get("maxLength")


@pytest.mark.parametrize("path", kinds("array"))
def test_lists_are_bounded_and_say_how_they_merge(path):
    node = NODES[path]
    assert node["maxItems"] <= 64
    if path != "spec.template.spec.containers":  # as in a pod; the Deployment merges them
        assert node["x-kubernetes-list-type"] == "map"
        keys = node["x-kubernetes-list-map-keys"]
        assert set(keys) <= set(node["items"]["required"])


@pytest.mark.parametrize("path", kinds("integer", SPEC))
def test_numbers_are_bounded_on_both_sides(path):
    node = NODES[path]
    assert {"minimum", "maximum"} <= node.keys()
    assert node["format"] == ("int32" if node["maximum"] < 2**31 else "int64")


def test_there_are_no_floats_booleans_or_nulls():
    assert not kinds("number")
    assert not kinds("boolean")
    assert not [path for path, node in NODES.items() if node.get("nullable")]


def test_there_is_no_phase_and_there_are_no_maps():
    assert not [path for path in FIELDS if path.endswith(".phase")]
    assert not [path for path, node in NODES.items() if "additionalProperties" in node]


def test_names_are_camel_case_and_durations_are_seconds():
    names = [path.rsplit(".", 1)[-1] for path in FIELDS]
    assert not [name for name in names if not re.fullmatch(r"[a-z][a-zA-Z0-9]*", name)]
    assert not [name for name in names if re.search(r"(Duration|Minutes|Millis|Ms|Timeout|Period|Interval)$", name)]


def test_choices_are_words_with_a_capital():
    choices = [choice for node in NODES.values() for choice in node.get("enum", ())]
    assert choices
    assert not [choice for choice in choices if not re.fullmatch(r"[A-Z][A-Za-z]*", choice)]


def test_references_name_no_other_namespace():
    references = [path for path in FIELDS if path.endswith("Ref")]
    assert references == ["spec.redis.credentialsSecretRef", "spec.overflow.forPoolRef"]
    assert [list(FIELDS[one]["properties"]) for one in references] == [["name"], ["name"]]


def test_defaults_of_nested_fields_can_fire():
    """The server fills in a default only where the parent is there: each parent has a default of its own."""
    hidden = []
    for path, node in kinds("object", SPEC).items():
        for name, one in node.get("properties", {}).items():
            inner = any("default" in deep for place, deep in walk(one, "") if place)
            chosen = name in node.get("required", ()) or "Default: n" in one.get("description", "")
            if inner and "default" not in one and not chosen and name not in {"redis", "items"}:
                hidden.append(f"{path}.{name}")
    assert hidden == []


def test_only_the_template_keeps_what_we_do_not_know():
    kept = {path for path, node in NODES.items() if "x-kubernetes-preserve-unknown-fields" in node}
    assert {path.split(".")[1] for path in kept} == {"template"}


def test_the_schema_is_structural():
    """No references, no unions but the one of quantities, a type everywhere."""
    for path, node in NODES.items():
        assert not {"$ref", "allOf", "oneOf", "not", "title", "const", "uniqueItems", "prefixItems"} & node.keys(), path
        assert ("type" in node) != bool(node.get("x-kubernetes-int-or-string")), path
        if "anyOf" in node:
            assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}], path


def test_rules_have_messages_with_a_must():
    rules = [rule for node in (SCHEMA, *NODES.values()) for rule in node.get("x-kubernetes-validations", ())]
    assert len(rules) == 9  # the two of amounts of money stand there for the day and for the month
    assert all("must" in rule["message"] for rule in rules)


def test_conditions_are_as_everywhere():
    one = NODES["status.conditions[]"]
    assert set(one["required"]) == {"type", "status", "reason", "message", "lastTransitionTime"}
    assert NODES["status.conditions"]["x-kubernetes-list-map-keys"] == ["type"]
    assert one["properties"]["status"]["enum"] == ["True", "False", "Unknown"]


def test_columns_fit_a_row_and_name_fields_that_exist():
    narrow = [name for name, _, _, priority in COLUMNS if not priority]
    assert narrow == ["Desired", "Ready", "Waiting", "Running", "Reason", "Age"]
    for name, kind, place, _ in COLUMNS:
        assert " " not in name
        if place.startswith((".spec", ".status")) and "[" not in place:
            assert FIELDS[place[1:]]["type"] == kind


def test_names_of_the_resource():
    names = crd()["spec"]["names"]
    assert names["listKind"] == "ProcessingPoolList"
    assert crd()["metadata"]["name"] == f"{names['plural']}.{crd()['spec']['group']}"
    assert "all" not in names["categories"]


def test_small_enough_for_any_way_to_apply_it():
    assert len(crd_yaml()) < 262_144 // 4


# --- the models and the schema -------------------------------------------------------------------------------------------


def test_the_defaults_of_the_schema_are_the_models_own():
    """What the server stores for a short spec reads as what we make of the short spec itself."""
    short = {"queues": [{"name": "a"}], "maxReplicas": 1, "redis": {"host": "h"}, "template": {"spec": {}}}

    def filled(value, node):
        if isinstance(value, list):
            return [filled(one, node["items"]) for one in value]
        if not isinstance(value, dict) or "properties" not in node:
            return value
        value = dict(value)
        for name, one in node["properties"].items():
            if name not in value and "default" in one:
                value[name] = one["default"]
            if name in value:
                value[name] = filled(value[name], one)
        return value

    stored = filled(short, NODES["spec"])
    assert stored != short
    assert ProcessingPoolSpec.model_validate(stored) == ProcessingPoolSpec.model_validate(short)


def test_the_status_that_we_write_is_the_status_that_the_server_keeps():
    problem = Problem(reason=ConditionReason.UNSCHEDULABLE, message="no GPU is left")
    decision = Decision(
        at=1.0, replicas=2, slots=1, reason=Reason.CAPACITY_SHORT, message="short", limited_by=Limit.CAPACITY
    )
    reading = Reading(at=1.0, queues={"default": QueueReading(waiting=2, oldest_wait_seconds=3.0)})
    status = build_status(
        Facts(
            pool=pool_object(),
            decision=decision,
            observed=Observed(reading=reading, replicas=(), wanted=0),
            view=BackendView(synced=True, exists=True, capacity_problem=problem),
            budget=Budget(price_per_replica_hour=0.69),
            spend=Spend(
                at=5.0, rate_per_hour=0.69, day="1970-01-01", day_amount=1.5, month="1970-01", month_amount=2.5
            ),
        ),
        {},
    )
    kept = ProcessingPoolStatus.model_validate(status, extra="forbid")
    assert kept.model_dump(by_alias=True, exclude_none=True, mode="json") == {
        **status,
        "conditions": [dict(one) for one in status["conditions"]],
    }


class Loose(Model):
    anything: dict[str, Any] = Field(description="x")


class Either(Model):
    value: int | str = Field(description="x")


class Pair(Model):
    value: tuple[int, str] = Field(description="x")


class Broken(Model):
    value: float = Field(description="x")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Loose, r"spec\.anything: a free-form object must be marked"),
        (Either, r"spec\.value: a choice of types has no structural form"),
        (Pair, r"spec\.value: a tuple of fixed places has no structural form"),
        (Broken, r"spec\.value: a number has no place in the schema"),
    ],
)
def test_what_has_no_structural_form_is_refused_with_its_path(model, words):
    with pytest.raises(ValueError, match=words):
        schema_of(model, "spec")


# --- the command ---------------------------------------------------------------------------------------------------------


def test_the_file_is_what_we_print(capsys):
    assert main(["crd", "--check", str(FILE)]) == 0
    assert main(["crd"]) == 0
    printed = capsys.readouterr().out
    assert printed == FILE.read_text(encoding="utf-8")
    assert yaml.safe_load(printed) == crd()


def test_drift_is_told_with_the_lines_and_the_fix(tmp_path, capsys):
    path = tmp_path / "crd.yaml"
    path.write_text(crd_yaml().replace("maximum: 65535", "maximum: 65536"), encoding="utf-8")
    assert main(["crd", "--check", str(path)]) == 1
    told = capsys.readouterr().err
    assert f"processingpool crd > {path}" in told
    assert "-                    maximum: 65536" in told


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert main(["crd", "--check", str(tmp_path / "none.yaml")]) == 2
    assert "cannot be read" in capsys.readouterr().err
