"""Slots from memory: host and GPU, the smaller wins; at least one, or a sentence that names the fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.pools import pool_spec as crd_spec

from pool_contract.model_memory import memory_of
from pool_operator.api.models import Concurrency
from pool_operator.engine.memory import Fit, Misfit, Worker, slots_that_fit
from pool_operator.engine.spec import pool_spec, worker_of

GIB = 1024**3


def rule(**changes):
    return Concurrency.model_validate({"max_per_replica": 64} | changes)


def host(limit, *, base="1500Mi", per_job="500Mi", margin=20, **changes):
    memory = {"base": base, "per_job": per_job, "margin_percent": margin}
    return slots_that_fit(rule(memory=memory, **changes), Worker(limit_bytes=int(limit * GIB)))


# (limit, base, perJob, margin) -> slots
TABLE = {
    "eight gibibytes": ((8, "1500Mi", "500Mi", 20), 10),
    "no margin": ((8, "1500Mi", "500Mi", 0), 13),
    "just one": ((2.5, "1500Mi", "500Mi", 20), 1),
    "a clip of six gigabytes": ((7.2, "200M", "5800M", 20), 1),
    "and two": ((14.4, "200M", "5800M", 20), 2),
    "a job that needs nothing": ((8, "1Gi", "0", 20), 64),
}


@pytest.mark.parametrize("name", TABLE)
def test_slots_of_host_memory(name):
    (limit, base, per_job, margin), want = TABLE[name]
    assert host(limit, base=base, per_job=per_job, margin=margin) == Fit(slots=want)


def test_max_per_replica_has_the_last_word():
    assert host(64, max_per_replica=3) == Fit(slots=3)


@pytest.mark.parametrize(
    ("host_limit", "gpu", "want"),
    [(8, "24Gi", 10), (64, "8Gi", 10), (64, "24Gi", 39)],
    ids=["host memory is the smaller", "GPU memory is the smaller", "the worked example"],
)
def test_the_smaller_of_host_and_gpu_wins(host_limit, gpu, want):
    both = {"gpu_memory": {"per_replica": gpu, "base": "2150Mi", "per_job": "500Mi"}}
    assert host(host_limit, **both) == Fit(slots=want)


def test_without_any_limit_max_per_replica_decides():
    assert slots_that_fit(rule(max_per_replica=5), Worker()) == Fit(slots=5)


def test_a_job_that_does_not_fit_is_told_with_every_field():
    found = host(1)
    assert isinstance(found, Misfit)
    assert found.message == (
        "spec.concurrency.memory: not one job fits: resources.limits.memory of the container `worker` 1Gi less "
        "marginPercent 20 is 819Mi, but base 1500Mi and perJob 500Mi need 2000Mi; raise the limit or lower base, "
        "perJob or marginPercent"
    )


def test_a_job_that_does_not_fit_on_the_gpu_is_told_too():
    gpu = {"per_replica": "2Gi", "base": "2150Mi", "per_job": "500Mi"}
    found = slots_that_fit(rule(gpu_memory=gpu), Worker())
    assert isinstance(found, Misfit)
    assert found.message.startswith("spec.concurrency.gpuMemory: not one job fits: perReplica 2Gi")


def test_what_nobody_said_refuses_nobody():
    """1500Mi is a guess for a worker that may be anything: a small container runs one job."""
    assert slots_that_fit(rule(), Worker(limit_bytes=GIB // 8)) == Fit(slots=1)


def test_a_known_model_does():
    assert isinstance(slots_that_fit(rule(), Worker(limit_bytes=GIB // 2, model=memory_of("tiny"))), Misfit)


@pytest.mark.parametrize("on_gpu", [True, False])
def test_the_model_table_knows_weights_on_the_gpu_and_in_host_memory(on_gpu):
    model = memory_of("large-v3")
    base = model.host_base_mib if on_gpu else model.host_base_cpu_mib
    per_job = model.host_per_job_mib if on_gpu else model.host_per_job_cpu_mib
    worker = Worker(limit_bytes=(base + 3 * per_job) * 1024**2, on_gpu=on_gpu, model=model)
    assert slots_that_fit(rule(memory={"margin_percent": 0}), worker) == Fit(slots=3)


def test_a_small_worker_without_a_gpu_runs_a_small_model():
    """2Gi less 20 % is 1638Mi: two jobs of tiny.en; beside a GPU its CUDA libraries alone would take most of it."""
    cpu = worker_of(template(("PROCESSINGPOOL_MODEL", "tiny.en"), memory="2Gi"))
    assert slots_that_fit(rule(), cpu) == Fit(slots=2)


def test_gpu_memory_in_the_spec_means_a_gpu_whatever_its_resource_is_called():
    slice_of_gpu = worker_of(
        template(("PROCESSINGPOOL_MODEL", "tiny.en"), memory="1200Mi", **{"nvidia.com/mig-1g.5gb": 1})
    )
    found = slots_that_fit(rule(gpu_memory={"per_replica": "5Gi"}), slice_of_gpu)
    assert isinstance(found, Misfit)
    assert "base 1200Mi" in found.message
    assert slots_that_fit(rule(), slice_of_gpu) == Fit(slots=1)


@pytest.mark.parametrize("int8", [True, False])
def test_weights_of_eight_bits_are_smaller(int8):
    model = memory_of("large-v3")
    base = model.gpu_base_int8_mib if int8 else model.gpu_base_mib
    gpu = {"per_replica": f"{base + 2 * model.gpu_per_job_mib}Mi", "margin_percent": 0}
    assert slots_that_fit(rule(gpu_memory=gpu), Worker(model=model, int8=int8)) == Fit(slots=2)


@given(st.integers(1, 200), st.integers(0, 100), st.integers(1, 50), st.integers(0, 90))
def test_the_jobs_fit_and_one_more_would_not(limit, base, per_job, margin):
    memory = {"base": f"{base}Mi", "per_job": f"{per_job}Mi", "margin_percent": margin}
    found = slots_that_fit(rule(max_per_replica=64, memory=memory), Worker(limit_bytes=limit * 1024**2))
    usable = limit * 1024**2 * (100 - margin) // 100
    if isinstance(found, Misfit):
        assert (base + per_job) * 1024**2 > usable
    else:
        assert (base + found.slots * per_job) * 1024**2 <= usable
        assert found.slots == 64 or (base + (found.slots + 1) * per_job) * 1024**2 > usable


# --- out of the template ------------------------------------------------------------------------------------------------


def template(*env, **limits):
    variables = [dict(zip(("name", "value"), one, strict=True)) for one in env]
    worker = {"name": "worker", "env": variables, "resources": {"limits": limits}}
    return {"spec": {"containers": [{"name": "sidecar", "resources": {"limits": {"memory": "1Mi"}}}, worker]}}


def test_limit_gpu_and_model_come_from_the_worker_container():
    found = worker_of(
        template(
            ("PROCESSINGPOOL_MODEL", "/models/faster-whisper-large-v3"),
            ("PROCESSINGPOOL_MODEL_COMPUTE_TYPE", "int8_float16"),
            memory="8Gi",
            **{"nvidia.com/gpu": 1},
        )
    )
    assert found == Worker(limit_bytes=8 * GIB, on_gpu=True, int8=True, model=memory_of("large-v3"))


@pytest.mark.parametrize(
    "odd", [{}, {"spec": None}, {"spec": {"containers": "x"}}, {"spec": {"containers": [None, {"name": "worker"}]}}]
)
def test_a_template_of_the_wrong_shape_limits_nothing(odd):
    assert worker_of(odd) == Worker()


def test_a_memory_limit_that_is_none_is_a_problem_of_the_spec():
    found = pool_spec(crd_spec(template=template(memory="8GB")), deleted=False)
    assert isinstance(found, Misfit)
    assert found.message.startswith("spec.template: resources.limits.memory of the container `worker`: '8GB'")


def test_memory_that_fits_no_job_is_a_problem_of_the_spec():
    crd = crd_spec(template=template(memory="1Gi"), concurrency={"memory": {"base": "1Gi", "per_job": "1Gi"}})
    found = pool_spec(crd, deleted=False)
    assert isinstance(found, Misfit)
    assert "perJob" in found.message


def test_the_engine_gets_what_the_resource_says():
    crd = crd_spec(
        queues=("a", "b"),
        min_replicas=1,
        mode="DryRun",
        scaling={"on_unknown": "Minimum", "behavior": {"scale_down": {"stabilization_window_seconds": 30}}},
    )
    found = pool_spec(crd, deleted=True)
    assert [queue.name for queue in found.queues] == ["a", "b"]
    assert (found.min_replicas, found.max_replicas, found.mode, found.on_unknown) == (1, 10, "DryRun", "Minimum")
    assert (found.scale_down_window_seconds, found.deleted) == (30, True)
