"""A running worker as others see it, and what it is told while it runs."""

from __future__ import annotations

import json
import socket
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rq import Queue, Worker
from rq.suspension import resume, suspend
from tests.redis.worker_harness import Bench, eventually, workers
from tests.servers import binaries, free_port, redis_server

from pool_contract.messages import PoolSettings, ReplicaPhase
from pool_contract.scripts import Scripts, publish_settings, read

POOL = {"PROCESSINGPOOL_POOL": "media/speech", "PROCESSINGPOOL_POOL_UID": "uid-1", "PROCESSINGPOOL_REPLICA": "r1"}


@pytest.fixture
def bench(valkey):
    bench = Bench(valkey)
    yield bench
    bench.redis.close()


@pytest.fixture
def start(valkey, tmp_path):
    with workers(valkey, tmp_path) as start:
        yield start


def publish(bench, **fields):
    settings = PoolSettings(namespace="media", name="speech", queues=("default",), **fields)
    Scripts(bench.redis).run(publish_settings("rq", pool="uid-1", epoch=1, settings=settings))


def reported(bench):
    state = Scripts(bench.redis).run(read("rq", queues=["default"], pools=["uid-1"]))
    replica = state.pools["uid-1"].replicas.get("r1")
    return replica.report if replica else None


def test_slots_follow_the_pool_s_live_setting_and_its_time_out_is_a_cap(bench, start):
    publish(bench, slots=3, job_timeout_seconds=3600)
    worker = start(environment=POOL).ready()
    for name in "abc":
        bench.enqueue("until", "test:go", name)
    for name in "abc":
        bench.until_noted(f"{name} begins")
    eventually(lambda: len(reported(bench).jobs) == 3, "all three are reported")
    publish(bench, slots=1, job_timeout_seconds=1)
    worker.said("slots: 1 instead of 3")
    assert len(reported(bench).jobs) == 3  # a lower number ends no job
    bench.redis.set("test:go", 1)
    eventually(lambda: (it := reported(bench)).slots == 1 and it.finished == 3, lambda: reported(bench))
    assert "(1 seconds)" in bench.failed(bench.enqueue("spin", 300, job_timeout=-1))
    assert reported(bench).phase is ReplicaPhase.READY
    publish(bench, slots=2)
    worker.said("slots: 2 instead of 1")
    eventually(lambda: len(Worker.all(bench.redis)) == 2, "RQ sees two workers")
    bench.redis.hset("rq:pp:pools", "uid-1", '{"namespace": "media", "name": "speech", "queues": [], "slots": 100000}')
    worker.said("slots: 1 instead of 2")  # its own setting: what stands there is no setting


def test_health_metrics_report_and_rq_tell_the_same(bench, start):
    worker = start(environment=POOL).ready()
    assert worker.get("/readyz") == (200, "ok\n")
    assert worker.get("/livez") == (200, "ok\n")
    assert worker.get("/")[0] == 404
    bench.finished(bench.enqueue("add", 1, 2))
    bench.failed(bench.enqueue("fail"))
    bench.enqueue("until", "test:go")
    bench.until_noted("waiter begins")
    bench.enqueue("add", 1, 2)
    health = eventually(
        lambda: (it := json.loads(worker.get("/health")[1]))["queue"]["waiting"] == 1 and it, "one waits"
    )
    assert set(health) == {"status", "memory", "cpu", "queue", "uptime"}
    assert health["status"] == "healthy"
    assert health["queue"] == {"waiting": 1, "active": 1, "completed": 1}
    assert health["memory"]["used"].endswith("GB")
    assert health["memory"]["limit"].endswith("GB")
    assert isinstance(health["memory"]["percentage"], int)
    assert isinstance(health["cpu"]["usage"], int)
    assert isinstance(health["uptime"], int)
    metrics = worker.get("/metrics")[1]
    for line in (
        'processingpool_jobs_total{queue="default",result="finished"} 1.0',
        'processingpool_jobs_total{queue="default",result="failed"} 1.0',
        'processingpool_jobs_total{queue="default",result="lost"} 0.0',
        'processingpool_job_duration_seconds_count{queue="default"} 2.0',
        'processingpool_job_wait_seconds_count{queue="default"} 2.0',
        "processingpool_worker_slots 1.0",
        "processingpool_worker_busy_slots 1.0",
        "processingpool_worker_ready 1.0",
    ):
        assert line in metrics.splitlines()
    eventually(lambda: reported(bench).finished == 1 and len(reported(bench).jobs) == 1, lambda: reported(bench))
    report = reported(bench)
    assert (report.failed, report.slots, report.phase) == (1, 1, ReplicaPhase.READY)
    assert report.base_memory_bytes > 1_000_000
    [seen] = Worker.all(bench.redis)
    assert seen.get_state() == "busy"
    assert seen.queue_names() == ["default"]
    bench.redis.set("test:go", 1)
    eventually(lambda: Worker.all(bench.redis)[0].get_state() == "idle", "RQ sees it idle")
    assert worker.stop() == 0
    assert reported(bench).phase is ReplicaPhase.STOPPING


