"""The resource on a real API server: what it accepts, fills in, drops, refuses and explains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.backends.kubernetes.manifest import render
from pool_operator.backends.kubernetes.pools import parse_pool

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
WORKER = {"name": "worker", "image": "worker:1", "resources": {"limits": {"memory": "4Gi"}}}

NIGHTS = {"name": "nights", "start": "0 1 * * *", "durationSeconds": 21600}


def pool(name="pool", **changes):
    spec = {
        "redis": {"host": "redis"},
        "queues": [{"name": "default"}],
        "maxReplicas": 3,
        "template": {"spec": {"containers": [WORKER], "tolerations": [{"operator": "Exists"}]}},
    }
    return yaml.safe_dump(
        {
            "apiVersion": "processingpool.dev/v1alpha1",
            "kind": "ProcessingPool",
            "metadata": {"name": name},
            "spec": {**spec, **changes},
        }
    )


@pytest.fixture
def apply(kubectl, namespace):
    """Apply a manifest in the test's namespace; returns what kubectl printed, refusals included."""

    def run(text, *flags, check=False):
        return kubectl("-n", namespace, "apply", "-f", "-", *flags, stdin=text, check=check)

    return run


@pytest.fixture
def stored(kubectl, namespace):
    return lambda name="pool": json.loads(kubectl("-n", namespace, "get", "processingpool", name, "-o", "json"))


def test_defaults_are_in_what_is_stored(apply, stored):
    apply(pool(), check=True)
    spec = stored()["spec"]
    assert (spec["mode"], spec["minReplicas"], spec["redis"]["port"]) == ("Active", 0, 6379)
    assert spec["scaling"] == {
        "profile": "Balanced",
        "onUnknown": "Hold",
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    }
    assert spec["concurrency"] == {"maxPerReplica": 1, "learn": "Auto", "memory": {"marginPercent": 20}}
    assert spec["jobs"] == {"timeoutSeconds": 7200, "maxRetries": 3, "maxLosses": 2}
    assert spec["queues"] == [{"name": "default", "scaleUp": "Always"}]
    assert spec["template"] == {"spec": {"containers": [WORKER], "tolerations": [{"operator": "Exists"}]}}
    assert ProcessingPoolSpec.model_validate(spec) == ProcessingPoolSpec.model_validate(yaml.safe_load(pool())["spec"])


def test_a_number_and_a_text_are_quantities(apply, stored):
    apply(pool(concurrency={"memory": {"base": 1048576, "perJob": "500Mi"}}), check=True)
    read = ProcessingPoolSpec.model_validate(stored()["spec"])
    assert (read.concurrency.memory.base, read.concurrency.memory.per_job) == ("1048576", "500Mi")


