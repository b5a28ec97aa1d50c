"""From a raw pool to a PoolObject, and the operator's settings: what is wrong is said in one sentence."""

from __future__ import annotations

import pytest
from tests.pure.kubernetes_builders import spec

from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.backends.kubernetes.pools import check_host, parse_pool
from pool_operator.cli.operator import main, read_settings
from pool_operator.names import ConditionReason
from pool_operator.settings import OperatorSettings


def raw(body):
    metadata = {"name": "speech", "namespace": "media", "uid": "u", "generation": 3}
    return {"metadata": {**metadata, "creationTimestamp": "2027-01-15T08:00:00Z"}, "spec": body}


def no_objection(_):
    return None


def test_a_pool_is_read_with_its_uid_generation_and_age():
    pool = parse_pool(raw(spec()), check=no_objection)
    assert (str(pool.key), pool.uid, pool.generation, pool.created_at) == ("media/speech", "u", 3, 1_800_000_000.0)
    assert pool.problem is None


def test_an_unknown_field_belongs_to_a_newer_version_and_is_ignored():
    assert parse_pool(raw(spec() | {"fromTheFuture": 1}), check=no_objection).problem is None


def test_what_cannot_be_read_is_a_problem_that_names_the_field():
    pool = parse_pool(raw(spec() | {"maxReplicas": "many"}), check=no_objection)
    assert pool.spec is None
    assert pool.problem.reason is ConditionReason.SPEC_INVALID
    assert "spec.maxReplicas" in pool.problem.message


def test_a_time_zone_that_is_none_is_a_problem_too():
    zone = {"budget": {"pricePerReplicaHour": "1", "timeZone": "Mars/Base"}}
    pool = parse_pool(raw(spec() | zone), check=no_objection)
    assert pool.problem.message == (
        "spec.budget.timeZone: 'Mars/Base' is no time zone; write it like Europe/Berlin or UTC"
    )


@pytest.mark.parametrize(
    ("patterns", "host", "allowed"),
    [((), "anything", True), (("redis.*",), "redis.media", True), (("redis.*",), "10.0.0.1", False)],
)
def test_the_installation_says_which_hosts_a_pool_may_name(patterns, host, allowed):
    settings = OperatorSettings(allowed_redis_hosts=patterns)
    problem = check_host(ProcessingPoolSpec.model_validate(spec(redis={"host": host})), settings)
    assert (problem is None) is allowed
    if problem is not None:
        assert problem.reason is ConditionReason.HOST_NOT_ALLOWED
        assert host in problem.message


def test_flags_win_over_the_environment():
    environment = {"PROCESSINGPOOL_OPERATOR_POLL_SECONDS": "9", "PROCESSINGPOOL_OPERATOR_NAMESPACES": "a, b"}
    settings = read_settings(["--poll-seconds", "2", "--no-leader-election"], environment)
    assert (settings.poll_seconds, settings.namespaces, settings.leader_election) == (2.0, ("a", "b"), False)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--poll-seconds", "0"], "--poll-seconds '0'"),
        (["--workers", "many"], "--workers 'many'"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--lease-duration-seconds", "5"], "--renew-deadline-seconds"),
    ],
)
def test_a_wrong_value_is_one_sentence_and_exit_status_2(arguments, named, capsys):
    assert main(["operator", *arguments]) == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1
