"""What jobs take: the peak between two looks, the share of each job, and GPU memory as the driver tells it."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import sys

import pytest

from pool_contract.scripts import Claimed
from pool_worker import memory, nvml
from pool_worker.meter import Meter
from pool_worker.run import Run

MIB = 1 << 20
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")


def a_run():
    return Run(Claimed("job", "default", "e1", alone=False, exhausted=False, losses=0))


def take(size):
    """Memory that is resident, and goes back to the system when it is closed."""
    space = mmap.mmap(-1, size)
    for at in range(0, size, mmap.PAGESIZE):
        space[at] = 1
    return space


@LINUX
def test_a_peak_between_two_looks_is_seen_once():
    memory.peak_bytes()
    base = memory.used_bytes()
    take(64 * MIB).close()
    assert memory.used_bytes() < base + 32 * MIB  # it is gone again
    assert memory.peak_bytes() > base + 60 * MIB
    assert memory.peak_bytes() < base + 32 * MIB


@LINUX
def test_what_a_child_takes_counts():
    code = f"space = bytearray({64 * MIB}); print('ready', flush=True); input()"
    memory.peak_bytes()
    base = memory.used_bytes()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert memory.peak_bytes() > base + 60 * MIB
        child.stdin.close()


def test_where_the_kernel_keeps_no_mark_it_is_what_is_used_now(tmp_path):
    own = tmp_path / str(os.getpid())
    own.mkdir()
    (own / "statm").write_text("900 100 0 0 0 0 0")
    (own / "status").write_text("VmHWM:\t 999999 kB\n")
    (own / "clear_refs").mkdir()  # cannot be written
    assert memory.peak_bytes(tmp_path) == 100 * os.sysconf("SC_PAGE_SIZE")


@LINUX
def test_jobs_share_what_is_above_the_base_and_keep_their_peaks():
    meter, one, two = Meter(("default",)), a_run(), a_run()
    meter.idle_base()
    space = take(96 * MIB)
    meter.sample([one, two])
    space.close()
    meter.sample([one])
    assert 44 * MIB < two.peak_memory_bytes < 60 * MIB
    assert one.peak_memory_bytes == two.peak_memory_bytes == meter.peak_job_memory_bytes


def test_without_a_base_or_a_job_nothing_is_attributed():
    meter, one = Meter(("default",)), a_run()
    meter.sample([one])
    assert one.peak_memory_bytes is None
    meter.idle_base()
    meter.sample([])  # one a second, whether something runs or not
    assert meter.peak_job_memory_bytes is None


def test_a_look_a_moment_ago_is_enough_for_a_tiny_job():
    meter, one = Meter(("default",)), a_run()
    meter.idle_base()
    meter.sample([a_run()])
    meter.sample([one], at_least_seconds=3600.0)
    assert one.peak_memory_bytes is None


# --- the GPU ------------------------------------------------------------------------------------------------------

DRIVER = """
#include <string.h>
typedef struct { unsigned int pid; unsigned long long used; unsigned int gpu, compute; } process;
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) { *device = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, process *found) {
    if (device == (void *)2) { *count = 0; return 0; }
    if (*count < 2) return 7;
    process told[2] = {{FIRST, 3000000000ull, 0, 0}, {SECOND, 500, 0, 0}};
    memcpy(found, told, sizeof told);
    *count = 2;
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, memory *found) { found->total = 9000000000ull; found->used = 4000000000ull; return 0; }
"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver's library of our own making, with these two processes on its first device."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: apt install gcc")

    def make(first, second):
        source, library = tmp_path / "driver.c", tmp_path / "driver.so"
        source.write_text(DRIVER)
        subprocess.run(
            ["cc", "-shared", "-fPIC", f"-DFIRST={first}", f"-DSECOND={second}", "-o", str(library), str(source)],
            check=True,
        )
        monkeypatch.setattr(nvml, "LIBRARY", str(library))
        nvml._library.cache_clear()

    yield make
    monkeypatch.undo()
    nvml._library.cache_clear()


def test_gpu_memory_of_our_processes(driver):
    driver(os.getpid(), 1)
    assert nvml.used_bytes([os.getpid()]) == memory.gpu_used_bytes() == 3_000_000_000


def test_others_on_the_same_gpu_are_not_ours(driver):
    driver(os.getppid(), 1)
    assert nvml.used_bytes([os.getpid()]) == 0


def test_numbers_of_the_host_mean_the_whole_device(driver):
    driver(4_000_000_001, 4_000_000_002)
    assert nvml.used_bytes([os.getpid()]) == 4_000_000_000


def test_without_a_driver_it_is_not_known(monkeypatch):
    monkeypatch.setattr(nvml, "LIBRARY", "libno-such-driver.so")
    nvml._library.cache_clear()
    assert nvml.used_bytes([os.getpid()]) is None
    nvml._library.cache_clear()
