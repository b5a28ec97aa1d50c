"""The Kubernetes backend on a real API server, with real controllers and fake (KWOK) nodes of 4 GPUs each."""

from __future__ import annotations

import asyncio

import pytest
from tests.apiserver.backend_harness import harness
from tests.pure.kubernetes_builders import pod as pod_fact

from pool_operator.backends.base import ConflictError
from pool_operator.backends.kubernetes import manifest, paths
from pool_operator.backends.kubernetes.api import Content
from pool_operator.backends.kubernetes.objects import DRAINED_COST
from pool_operator.backends.kubernetes.resync import Resync
from pool_operator.backends.kubernetes.writer import NotLeadingError
from pool_operator.engine.types import Blocked
from pool_operator.names import FIELD_MANAGER, LABEL_MANAGED_BY, LABEL_POOL_UID, ConditionReason

POOL = "speech"


def worker(**more):
    return {"name": "worker", "image": "worker:1", "env": [{"name": "COLOUR", "value": "red"}], **more}


def gpu(**more):
    return worker(resources={"limits": {"nvidia.com/gpu": 1}}, **more)


def pool_body(namespace, container, **more):
    template = {"spec": {"containers": [container], **more}}
    return {
        "apiVersion": "processingpool.dev/v1alpha1",
        "kind": "ProcessingPool",
        "metadata": {"name": POOL, "namespace": namespace},
        "spec": {"redis": {"host": "redis"}, "queues": [{"name": "default"}], "maxReplicas": 20, "template": template},
    }


async def create(h, container=None, **more):
    await h.api.call("POST", paths.pools(h.namespace), body=pool_body(h.namespace, container or worker(), **more))
    return await h.pool(POOL)


async def change(h, container, **more):
    """Give the pool another template and wait until the watch shows it."""
    generation = h.pools[POOL].generation
    body = {"spec": {"template": {"spec": {"containers": [container], **more}}}}
    await h.api.call("PATCH", f"{paths.pools(h.namespace)}/{POOL}", body=body, content=Content.MERGE)
    await h.until(lambda: h.pools[POOL].generation > generation, what="the change seen")


async def stored(h):
    return await h.api.get(paths.deployment(h.namespace, POOL))


async def pods(h):
    return (await h.api.get(paths.pods(h.namespace)))["items"]


def run(namespace, scenario):
    async def play():
        async with harness(namespace) as h:
            await scenario(h)

    asyncio.run(play())


def caught_up(view):
    return view.exists and not view.lowering_blocked


def handed_over(h):
    return lambda view: caught_up(view) and h.deployment(POOL).replicas_handed_over


def test_creating_a_pool_starts_no_pod_and_hands_replicas_to_their_own_manager(namespace):
    async def scenario(h):
        await create(h)
        await h.drive(POOL, 0, until=handed_over(h), what="created")
        found = await stored(h)
        assert found["spec"]["replicas"] == 0
        sets = (await h.api.get(paths.replica_sets(h.namespace)))["items"]
        assert [(one["spec"]["replicas"], one["status"]["replicas"]) for one in sets] == [(0, 0)]
        events = (await h.api.get(paths.events(h.namespace)))["items"]
        assert [event["reason"] for event in events if event["reason"] == "SuccessfulCreate"] == []
        assert await pods(h) == []

    run(namespace, scenario)


def test_an_operator_upgrade_replaces_no_pod_until_the_spec_changes(namespace, monkeypatch):
    async def scenario(h):
        await create(h)
        before = set(await h.ready(POOL, 3))
        generation = (await stored(h))["metadata"]["generation"]
        monkeypatch.setattr(manifest, "STAMP_VERSION", "2")
        monkeypatch.setattr(manifest, "LONGEST_GRACE_SECONDS", 60)
        assert await h.ready(POOL, 4)
        found = await stored(h)
        assert found["metadata"]["generation"] == generation + 1  # the raise, and nothing else
        assert before < {one.id for one in h.view(POOL).replicas}
        assert found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] != 60
        await change(h, worker(image="worker:2"))
        await h.step(POOL, 4)
        found = await stored(h)
        assert found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 60
        assert found["metadata"]["annotations"]["processingpool.dev/stamp"].startswith("2-")

    run(namespace, scenario)


