"""Real workers for pods that run nothing: each ready pod of a namespace gets a worker process, which ends with its pod.

The pods are listed again and again rather than watched: the API server may be away.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager

from tests.faults.crew import Member

from pool_operator.backends.kubernetes.objects import pod as pod_fact

LOOK_SECONDS = 0.1
FLAGS = ("--heartbeat-seconds", "1", "--poll-seconds", "0.1", "--run-log")


class PodWorkers:
    """`removed` are the replicas whose pods went; they were killed at once, whatever they did."""

    def __init__(self, plane, namespace, server, folder):
        self._plane, self._server, self._folder = plane, server, folder
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._members = {}
        self.removed = set()

    @property
    def running(self):
        """Replicas whose pods are there, as far as was seen."""
        return list(self._members)

    def look(self):
        try:
            pods = [pod_fact(one) for one in self._plane.get(self._path)["items"]]
        except OSError:
            return  # the API server is away: workers go on
        active = {one.id.uid: one for one in pods if one.id.deletion_at is None}
        for uid in self._members.keys() - active.keys():
            self.removed.add(uid)
            self._members.pop(uid).close()
        for uid, one in active.items():
            if one.ready and uid not in self._members:
                self._members[uid] = Member(
                    self._server, self._folder, *FLAGS, replica=uid, pool_uid=one.id.pool_uid, queues=("default",)
                )

    def close(self):
        while self._members:
            self._members.popitem()[1].close()


@contextmanager
def pod_workers(plane, namespace, server, folder):
    it, stop = PodWorkers(plane, namespace, server, folder), threading.Event()

    def follow():
        while not stop.wait(LOOK_SECONDS):
            it.look()

    thread = threading.Thread(target=follow, name="pod workers")
    thread.start()
    try:
        yield it
    finally:
        stop.set()
        thread.join()
        it.close()