def test_rq_suspend_and_resume_are_heard(bench, start):
    worker = start().ready()
    suspend(bench.redis)
    worker.said("rq suspend: no new jobs")
    job = bench.enqueue("add", 1, 2)
    resume(bench.redis)
    bench.finished(job)


def test_pickle_is_a_choice_with_a_warning(bench, start):
    worker = start("--serializer", "pickle")
    worker.said("--serializer pickle: whoever can write to this Redis can run any code")
    pickled = Queue("default", connection=bench.redis).enqueue("worker_jobs.add", 1, {2: 3}[2])
    eventually(lambda: pickled.get_status() == "finished", "it runs")
    job = bench.enqueue("add", 1, 2)
    eventually(lambda: job.get_status() == "failed", "refused")
    assert "--serializer json (PROCESSINGPOOL_SERIALIZER=json)" in job.latest_result().exc_string


def test_a_key_of_the_wrong_type_stops_its_queue_only(bench, start):
    bench.redis.set("rq:queue:urgent", "not a list")
    start("urgent", "default")
    assert bench.finished(bench.enqueue("add", 1, 2)).return_value() == 3


def test_a_port_in_use_is_one_sentence(start):
    with socket.create_server(("", 0)) as taken:
        worker = start("--health-port", str(taken.getsockname()[1]))
        assert worker.ended() == 2
    last = worker.log.splitlines()[-1]
    assert last.startswith("processingpool worker: --health-port (PROCESSINGPOOL_HEALTH_PORT): cannot listen on port")
    assert "Traceback" not in worker.log


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--slots", "none"), "--slots (PROCESSINGPOOL_SLOTS) is 'none': must be a whole number"),
        (("--nonsense",), "unrecognized arguments: --nonsense"),
        (("--url", "http://x"), "--url (PROCESSINGPOOL_REDIS_URL): write redis://host:port/database"),
    ],
)
def test_a_wrong_value_is_one_sentence(start, arguments, sentence):
    worker = start(*arguments)
    assert worker.ended() == 2
    assert worker.log.startswith(f"processingpool worker: {sentence}")
    assert worker.log.count("\n") == 1


@pytest.mark.parametrize("asked", ["db=first", "first=1"])
def test_an_option_of_the_url_that_is_none_is_one_sentence(start, asked):
    worker = start("--url", f"redis://me:secret@x?{asked}")
    assert worker.ended() == 2
    last = worker.log.splitlines()[-1]
    assert last.startswith("processingpool worker: --url (PROCESSINGPOOL_REDIS_URL): what follows the ? is not")
    assert "secret" not in worker.log