def test_lowering_waits_for_the_observed_cost_and_removes_the_drained_pod(namespace):
    async def scenario(h):
        await create(h)
        ids = await h.ready(POOL, 5)
        drained = {ids[1], ids[3]}
        first = await h.step(POOL, 3, drained=drained)
        assert first.wanted == 5  # only the cost is written yet
        await h.until(
            lambda: sum(one.cost == DRAINED_COST for one in h.cache.pods.of(h.pools[POOL].uid)) == 2, what="costs seen"
        )
        second = await h.step(POOL, 3, drained=drained)
        assert second.wanted == 5
        assert 0 < second.wait_seconds <= 1
        await h.drive(POOL, 3, drained=drained, until=lambda view: len(view.replicas) == 3, what="two gone")
        assert {one.id for one in h.view(POOL).replicas} == set(ids) - drained

    run(namespace, scenario)


def test_a_mark_that_is_taken_back_takes_the_cost_back(namespace):
    async def scenario(h):
        await create(h)
        ids = await h.ready(POOL, 2)
        await h.step(POOL, 1, drained=[ids[0]])

        def costs():
            return [one.cost for one in h.cache.pods.of(h.pools[POOL].uid)]

        await h.until(lambda: DRAINED_COST in costs(), what="cost seen")
        await h.step(POOL, 2)
        await h.until(lambda: costs() == [None, None], what="cost gone")

    run(namespace, scenario)


def test_a_pod_that_the_replicaset_would_remove_first_holds_the_lowering_back(namespace):
    async def scenario(h):
        await create(h, gpu())
        await h.drive(POOL, 9, until=lambda view: sum(o.phase == "Ready" for o in view.replicas) == 8, what="8 ready")
        await h.until(lambda: h.view(POOL).capacity_problem, what="reported")
        problem = h.view(POOL).capacity_problem
        assert problem.reason is ConditionReason.UNSCHEDULABLE
        assert "Insufficient nvidia.com/gpu" in problem.message
        pending = next(one for one in h.view(POOL).replicas if one.phase == "Starting")
        assert pending.blocked is Blocked.UNSCHEDULABLE
        assert pending.removal_rank == 0
        ready = next(one for one in h.view(POOL).replicas if one.phase == "Ready")
        for _ in range(8):  # past the settling of the cost
            applied = await h.step(POOL, 8, drained=[ready.id])
            assert applied.wanted == 9
            await asyncio.sleep(0.25)
        await h.drive(POOL, 8, drained=[pending.id], until=lambda view: len(view.replicas) == 8, what="pending gone")
        assert ready.id in {one.id for one in h.view(POOL).replicas}

    run(namespace, scenario)


def test_a_rollout_only_raises_and_all_empty_goes_to_zero(namespace):
    async def scenario(h):
        await create(h)
        ids = await h.ready(POOL, 4)
        await change(h, worker(image="worker:2"), nodeSelector={"no": "such-node"})
        await h.drive(POOL, 4, until=lambda view: "rollout" in view.lowering_blocked, what="rollout runs")
        old = [one.id for one in h.view(POOL).replicas if one.outdated]
        assert set(old) <= set(ids)
        for _ in range(8):
            applied = await h.step(POOL, 1, drained=old[:1])
            assert applied.wanted == 4
            await asyncio.sleep(0.25)
        await h.drive(POOL, 6, until=lambda view: view.wanted == 6, what="raised")
        for _ in range(100):
            everybody = [one.id for one in h.view(POOL).replicas]
            if (await h.step(POOL, 1, drained=everybody)).wanted == 0:
                break
            await asyncio.sleep(0.1)
        assert (await stored(h))["spec"]["replicas"] == 0

    run(namespace, scenario)


def test_a_rollout_on_a_full_gpu_cluster_completes(namespace):
    async def scenario(h):
        await create(h, gpu())
        before = set(await h.ready(POOL, 8))
        await change(h, gpu(env=[{"name": "COLOUR", "value": "blue"}]))

        def renewed(view):
            now = {one.id for one in view.replicas if one.phase == "Ready"}
            return len(now) == 8 and not now & before

        await h.drive(POOL, 8, until=renewed, what="all eight replaced")

    run(namespace, scenario)


def test_a_removed_variable_disappears_while_replicas_stay(namespace):
    async def scenario(h):
        await create(h)
        await h.ready(POOL, 3)
        await change(h, worker(env=[]))
        await h.step(POOL, 3)
        found = await stored(h)
        names = [entry["name"] for entry in found["spec"]["template"]["spec"]["containers"][0]["env"]]
        assert "PROCESSINGPOOL_POOL" in names
        assert "COLOUR" not in names
        assert found["spec"]["replicas"] == 3

    run(namespace, scenario)


