"""`make demo`: 100 spoken clips with known words, 0 -> 10 -> 0 workers on this machine, and a report that anybody can check.

    python -m demo [--audio FOLDER] [--clips N] [--plain]

Everything lies under build/demo: the clips, the transcripts, report.json and replicas.svg.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from demo.plot import write_plot
from demo.speech import MANIFEST, SpeechError, make_clips, word_error_rate
from pool_client.files import media_files
from pool_contract.local import state_folder
from pool_operator.api.load import load_pool
from pool_operator.app.local import local_pool
from pool_operator.app.local_pool import LocalOptions, LocalPool
from pool_operator.app.local_report import Json, timeline
from pool_operator.backends.base import PoolKey
from pool_operator.backends.local.state import StateFolder
from pool_operator.cli.run import WRONG_INPUT, on_signals, submit, write_report
from pool_operator.cli.run_screen import Screen, lifetimes

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "demo"
CLIPS = 100
MOST_WORD_ERRORS = 0.25
NONE_OF = ("failed", "waiting", "lost", "duplicated", "killed", "interrupted")


def main() -> int:
    """Exit status 0: everything is as promised; 1: it is not, and the summary says what."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--audio", type=Path, metavar="FOLDER", help="your own audio and video files instead of the clips"
    )
    parser.add_argument("--clips", type=int, default=CLIPS, metavar="N", help=f"spoken clips (default: {CLIPS})")
    parser.add_argument("--plain", action="store_true", help="plain lines also on a terminal")
    arguments = parser.parse_args()
    os.environ["XDG_STATE_HOME"] = str(BUILD / "state")  # the demo leaves the user's own pools alone
    try:
        return asyncio.run(demo(arguments.audio, arguments.clips, plain=arguments.plain))
    except (*WRONG_INPUT, SpeechError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2


async def demo(audio: Path | None, count: int, *, plain: bool) -> int:
    """Clips (or the user's files) in, transcripts and a report out."""
    BUILD.mkdir(parents=True, exist_ok=True)
    texts = {} if audio else clips(BUILD / "clips", count)
    files = media_files([str(audio)] if audio else [str(BUILD / "clips" / name) for name in texts])
    metadata, spec = load_pool(HERE / "pool.yaml")
    key = PoolKey(namespace=metadata.namespace, name=metadata.name)
    output = BUILD / ("transcripts-of-your-files" if audio else "transcripts")
    await forget_last_demo(key)
    if output.exists():
        shutil.rmtree(output)
    output.mkdir()
    stop, hurry = asyncio.Event(), asyncio.Event()
    on_signals(stop, hurry)
    began = time.monotonic()
    async with local_pool(key, spec, LocalOptions(output=output, run_log=True)) as it:
        screen = Screen(it, plain=plain or not sys.stdout.isatty())
        screen.introduce()
        jobs = submit(it, files, None, screen.say)  # all of them before the first worker
        try:
            await screen.during(it.run(stop, until_done=True))
        finally:
            screen.ending = True
            await screen.during(it.end(hurry))
            screen.close()
        report = await write_report(it, BUILD / "report.json", jobs=jobs)
        runs = await waiting_steps(it)
    report["word_error_rate"] = error_rate(output, dict(zip(jobs, texts.values(), strict=True))) if texts else None
    report["seconds"] = round(time.monotonic() - began, 1)
    (BUILD / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    spans = [(one.created_at, one.ended_at or time.time()) for one in lifetimes(it)]
    if spans:
        title = f"{report['jobs']} jobs, {report['peak_replicas']} replicas at most"
        write_plot(BUILD / "replicas.svg", replicas=timeline(spans), waiting=runs, title=title)
    peak = None if audio or stop.is_set() else min(spec.max_replicas, len(files))
    status = summary(report, output, spoken=not audio, peak=peak)
    if audio:
        print(
            "\n".join(
                f"  {path.name}: {first_words(output / f'{job}.txt')}" for path, job in zip(files, jobs, strict=True)
            )
        )
    return status


def first_words(transcript: Path) -> str:
    """Enough of a transcript to recognise it, and where the whole is."""
    try:
        text = " ".join(transcript.read_text(encoding="utf-8").split())
    except OSError:
        return "no transcript"
    return f"{text[:70]}{'…' if len(text) > 70 else ''}  [{transcript.name}]"


def clips(folder: Path, count: int) -> dict[str, str]:
    """The spoken clips; made once."""
    try:
        known: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if len(known) == count and all((folder / name).is_file() for name in known):
        return known
    print(f"speaking {count} clips into {folder}", flush=True)
    if folder.exists():
        shutil.rmtree(folder)
    return make_clips(folder, count)


async def forget_last_demo(key: PoolKey) -> None:
    """Each demo starts with nothing; a demo that runs at this moment is left alone (PoolBusyError)."""
    state = StateFolder(state_folder(key.namespace, key.name))
    with state.locked(str(key)):
        await state.end_leftovers()
        for one in state.path.iterdir():
            if one.is_dir():
                shutil.rmtree(one)
            elif one.name != "lock":
                one.unlink()


async def waiting_steps(it: LocalPool) -> list[tuple[float, int]]:
    """Jobs that wait, over time: submitted and not yet started, by the run log."""
    from pool_operator.app.local_report import gather

    assert it.pool.spec is not None
    evidence = await gather(it.redis, it.prefix, [one.name for one in it.pool.spec.queues])
    first: dict[str, float] = {}
    for run in evidence.runs:
        if run["event"] == "start":
            first.setdefault(str(run["job"]), float(run["at"]))
    return timeline([(created, first.get(job, time.time())) for job, created in evidence.created.items()])


def error_rate(output: Path, texts: dict[str, str]) -> float | None:
    """Of all words together; a clip without a transcript is all wrong."""
    wrong, words = 0.0, 0
    for job, text in texts.items():
        try:
            heard = str(json.loads((output / f"{job}.json").read_text(encoding="utf-8"))["text"])
        except (OSError, ValueError, KeyError):
            heard = ""
        wrong += word_error_rate(text, heard) * len(text.split())
        words += len(text.split())
    return round(wrong / words, 4) if words else None


def summary(report: Json, output: Path, *, spoken: bool, peak: int | None) -> int:
    """Print it; 1 if something is not as promised."""
    waits = report["wait_seconds"]
    lines: list[tuple[str, Any]] = [
        ("jobs", f"{report['jobs']}, {report['finished']} finished, {report['failed']} failed"),
        ("lost, twice, killed", f"{report['lost']}, {report['duplicated']}, {report['killed']}"),
        ("replicas", f"0 -> {report['peak_replicas']} -> {report['final_replicas']}"),
        ("wait", f"p50 {waits['p50']} s, p99 {waits['p99']} s"),
        ("word error rate", report["word_error_rate"]),
        ("replica time, cost", f"{report['replica_seconds']} s, {report['cost']}"),
        ("took", f"{report['seconds']} s"),
        ("transcripts", output),
        ("report, plot", f"{BUILD / 'report.json'}, {BUILD / 'replicas.svg'}"),
    ]
    print()
    for name, value in lines:
        if value is not None:
            print(f"  {name:<20}{value}")
    wrong = broken_promises(report, spoken=spoken, peak=peak)
    for one in wrong:
        print(f"demo: {one}", file=sys.stderr)
    return 1 if wrong else 0


def broken_promises(report: Json, *, spoken: bool, peak: int | None) -> list[str]:
    """A sentence for each number that is not as promised.

    The word error rate counts for spoken clips only, whose words are known; peak None promises no number of replicas.
    A few clips may bring a spare replica beyond one for each.
    """
    wrong = [f"{name} is {report[name]}, not 0" for name in NONE_OF if report[name]]
    if report["finished"] != report["jobs"]:
        wrong.append(f"{report['finished']} of {report['jobs']} jobs are finished, not all")
    if report["final_replicas"]:
        wrong.append(f"{report['final_replicas']} replicas are left")
    if peak is not None and report["peak_replicas"] < peak:
        wrong.append(f"the peak was {report['peak_replicas']} replicas, not {peak}")
    if spoken:
        rate = report["word_error_rate"]
        if rate is None:
            wrong.append("there is no word error rate: no words are known, or none were compared")
        elif not rate <= MOST_WORD_ERRORS:
            wrong.append(f"the word error rate is {rate}, more than {MOST_WORD_ERRORS}")
    return wrong
