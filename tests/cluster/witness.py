"""Watches pods go, and asks the run log what ran on them and beside them at that moment."""

from __future__ import annotations

import threading
from typing import Self

from tests.cluster.site import Site

PERIOD_SECONDS = 0.3


class Witness:
    """A thread that looks at the site's pods a few times a second.

    Attributes:
        removed: pods (by UID) that were seen going, or are gone.
        removed_beside_work: those of them that were seen going while a job ran on another pod.
        hits: those that were told to go while a job ran on themselves.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._known: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness")
        self._error: Exception | None = None
        self.removed: set[str] = set()
        self.removed_beside_work: set[str] = set()
        self.hits: list[str] = []
        self.most_pods = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None and exc[0] is None:
            raise self._error

    def __str__(self) -> str:
        return (
            f"{len(self.removed)} pods removed, {len(self.removed_beside_work)} of them while others worked, "
            f"{len(self.hits)} hits, at most {self.most_pods} pods at once"
        )

    def _run(self) -> None:
        try:
            while not self._stop.wait(PERIOD_SECONDS):
                self._look()
        except Exception as error:
            self._error = error

    def _look(self) -> None:
        pods = self._site.cluster.plane.get(f"/api/v1/namespaces/{self._site.namespace}/pods")["items"]
        working = {run.replica for run in self._site.runs.open}
        present = {pod["metadata"]["uid"] for pod in pods}
        going = {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" in pod["metadata"]}
        self.most_pods = max(self.most_pods, len(present))
        for uid in (going | (self._known - present)) - self.removed:
            self.removed.add(uid)
            if working - {uid}:
                self.removed_beside_work.add(uid)
            if uid in working:
                self.hits.append(uid)
        self._known |= present