def test_a_crash_between_the_two_applies_of_creation_loses_no_replicas(namespace):
    async def scenario(h):
        pool = await create(h)
        body = manifest.render(pool)
        body["spec"]["replicas"] = 3
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        path = paths.deployment(h.namespace, POOL)
        await h.api.call("PATCH", path, query=query, body=body, content=Content.APPLY)
        await h.ready(POOL, 3)
        await change(h, worker(image="worker:2"))
        await h.step(POOL, 3)
        found = await stored(h)
        assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "worker:2"
        assert found["spec"]["replicas"] == 3

    run(namespace, scenario)


def test_a_stale_leaders_write_is_refused(namespace):
    async def scenario(h):
        await create(h)
        await h.ready(POOL, 2)
        stale = h.deployment(POOL)
        await h.drive(POOL, 5, until=lambda view: view.wanted == 5, what="raised by the new leader")
        with pytest.raises(ConflictError):
            await h.writer.set_replicas(h.pools[POOL], stale, 0)
        with pytest.raises(ConflictError):
            await h.writer.set_template(h.pools[POOL], stale)
        h.leading = False
        with pytest.raises(NotLeadingError):
            await h.writer.set_replicas(h.pools[POOL], h.deployment(POOL), 0)
        assert (await stored(h))["spec"]["replicas"] == 5

    run(namespace, scenario)


def test_a_stale_leaders_creation_does_not_set_the_replicas_of_a_deployment_that_works(namespace):
    async def scenario(h):
        await create(h)
        await h.ready(POOL, 3)
        with pytest.raises(ConflictError):  # found none a moment ago; another leader has created it meanwhile
            await h.writer.create(h.pools[POOL], 0)
        assert (await stored(h))["spec"]["replicas"] == 3

    run(namespace, scenario)


@pytest.mark.parametrize("label", [LABEL_MANAGED_BY, LABEL_POOL_UID])
def test_a_label_of_ours_that_somebody_changes_comes_back_and_scaling_goes_on(namespace, label):
    async def scenario(h):
        await create(h)
        await h.ready(POOL, 1)
        body = {"metadata": {"labels": {label: None}}}
        await h.api.call("PATCH", paths.deployment(h.namespace, POOL), body=body, content=Content.MERGE)
        await h.until(lambda: not h.view(POOL).exists, what="out of sight")
        await h.drive(POOL, 2, until=lambda view: view.wanted == 2, what="raised again")

    run(namespace, scenario)


def test_somebody_elses_deployment_is_left_alone_and_named(namespace):
    async def scenario(h):
        container = {"name": "web", "image": "web:1"}
        foreign = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": POOL},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
            },
        }
        await h.api.call("POST", paths.deployments(h.namespace), body=foreign)
        await create(h)
        applied = await h.step(POOL, 3)
        assert f"Deployment named '{POOL}'" in applied.problem.message
        assert h.cache.deployments.of("") == ()  # the watch is filtered by our label at the server
        assert h.cache.pods.of("") == ()
        assert (await stored(h))["spec"]["template"]["spec"]["containers"][0]["name"] == "web"

    run(namespace, scenario)


def test_a_template_that_the_server_refuses_is_told_and_harms_nothing(namespace):
    async def scenario(h):
        await create(h)
        await h.ready(POOL, 2)
        await change(h, worker(resources={"limits": {"memory": "1Gi"}, "requests": {"memory": "2Gi"}}))
        applied = await h.step(POOL, 3)
        assert applied.wanted == 3  # scaling goes on with the template that works
        problem = h.view(POOL).template_problem
        assert problem.reason is ConditionReason.TEMPLATE_REFUSED
        assert "must be less than or equal to memory limit" in problem.message
        await change(h, worker(image="worker:2"))
        await h.step(POOL, 3)
        assert h.view(POOL).template_problem is None
        assert (await stored(h))["spec"]["template"]["spec"]["containers"][0]["image"] == "worker:2"

    run(namespace, scenario)