# change -> words of the refusal
REFUSED = {
    "minimum above maximum": (
        {"minReplicas": 5},
        ["spec.minReplicas", "`minReplicas` must not be greater than `maxReplicas`"],
    ),
    "no container named worker": (
        {"template": {"spec": {"containers": [{"name": "main", "image": "x"}]}}},
        ["spec.template.spec.containers", "must have a container named 'worker'"],
    ),
    "no containers": ({"template": {"spec": {}}}, ["spec.template.spec.containers", "Required value"]),
    "no queue": ({"queues": []}, ["spec.queues", "at least 1 items"]),
    "a queue twice": ({"queues": [{"name": "a"}, {"name": "a"}]}, ["spec.queues[1]", "Duplicate value"]),
    "a mode that is none": ({"mode": "active"}, ["spec.mode", '"Active", "DryRun", "Paused"']),
    "a quantity that is none": (
        {"concurrency": {"memory": {"base": "8 GB"}}},
        ["spec.concurrency.memory.base", "should match"],
    ),
    "a price as a number": ({"budget": {"pricePerReplicaHour": 0.69}}, ["spec.budget.pricePerReplicaHour", "string"]),
    "soft above hard": (
        {"budget": {"pricePerReplicaHour": "1", "monthly": {"soft": "20.5", "hard": "9"}}},
        ["spec.budget.monthly", "`soft` must not be greater than `hard`"],
    ),
    "an amount that is none": (
        {"budget": {"pricePerReplicaHour": "1", "daily": {"soft": "ten", "hard": "15"}}},
        ["spec.budget.daily.soft", "should match"],
    ),
    "a percentage of waiting jobs": (
        {"scaling": {"thresholds": [{"metric": "Waiting", "direction": "Up", "percent": 70}]}},
        ["spec.scaling.thresholds[0]", "must have `percent` and no `value` for the metric Utilization"],
    ),
    "a threshold twice": (
        {
            "scaling": {
                "thresholds": [
                    {"metric": "Waiting", "direction": "Up", "value": 7},
                    {"metric": "Waiting", "direction": "Up", "value": 9},
                ]
            }
        },
        ["spec.scaling.thresholds[1]", "Duplicate value"],
    ),
    "a schedule upside down": (
        {"schedules": [NIGHTS | {"minReplicas": 3, "maxReplicas": 2}]},
        ["spec.schedules[0]", "`minReplicas` must not be greater than `maxReplicas`"],
    ),
    "a schedule of nothing": (
        {"schedules": [NIGHTS]},
        ["spec.schedules[0]", "must have `minReplicas`, `maxReplicas` or both"],
    ),
    "too many replicas": ({"maxReplicas": 10001}, ["spec.maxReplicas", "10000"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_spec_is_refused_with_field_and_sentence(control_plane, namespace, name):
    change, words = REFUSED[name]
    told = refusal(control_plane, namespace, pool(**change))
    for word in words:
        assert word in told
    assert control_plane.kubectl("-n", namespace, "get", "processingpools", "-o", "name") == ""


def test_every_field_of_a_rich_pool_is_kept(apply, stored):
    rich = {
        "scaling": {
            "profile": "Fast",
            "targetWaitSeconds": 60,
            "thresholds": [
                {"metric": "Utilization", "direction": "Up", "percent": 70, "forSeconds": 300},
                {"metric": "Waiting", "direction": "Up", "value": 20, "forSeconds": 60},
            ],
        },
        "concurrency": {"learn": "Off"},
        "jobs": {"ratePerMinute": 50, "maxConcurrent": 10},
        "budget": {
            "pricePerReplicaHour": "0.69",
            "daily": {"soft": "10", "hard": "15"},
            "monthly": {"soft": "200", "hard": "300"},
            "timeZone": "America/Los_Angeles",
            "onExhausted": "Minimum",
        },
        "schedules": [{**NIGHTS, "timeZone": "Europe/Berlin", "minReplicas": 2, "maxReplicas": 20}],
        "overflow": {"forPoolRef": {"name": "own-gpu"}, "afterWaitSeconds": 900},
    }
    text = pool(queues=[{"name": "urgent", "targetWaitSeconds": 30}], **rich)
    apply(text, check=True)
    read = ProcessingPoolSpec.model_validate(stored()["spec"])
    assert read == ProcessingPoolSpec.model_validate(yaml.safe_load(text)["spec"])
    for name, value in rich.items():
        assert len(stored()["spec"][name]) >= len(value)


def test_a_name_too_long_for_labels_is_refused(control_plane, namespace):
    told = refusal(control_plane, namespace, pool("a" * 53))
    assert "must not be longer than 52 characters" in told


def test_a_pool_that_overflows_for_itself_is_refused(control_plane, namespace):
    told = refusal(control_plane, namespace, pool("own", overflow={"forPoolRef": {"name": "own"}}))
    assert "must not be this pool itself" in told


def test_an_unknown_field_is_refused_by_kubectl_and_dropped_by_the_server(control_plane, namespace, apply, stored):
    text = pool(profil="Fast")
    assert 'unknown field "spec.profil"' in refusal(control_plane, namespace, text)
    apply(text, "--validate=false", check=True)
    assert "profil" not in stored()["spec"]


def test_a_status_is_written_beside_the_spec_only(apply, stored):
    apply(pool() + "status: {replicas: 7}\n", check=True)
    assert "status" not in stored()


def test_explain_tells_units_and_defaults(kubectl):
    told = kubectl("explain", "processingpool.spec.scaling.behavior.scaleDown.stabilizationWindowSeconds")
    assert "Seconds over which" in told
    assert "Default: 0." in told
    assert "template" in kubectl("explain", "processingpool.spec", "--recursive")


@pytest.mark.parametrize("name", ["pool", "pools", "ppool", "processingpool"])
def test_short_names_and_columns(kubectl, namespace, apply, name):
    apply(pool(), check=True)
    header, row = kubectl("-n", namespace, "get", name).splitlines()
    assert header.split() == ["NAME", "DESIRED", "READY", "WAITING", "RUNNING", "REASON", "AGE"]
    assert row.startswith("pool ")
    wide = kubectl("-n", namespace, "get", name, "-o", "wide").splitlines()[0].split()
    assert {"HEALTHY", "WHY", "MIN", "MAX", "MODE"} <= set(wide)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_applies_as_it_is(apply, stored, path):
    apply(path.read_text(encoding="utf-8"), check=True)
    first = stored(path.stem)
    kept, written = first["spec"], yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
    assert kept["template"] == written["template"]
    assert ProcessingPoolSpec.model_validate(kept) == ProcessingPoolSpec.model_validate(written)
    apply(path.read_text(encoding="utf-8"), check=True)
    assert stored(path.stem) == first, "applied again it changes nothing"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_deployment_of_an_example_is_accepted(kubectl, namespace, apply, stored, path):
    apply(path.read_text(encoding="utf-8"), check=True)
    deployment = render(parse_pool(stored(path.stem), check=lambda _: None))
    flags = ("--server-side", "--dry-run=server", "--validate=strict")
    assert "serverside-applied" in kubectl("-n", namespace, "apply", "-f", "-", *flags, stdin=json.dumps(deployment))


def refusal(control_plane, namespace, text):
    """What kubectl prints to standard error when it cannot apply this."""
    with pytest.raises(AssertionError) as caught:
        control_plane.kubectl("-n", namespace, "apply", "-f", "-", stdin=text)
    return str(caught.value)
