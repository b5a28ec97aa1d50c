"""Memory per job is bounded by the slice, however long the file is: peak RSS of a process that does one job."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.fixtures import media, tiny_whisper

ONE_JOB = """
import json, os, resource, sys
from pathlib import Path
from pool_contract.jobs import TranscriptionJob
from pool_worker.transcribe.model import ModelSettings, load
from pool_worker.transcribe.pipeline import PipelineSettings, transcribe_file

model, source, output = sys.argv[1:]
os.environ |= {"PROCESSINGPOOL_MODEL": model, "PROCESSINGPOOL_CPU_THREADS": "1"}
loaded = load(ModelSettings.from_environment())
job = TranscriptionJob(source=source, language="en", beam_size=1)
done = transcribe_file(job, Path(source).stem, loaded, PipelineSettings(output=Path(output)))
peaks = {of: resource.getrusage(who).ru_maxrss / 1024 for of, who in
         (("worker", resource.RUSAGE_SELF), ("ffmpeg", resource.RUSAGE_CHILDREN))}
print(json.dumps({"seconds": done.duration_seconds, **peaks}))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_whisper.build(tmp_path_factory.mktemp("memory") / "tones")


def peak(model, minutes, folder):
    """One job over so many minutes of sound, in a process of its own: peak resident memory in MiB."""
    source = folder / f"minutes-{minutes}.flac"
    media.ffmpeg("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=16000", "-t", str(60 * minutes), source)
    command = [sys.executable, "-c", ONE_JOB, str(model), str(source), str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["seconds"] == pytest.approx(60 * minutes, abs=1)
    print(f"{minutes} min of sound: peak {found['worker']:.0f} MiB, ffmpeg {found['ffmpeg']:.0f} MiB")
    return found


@pytest.mark.slow
def test_an_hour_needs_no_more_memory_than_ten_minutes(model, tmp_path):
    _, ten, sixty = (peak(model, minutes, tmp_path) for minutes in (1, 10, 60))
    assert sixty["worker"] < 1.5 * ten["worker"]
    assert sixty["ffmpeg"] < 1.5 * ten["ffmpeg"]