def test_a_first_template_that_is_refused_creates_nothing(namespace):
    async def scenario(h):
        await create(h, worker(image=""))
        applied = await h.step(POOL, 3)
        assert applied.problem.reason is ConditionReason.TEMPLATE_REFUSED
        assert not h.view(POOL).exists
        assert await h.writer.found(h.pools[POOL]) is None

    run(namespace, scenario)


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        ({"volumes": {"name": "a"}}, "spec.template: is not shaped like a pod template"),
        ({"tolerations": "all"}, "refuses the template: spec.template.spec.tolerations: expected list"),
        ({"nodeSelectr": {"gpu": "yes"}}, "spec.template.spec.nodeSelectr: field not declared in schema"),
        ({"hostNetwork": True}, "spec.template.spec.hostNetwork: this installation does not allow it"),
    ],
)
def test_what_the_schema_keeps_but_no_pod_can_have_is_told(namespace, pod, words):
    async def scenario(h):
        await create(h, **pod)
        applied = await h.step(POOL, 3)
        assert applied.problem.reason is ConditionReason.TEMPLATE_REFUSED
        assert words in applied.problem.message
        assert await h.writer.found(h.pools[POOL]) is None

    run(namespace, scenario)


def test_who_scales_by_hand_is_overruled_without_killing_anybody(namespace, kubectl):
    async def scenario(h):
        await create(h)
        ids = await h.ready(POOL, 2)
        kubectl("scale", "deployment", POOL, "-n", h.namespace, "--replicas=4")
        await h.until(lambda: len(h.view(POOL).replicas) == 4, what="four by hand")
        extra = {one.id for one in h.view(POOL).replicas} - set(ids)
        await h.drive(POOL, 2, drained=extra, until=lambda view: len(view.replicas) == 2, what="two gone")
        assert {one.id for one in h.view(POOL).replicas} == set(ids)
        await change(h, worker(image="worker:2"))
        await h.step(POOL, 2)
        assert (await stored(h))["spec"]["replicas"] == 2

    run(namespace, scenario)


def test_a_quota_is_reported_in_the_servers_words(namespace):
    async def scenario(h):
        quota = {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}}
        await h.api.call("POST", f"/api/v1/namespaces/{h.namespace}/resourcequotas", body=quota)
        await create(h)
        await h.drive(POOL, 4, until=lambda view: view.capacity_problem, what="reported")
        problem = h.view(POOL).capacity_problem
        assert problem.reason is ConditionReason.FAILED_CREATE
        assert "exceeded quota: few" in problem.message
        assert h.view(POOL).refused
        # the ReplicaSet's number follows the Deployment's a moment later
        await h.drive(POOL, 2, until=lambda view: view.wanted == 2 and not view.refused, what="no longer asked for")
        assert len(h.view(POOL).replicas) == 2

    run(namespace, scenario)


def test_a_pod_that_somebody_deletes_is_excused_and_has_a_deadline(namespace):
    async def scenario(h):
        await create(h)
        ids = await h.ready(POOL, 1)
        name = (await pods(h))[0]["metadata"]["name"]
        await h.api.call("DELETE", paths.pod(h.namespace, name))
        await h.until(lambda: ids[0] in h.view(POOL).excused_replicas, what="excused")
        await h.until(lambda: ids[0] not in {o.id for o in h.view(POOL).replicas}, what="gone")
        assert ids[0] in h.view(POOL).excused_replicas

    run(namespace, scenario)


def test_what_a_gap_of_the_watch_swallowed_is_found_by_the_list(namespace):
    async def scenario(h):
        pool = await create(h)
        await h.ready(POOL, 1)
        ghost = pod_fact("ghost", version=1)
        h.cache.put_pod(ghost)
        h.intake.pools["ghost-pool"] = (pool.key, 1)
        await Resync(h.api, h.intake, namespaces=[h.namespace]).once()
        assert h.cache.pods.of(ghost.id.pool_uid) == ()
        assert h.gone == ["ghost-pool"]
        assert len(h.view(POOL).replicas) == 1

    run(namespace, scenario)


def test_deleting_the_pool_deletes_its_deployment_and_pods(namespace):
    async def scenario(h):
        pool = await create(h)
        await h.ready(POOL, 2)
        await h.api.call("DELETE", f"{paths.pools(h.namespace)}/{POOL}")
        await h.until(lambda: h.gone == [pool.uid], what="told")
        await h.until(lambda: not h.view(POOL).replicas and not h.view(POOL).exists, what="all gone")

    run(namespace, scenario)
