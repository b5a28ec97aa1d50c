"""Pools from files: each mistake is one sentence that names the place, the value and the fix."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pool_operator.api.load import PoolFileError, PoolMetadata, load_pool, read_pool
from pool_operator.api.models import ProcessingPoolSpec

GOOD = """\
apiVersion: processingpool.dev/v1alpha1
kind: ProcessingPool
metadata: {name: speech}
spec:
  queues: [{name: default}]
  minReplicas: 0
  maxReplicas: 3
  template: {spec: {containers: [{name: worker}]}}
"""

# what is written instead of what -> the sentence
WRONG = {
    ("minReplicas: 0", "minReplicas: 5"): (
        "spec.minReplicas: 5 is greater than maxReplicas 3; lower the one or raise the other"
    ),
    ("minReplicas: 0", "minReplcas: 1"): "spec.minReplcas: is not a field of a pool; did you mean 'minReplicas'?",
    ("minReplicas: 0", "min_replicas: 1"): "spec.min_replicas: is not a field of a pool; did you mean 'minReplicas'?",
    ("minReplicas: 0", "scaling: {behavior: {scaledown: {}}}"): (
        "spec.scaling.behavior.scaledown: is not a field of a pool; did you mean 'scaleDown'?"
    ),
    (
        "minReplicas: 0",
        "budget: {zzz: 1}",
    ): "spec.budget.zzz: is not a field of a pool; there are daily, monthly, onExhausted, pricePerReplicaHour, timeZone",
    (
        "  maxReplicas: 3\n",
        "  maxReplcas: 3\n",
    ): "spec.maxReplcas: is not a field of a pool; did you mean 'maxReplicas'?",
    ("minReplicas: 0", "redis: {host: a, zzz: 1}"): (
        "spec.redis.zzz: is not a field of a pool; there are credentialsSecretRef, database, host, keyPrefix, port, tls"
    ),
    ("maxReplicas: 3", "maxReplicas: many"): "spec.maxReplicas: 'many': must be a whole number; correct it",
    ("maxReplicas: 3", "maxReplicas: 50000"): ("spec.maxReplicas: 50000: must be at most 10000; correct it"),
    ("  maxReplicas: 3\n", ""): "spec.maxReplicas: is missing; add it",
    ("minReplicas: 0", "budget: {pricePerReplicaHour: 0.69}"): (
        "spec.budget.pricePerReplicaHour: 0.69: must be text; put it in quotes"
    ),
    ("minReplicas: 0", "concurrency: {memory: {base: 8 GB}}"): (
        "spec.concurrency.memory.base: '8 GB': is not a quantity; write it like 1500Mi or 8Gi"
    ),
    ("minReplicas: 0", "mode: active"): "spec.mode: 'active': must be 'Active', 'DryRun' or 'Paused'; correct it",
    ("minReplicas: 0", 'budget: {pricePerReplicaHour: "1", timeZone: Mars/Base}'): (
        "spec.budget.timeZone: 'Mars/Base' is no time zone; write it like Europe/Berlin or UTC"
    ),
    ("minReplicas: 0", 'budget: {pricePerReplicaHour: "1", timeZone: ../etc/passwd}'): (
        "spec.budget.timeZone: '../etc/passwd' is no time zone; write it like Europe/Berlin or UTC"
    ),
    ("minReplicas: 0", 'budget: {pricePerReplicaHour: "1", daily: {soft: "15", hard: "10"}}'): (
        "spec.budget.daily: soft 15 is greater than hard 10; lower the one or raise the other"
    ),
    ("minReplicas: 0", 'budget: {pricePerReplicaHour: "1", daily: {hard: "1.5"}}'): (
        "spec.budget.daily.hard: 1.5 is less than one job may cost: jobs.timeoutSeconds 7200 and 120 s to end, at "
        "pricePerReplicaHour 1, is 2.03333; raise it or lower the time-out"
    ),
    ("minReplicas: 0", 'jobs: {timeoutSeconds: 10}\n  budget: {pricePerReplicaHour: "360", daily: {hard: "6"}}'): (
        "spec.budget.daily.hard: 6 is less than one job may cost: jobs.timeoutSeconds 10 and 120 s to end, at "
        "pricePerReplicaHour 360, is 13; raise it or lower the time-out"
    ),
    ("minReplicas: 0", "schedules: [{name: a, start: every night, durationSeconds: 60, minReplicas: 1}]"): (
        "spec.schedules[0].start: 'every night' is no cron expression; write five fields (minute, hour, day of month, "
        "month, day of week) like '0 7 * * MON-FRI'"
    ),
    ("minReplicas: 0", 'schedules: [{name: a, start: "0 25 * * *", durationSeconds: 60, minReplicas: 1}]'): (
        "spec.schedules[0].start: '0 25 * * *' is no cron expression: bad hour; write five fields (minute, hour, day of "
        "month, month, day of week) like '0 7 * * MON-FRI'"
    ),
    ("minReplicas: 0", 'schedules: [{name: a, start: "0 1 * * *", durationSeconds: 60}]'): (
        "spec.schedules[0]: changes nothing; give it minReplicas, maxReplicas or both"
    ),
    (
        "minReplicas: 0",
        'schedules: [{name: a, start: "0 1 * * *", durationSeconds: 60, minReplicas: 3, maxReplicas: 2}]',
    ): "spec.schedules[0]: minReplicas 3 is greater than maxReplicas 2; lower the one or raise the other",
    ("minReplicas: 0", "scaling: {thresholds: [{metric: Waiting, direction: Up, percent: 70}]}"): (
        "spec.scaling.thresholds[0]: metric Waiting takes 'value' and not 'percent'; write value: 20"
    ),
    (
        "minReplicas: 0",
        "scaling: {thresholds: [{metric: Waiting, direction: Up, value: 5}, {metric: Waiting, direction: Up, value: 9}]}",
    ): "spec.scaling.thresholds: 'Waiting Up' stands there twice; remove one",
    ("minReplicas: 0", "scaling: {profile: fast}"): (
        "spec.scaling.profile: 'fast': must be 'Economy', 'Balanced' or 'Fast'; correct it"
    ),
    ("minReplicas: 0", "jobs: {ratePerMinute: 0}"): "spec.jobs.ratePerMinute: 0: must be at least 1; correct it",
    ("minReplicas: 0", "overflow: {forPool: gpu}"): (
        "spec.overflow.forPool: is not a field of a pool; did you mean 'forPoolRef'?"
    ),
    ("minReplicas: 0", "overflow: {forPoolRef: {name: speech}}"): (
        "spec.overflow.forPoolRef: 'speech' is this pool itself; name the pool that it is to help out"
    ),
    ("minReplicas: 0", 'budget: {pricePerReplicaHour: "0,69"}'): (
        "spec.budget.pricePerReplicaHour: '0,69': is no amount of money; write it like \"0.69\""
    ),
    ("[{name: default}]", "[]"): "spec.queues: a list: must have at least 1 item; correct it",
    ("[{name: default}]", "default"): "spec.queues: 'default': must be a list; correct it",
    ("[{name: default}]", "[{name: a}, {name: a}]"): "spec.queues: 'a' stands there twice; remove one",
    (
        "[{name: default}]",
        "[{name: a}, {nme: b}]",
    ): "spec.queues[1].nme: is not a field of a pool; did you mean 'name'?",
    ("{spec: {containers: [{name: worker}]}}", "x"): "spec.template: 'x': must be an object; correct it",
    ("minReplicas: 0", "maxReplicas: 4"): "line 7, column 3: is not YAML: the key 'maxReplicas' stands there twice",
    ("queues: [", "queues: ]"): "line 5, column 11: is not YAML: expected the node content, but found ']'",
    ("name: speech", "name: Speech"): (
        "metadata.name: 'Speech' is no name; use lower-case letters, digits and '-', at most 52"
    ),
    ("name: speech", f"name: {'a' * 53}"): (
        f"metadata.name: '{'a' * 53}' is no name; use lower-case letters, digits and '-', at most 52"
    ),
    ("{name: speech}", "{name: speech, namespace: 7}"): (
        "metadata.namespace: '7' is no name; use lower-case letters, digits and '-', at most 63"
    ),
    ("metadata: {name: speech}\n", ""): (
        "metadata.name: 'None' is no name; use lower-case letters, digits and '-', at most 52"
    ),
    ("kind: ProcessingPool", "kind: Deployment"): (
        "apiVersion 'processingpool.dev/v1alpha1', kind 'Deployment': must be apiVersion "
        "'processingpool.dev/v1alpha1', kind 'ProcessingPool'"
    ),
    ("spec:\n", "maxReplicas: 3\nspec:\n"): "maxReplicas: does not belong here; a pool's settings stand under spec",
    ("spec:\n", "---\nspec:\n"): "holds 2 YAML documents; there must be one, the pool",
    (GOOD, ""): "holds 0 YAML documents; there must be one, the pool",
    (GOOD, "just text"): "is not a Kubernetes object; it must start with apiVersion and kind",
    (GOOD, "!!python/object:os.system x"): (
        "line 1, column 1: is not YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object:os.system'"
    ),
}


@pytest.mark.parametrize("change", WRONG, ids=lambda change: change[1][:110].strip() or f"no {change[0][:20].strip()}")
def test_a_mistake_is_one_sentence(change):
    assert change[0] in GOOD
    with pytest.raises(PoolFileError) as caught:
        read_pool(GOOD.replace(*change, 1))
    assert str(caught.value) == WRONG[change]


def test_a_good_pool():
    metadata, spec = read_pool(GOOD)
    assert metadata == PoolMetadata(name="speech", namespace="default")
    assert isinstance(spec, ProcessingPoolSpec)
    assert (spec.min_replicas, spec.max_replicas, spec.redis) == (0, 3, None)


def test_a_status_and_a_namespace_may_stand_there():
    text = GOOD.replace("{name: speech}", "{name: speech, namespace: media, uid: x}") + "status: {replicas: 1}\n"
    assert read_pool(text)[0] == PoolMetadata(name="speech", namespace="media")


def test_a_number_is_a_quantity():
    text = GOOD.replace("minReplicas: 0", "concurrency: {memory: {base: 1000}}")
    assert read_pool(text)[1].concurrency.memory.base == "1000"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "cannot be read: No such file or directory"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is not UTF-8 text; is it a YAML file?"),
        (lambda path: path.write_text("kind: [", encoding="utf-8"), "is not YAML"),
    ],
    ids=["missing", "a folder", "not text", "not YAML"],
)
def test_a_file_that_is_none(tmp_path, make, words):
    path = tmp_path / "pool.yaml"
    make(path)
    with pytest.raises(PoolFileError) as caught:
        load_pool(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted(field.alias or name for name, field in ProcessingPoolSpec.model_fields.items())


def complaint(text):
    """The sentence, "" for a good pool; anything but a PoolFileError is a crash."""
    try:
        read_pool(text)
    except PoolFileError as error:
        return str(error)
    return ""


@given(st.dictionaries(st.sampled_from(FIELDS), junk, max_size=4))
def test_whatever_a_spec_is_made_of_the_answer_is_a_spec_or_a_sentence(changes):
    raw = yaml.safe_load(GOOD)
    raw["spec"] |= changes
    told = complaint(yaml.safe_dump(raw))
    assert not told or told.startswith(("spec", "line", "is not YAML"))
    assert "\n" not in told


@given(st.text(max_size=80))
def test_whatever_a_file_holds_the_answer_is_a_sentence(text):
    with pytest.raises(PoolFileError) as caught:
        read_pool(text)
    assert "\n" not in str(caught.value)
