"""The main path: apply a pool, enqueue real speech, 0 -> N -> 0, and the words are right."""

from __future__ import annotations

import json
import time

from demo.speech import word_error_rate
from tests.cluster.site import MEDIA
from tests.cluster.speech import clips

from pool_contract.jobs import TRANSCRIBE, TranscriptionJob

SPOKEN = 16
REPLICAS = 3
MODEL = {"PROCESSINGPOOL_MODEL": "tiny.en", "PROCESSINGPOOL_MODEL_COMPUTE_TYPE": "int8"}
WORST_ERROR_RATE = 0.25


def test_speech_scales_from_zero_to_the_maximum_and_back_and_each_word_counts(site):
    texts = clips(site.media, spoken=SPOKEN)
    # the model table's numbers for tiny.en on the CPU: one job in 1200 MiB
    site.apply(site.pool(maxReplicas=REPLICAS, environment=MODEL, memory="1200Mi", concurrency={}))
    site.kubectl("wait", "--for=condition=Ready", "pool/pool", "--timeout=60s")
    assert site.pods() == [], "an empty queue starts no pod"

    jobs = {
        site.enqueue(TRANSCRIBE, job=TranscriptionJob(source=f"{MEDIA}/{name}").model_dump(mode="json")): text
        for name, text in texts.items()
    }
    site.until(lambda: site.status().get("readyReplicas") == REPLICAS, what="all replicas are ready", seconds=120)
    site.until_finished(list(jobs), seconds=200)
    site.until_empty()

    assert site.runs.once(jobs), str(site.runs)
    assert len(site.runs.replicas()) == REPLICAS
    site.until(lambda: site.status()["replicas"] == 0, what="the status says zero")
    heard = {job: site.job(job).return_value() for job in jobs}
    wanted, got = " ".join(jobs.values()), " ".join(heard[job]["text"] for job in jobs)
    assert word_error_rate(wanted, got) <= WORST_ERROR_RATE, got
    out = site.media / "out"
    assert {path.name for path in out.iterdir()} == {
        f"{job}.{kind}" for job in jobs for kind in ("json", "srt", "vtt", "txt")
    }
    for job in jobs:
        assert json.loads((out / f"{job}.json").read_text())["text"] == heard[job]["text"]


def test_a_second_batch_wakes_an_idle_pool_again(site):
    site.apply(site.pool(maxReplicas=1))
    for _ in range(2):
        job = site.enqueue("workload.nap", seconds=0.5)
        site.until_finished([job])
        site.until_empty()
    assert sorted(site.runs.starts().values()) == [1, 1]


def test_a_job_that_is_due_later_wakes_a_pool_at_zero(site):
    site.apply(site.pool(maxReplicas=1))
    job = site.enqueue("workload.nap", seconds=0.5, at=time.time() + 5)
    assert site.statuses([job]) == ["scheduled"]
    site.until_finished([job])
    site.until_empty()