def test_a_wrong_password_is_one_sentence(bench, start):
    bench.redis.config_set("requirepass", "right")
    worker = start(environment={"PROCESSINGPOOL_REDIS_PASSWORD": "wrong"})
    assert worker.ended() == 2
    assert "refuses the user or password" in worker.log.splitlines()[-1]
    assert "Traceback" not in worker.log
    assert "wrong" not in worker.log.replace("WRONGPASS", "")
    worker = start(environment={"PROCESSINGPOOL_REDIS_PASSWORD": "right"})
    bench.finished(bench.enqueue("add", 1, 2))
    bench.redis.config_set("requirepass", "")


def test_a_redis_that_comes_late_is_waited_for(bench, start):
    bench.server.stop()
    worker = start()
    worker.said("cannot be reached")
    bench.server.start()
    bench.finished(bench.enqueue("add", 1, 2))
    assert worker.log.count("cannot be reached") == 1
    bench.server.stop()
    assert worker.stop() == 0  # also with Redis away again


def test_another_key_prefix_is_kept_apart(bench, start):
    payload = zlib.compress(b'["worker_jobs.add",null,[1,2],{}]')
    bench.redis.hset("mine:job:j", mapping={"data": payload, "origin": "default", "status": "queued"})
    bench.redis.rpush("mine:queue:default", "j")
    other = bench.enqueue("add", 1, 2)
    start("--key-prefix", "mine")
    eventually(lambda: bench.redis.hget("mine:job:j", "status") == b"finished", "it runs")
    assert bench.redis.exists("mine:results:j")
    assert other.get_status() == "queued"
    assert bench.redis.keys("rq:pp:*") == []


@pytest.mark.skipif("redis" not in binaries(), reason="the bundled server speaks no TLS: install redis-server")
def test_tls_with_a_name_of_its_own_and_an_acl_user(start, tmp_path):
    authority = certificates(tmp_path, "redis.internal")
    port = free_port()
    flags = ("--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", str(authority))
    files = ("--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem"))
    with redis_server("redis", *flags, *files) as server:
        bench = Bench(server)
        bench.redis.execute_command(
            "ACL", "SETUSER", "me", "on", ">secret", "~rq:*", "&*", "+@all", "-@dangerous", "+info"
        )
        environment = {
            "PROCESSINGPOOL_REDIS_URL": f"rediss://127.0.0.1:{port}/0",
            "PROCESSINGPOOL_REDIS_CA_FILE": str(authority),
            "PROCESSINGPOOL_REDIS_SERVER_NAME": "redis.internal",
            "PROCESSINGPOOL_REDIS_USERNAME": "me",
            "PROCESSINGPOOL_REDIS_PASSWORD": "secret",
        }
        worker = start("--url", environment["PROCESSINGPOOL_REDIS_URL"], environment=environment)
        assert bench.finished(bench.enqueue("add", 1, 2)).return_value() == 3
        assert worker.stop() == 0
        stranger = start(
            "--url",
            environment["PROCESSINGPOOL_REDIS_URL"],
            environment={**environment, "PROCESSINGPOOL_REDIS_SERVER_NAME": "other.internal"},
        )
        stranger.said("cannot be reached")
        bench.redis.close()


def certificates(folder, name):
    """A certificate for the name, its key, and the authority's certificate (its path is returned)."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    begin = datetime.now(UTC) - timedelta(hours=1)

    def signed(subject, public_key, extension):
        return (
            x509.CertificateBuilder(
                authority, subject, public_key, x509.random_serial_number(), begin, begin + timedelta(days=1)
            )
            .add_extension(extension, critical=True)
            .sign(authority_key, hashes.SHA256())
        )

    own = signed(authority, authority_key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    server = signed(subject, key.public_key(), x509.SubjectAlternativeName([x509.DNSName(name)]))
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(own.public_bytes(pem))
    (folder / "cert.pem").write_bytes(server.public_bytes(pem))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    return folder / "ca.pem"
