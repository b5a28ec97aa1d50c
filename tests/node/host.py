"""What a node asks of this machine, and the paths of one run; what a killed run left behind is cleared up here too."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.control_plane.binaries import CONTROL_PLANE, find

RUN = Path("/run/processing-pool")
DATA = Path("/var/lib/processing-pool")
CGROUPS = Path("/sys/fs/cgroup")
CNI_PLUGINS = Path("/usr/lib/cni")
CNI_RESULTS = Path("/var/lib/cni/results")  # fixed in the CNI library
CONTAINER_LINKS = Path("/var/log/containers")  # fixed in kubelet
PROGRAMS = ("containerd", "ctr", "runc", "ip", "iptables", "nsenter", "redis-server")
INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES_NEEDED = 512
GONE_SECONDS = 20.0


def obstacle() -> str | None:
    """Why no node can run on this machine, in one sentence; None if one can."""
    if sys.platform != "linux":
        return "a kubelet needs Linux"
    if os.geteuid() != 0:
        return "a kubelet needs root; run the tests as root, or in a virtual machine"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    missing += [name for name in (*CONTROL_PLANE, "kubelet") if find(name) is None]
    missing += [] if (CNI_PLUGINS / "bridge").exists() else ["the CNI plugin `bridge`"]
    if missing:
        return f"{', '.join(missing)} not found: `hack/apt.sh` and `make control-plane` install them"
    return _network_obstacle() or _cgroup_obstacle()


def _network_obstacle() -> str | None:
    name = f"pp-probe-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"no network namespace can be made here: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return None


def _cgroup_obstacle() -> str | None:
    probes = [parent / f"pp-probe-{os.getpid()}" for parent in cgroup_parents()]
    if not probes:
        return f"no cgroups are mounted at {CGROUPS}"
    try:
        for probe in probes:
            probe.mkdir()
    except OSError as error:
        return f"no cgroup can be made here: {error}"
    finally:
        for probe in probes:
            if probe.exists():
                probe.rmdir()
    return None


def cgroup_parents() -> list[Path]:
    """Where a cgroup has to be made: the one tree of version 2, or each controller of version 1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if path.is_mount() and (path / "cgroup.procs").exists()]


def raise_inotify_limit() -> None:
    """kubelet, containerd and each pod watch files; many systems' default of 128 is used up by the first few."""
    if int(INOTIFY_INSTANCES.read_text(encoding="ascii")) < INOTIFY_INSTANCES_NEEDED:
        INOTIFY_INSTANCES.write_text(str(INOTIFY_INSTANCES_NEEDED), encoding="ascii")


@dataclass
class Run:
    """The names and folders of one run; the lock file tells a living run from a killed one's leftovers."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    _lock: IO[str] | None = field(default=None, init=False, repr=False)

    @property
    def folder(self) -> Path:
        """Sockets and settings; short, because a socket's path may have 107 characters."""
        return RUN / self.id

    @property
    def data(self) -> Path:
        """Images and pods; on a disk, not in memory."""
        return DATA / self.id

    @property
    def name(self) -> str:
        """Of the network namespace, the pod network and the cgroup."""
        return f"processing-pool-{self.id}"

    @property
    def cgroup(self) -> str:
        return f"/{self.name}"

    def begin(self) -> None:
        self.folder.mkdir(parents=True)
        self.data.mkdir(parents=True)
        self._lock = (self.folder / "lock").open("w", encoding="ascii")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        for parent in cgroup_parents():
            (parent / self.name).mkdir()

    def end(self) -> None:
        """Clear up everything, whatever state it is in. Also works on the leftovers of a run that was killed."""
        self.end_processes()
        for mount in self._mounts():
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
        if left := self._mounts():
            raise RuntimeError(f"still mounted, so nothing is deleted: {', '.join(left)}")
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)
        for parent in cgroup_parents():
            _remove_cgroup(parent / self.name)
        for path in CNI_RESULTS.glob(f"{self.name}-*"):
            path.unlink(missing_ok=True)
        for link in CONTAINER_LINKS.glob("*.log"):
            if str(link.readlink()).startswith(f"{self.data}/"):
                link.unlink(missing_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def end_processes(self) -> None:
        """Kill the pods, and what else of this run is left."""
        end = time.monotonic() + GONE_SECONDS
        while pids := self._pids():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if time.monotonic() > end:
                raise RuntimeError(f"processes of the node do not end: {sorted(pids)}")
            time.sleep(0.1)

    def _pids(self) -> set[int]:
        """Everything in the pods' cgroups, and everything that names this run in its command line."""
        pids: set[int] = set()
        for parent in cgroup_parents():
            for path in (parent / self.name).rglob("cgroup.procs"):
                try:
                    pids.update(int(line) for line in path.read_text(encoding="ascii").split())
                except OSError:  # the cgroup went meanwhile
                    continue
        marks = (f"{self.folder}/".encode(), f"{self.data}/".encode())
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = path.read_bytes()
            except OSError:
                continue
            if any(mark in command for mark in marks):
                pids.add(int(path.parent.name))
        return pids - {os.getpid()}

    def _mounts(self) -> list[str]:
        """Mount points of this run, the innermost first."""
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        points = [line.split()[4] for line in lines]
        return [one for one in reversed(points) if one.startswith((f"{self.folder}/", f"{self.data}/"))]


def _remove_cgroup(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            if child.is_dir():
                _remove_cgroup(child)
        path.rmdir()


def clear_leftovers() -> list[str]:
    """End what killed runs left behind; the ids of those runs."""
    cleared = []
    for folder in RUN.glob("*"):
        lock = folder / "lock"
        if not lock.exists():
            continue
        with lock.open("w", encoding="ascii") as probe:
            try:
                fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # it is alive
        Run(folder.name).end()
        cleared.append(folder.name)
    return cleared


def processes_of_pod(run: Run, pod_uid: str) -> dict[int, str]:
    """The processes of a pod on this machine: pid -> command line."""
    found = {}
    for path in (cgroup_parents()[0] / run.name).rglob(f"*{pod_uid}*/**/cgroup.procs"):
        for line in path.read_text(encoding="ascii").splitlines():
            try:
                command = Path("/proc", line, "cmdline").read_bytes()
            except OSError:
                continue
            found[int(line)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found
