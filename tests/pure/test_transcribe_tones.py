"""From a file to its transcript, exactly: a model whose weights are written by hand reads tones (fixtures/tiny_whisper)."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.fixtures import media, tiny_whisper
from tests.fixtures.tiny_whisper import RATE

from pool_contract.jobs import JobError, TranscriptionJob, TranscriptionResult
from pool_worker.media.errors import MediaError
from pool_worker.media.workspace import PREFIX
from pool_worker.transcribe import model as models
from pool_worker.transcribe import pipeline
from pool_worker.transcribe.model import ModelSettings
from pool_worker.transcribe.outputs import OutputError
from pool_worker.transcribe.pipeline import PipelineSettings, transcribe_file
from pool_worker.transcribe.slices import Slice

LONG = {second: (second * 5) % 13 for second in range(0, 95, 3)} | {29: 1, 30: 2, 31: 3, 59: 4, 60: 5}
LONG_SECONDS = 95


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return media.Library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny_whisper.build(tmp_path_factory.mktemp("model") / "tones")
    models.unload()
    yield models.load(ModelSettings(name=str(folder), device="cpu", cpu_threads=1, jobs_at_once=2))
    models.unload()


@pytest.fixture(scope="module")
def long_wav(tmp_path_factory):
    sound = tiny_whisper.tones(LONG, LONG_SECONDS)
    return tiny_whisper.write_wav(tmp_path_factory.mktemp("long") / "long.wav", sound)


def run(
    source: Path, model, folder: Path, job_id="job-1", slice_seconds=300, on_progress=None, **fields
) -> TranscriptionResult:
    settings = PipelineSettings(output=folder / "out", temporary=_made(folder / "tmp"), slice_seconds=slice_seconds)
    job = TranscriptionJob(source=str(source), **({"beam_size": 1} | fields))
    found = transcribe_file(job, job_id, model, settings, on_progress or (lambda _share: None))
    assert list((folder / "tmp").glob(f"{PREFIX}*")) == []
    return found


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def heard(found: TranscriptionResult) -> list[tuple[float, float, str]]:
    return [(one.start, one.end, one.text) for one in found.segments]


def expected(pitches: dict[int, int], slice_starts=(0,)) -> list[tuple[float, float, str]]:
    """The word of a second names its place in its window, which starts anew with each slice."""
    cues = []
    for second, pitch in sorted(pitches.items()):
        place = second - max(start for start in slice_starts if start <= second)
        cues.append((float(second), round(second + 0.98, 3), tiny_whisper.word(place, pitch)))
    return cues


@pytest.mark.parametrize("ending", ["wav", *media.ENCODINGS])
def test_every_codec_is_read_exactly(ending, library, model, tmp_path):
    found = run(library.encoded(ending), model, tmp_path, language="en")
    assert heard(found) == expected(media.SPOKEN)
    assert found.text == " ".join(text for _, _, text in expected(media.SPOKEN))
    assert found.duration_seconds == pytest.approx(media.SECONDS, abs=0.12)
    assert found.warnings == []


@pytest.mark.parametrize(
    ("slice_seconds", "starts"), [(300, (0,)), (60, (0, 47)), (40, (0, 31, 63)), (30, (0, 23, 47, 71))]
)
def test_slices_merge_without_a_seam(slice_seconds, starts, long_wav, model, tmp_path):
    found = run(long_wav, model, tmp_path, slice_seconds=slice_seconds, language="en")
    assert heard(found) == expected(LONG, starts)


def test_the_four_files_say_the_same(library, model, tmp_path):
    found = run(library.wav, model, tmp_path, language="en")
    assert found.files == {
        ending: str(tmp_path / "out" / f"job-1.{ending}") for ending in ("json", "srt", "vtt", "txt")
    }
    assert TranscriptionResult.model_validate_json(Path(found.files["json"]).read_text()) == found
    first, second = expected(media.SPOKEN)[:2]
    assert (
        Path(found.files["srt"])
        .read_text()
        .startswith(
            f"1\n00:00:00,000 --> 00:00:00,980\n{first[2]}\n\n2\n00:00:01,000 --> 00:00:01,980\n{second[2]}\n\n"
        )
    )
    assert Path(found.files["vtt"]).read_text().startswith(f"WEBVTT\n\n00:00:00.000 --> 00:00:00.980\n{first[2]}\n\n")
    assert Path(found.files["txt"]).read_text().splitlines() == [text for _, _, text in expected(media.SPOKEN)]


def test_a_second_run_writes_the_same_bytes(library, model, tmp_path):
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    run(library.encoded("mp3"), model, tmp_path)
    before = contents()
    run(library.encoded("mp3"), model, tmp_path)
    assert contents() == before
    assert set(before) == {"job-1.json", "job-1.srt", "job-1.vtt", "job-1.txt"}


class Recorder:
    """The model, and with which language each slice was decoded."""

    def __init__(self, whisper) -> None:
        self.whisper = whisper
        self.supported_languages = whisper.supported_languages
        self.languages: list[str | None] = []

    def transcribe(self, sound, **options):
        self.languages.append(options["language"])
        return self.whisper.transcribe(sound, **options)


@pytest.mark.parametrize(("pitch", "language"), [(13, "fr"), (14, "de"), (15, "es"), (3, "en")])
def test_the_language_is_detected_once_in_the_first_slice(pitch, language, model, tmp_path):
    source = tiny_whisper.write_wav(tmp_path / "a.wav", tiny_whisper.tones({0: pitch, 20: 14, 33: 2}, 40))
    recorder = Recorder(model.whisper)
    recording = models.Model(name="tones", device="cpu", compute_type="int8", whisper=recorder)
    found = run(source, recording, tmp_path, slice_seconds=20)
    assert recorder.languages == [None, language]
    assert found.language == language
    assert found.language_probability > 0.9
    assert len(found.segments) == 3


def test_what_is_heard_in_the_filling_of_a_short_slice_is_dropped():
    def decoded(start: float, end: float, text: str, words=None) -> SimpleNamespace:
        quality = {"avg_logprob": -0.1, "no_speech_prob": 0.0, "compression_ratio": 1.0}
        return SimpleNamespace(start=start, end=end, text=text, words=words, **quality)

    late_word = SimpleNamespace(start=9.5, end=12.0, word=" long", probability=0.5)
    heard_in_slice = [
        decoded(1.0, 2.0, " one \n two "),
        decoded(9.0, 12.0, " long", [late_word]),
        decoded(10.0, 11.0, " ghost"),
        decoded(3.0, 4.0, "  "),
    ]
    kept = list(pipeline._segments(iter(heard_in_slice), Slice(100 * RATE, 110 * RATE)))
    assert [(one.start, one.end, one.text) for one in kept] == [(101.0, 102.0, "one two"), (109.0, 110.0, "long")]
    assert kept[1].words is not None
    assert (kept[1].words[0].start, kept[1].words[0].end) == (109.5, 110.0)


def test_words_have_times_on_the_clock_of_the_file(long_wav, model, tmp_path):
    found = run(long_wav, model, tmp_path, slice_seconds=40, language="en", word_timestamps=True)
    words = [word for one in found.segments for word in one.words or []]
    assert [word.word for word in words] == [text for _, _, text in expected(LONG, (0, 31, 63))]
    for second, word in zip(sorted(LONG), words, strict=True):
        assert abs(word.end - (second + 0.85)) < 0.7, "the word ends about when its tone does"
        assert word.start < second + 0.85


def test_silence_is_a_result_with_a_warning_and_not_an_error(model, tmp_path):
    source = tiny_whisper.write_wav(tmp_path / "a.wav", tiny_whisper.tones({}, 12))
    found = run(source, model, tmp_path)
    assert (found.text, found.segments, found.warnings) == ("", [], ["no speech was found"])
    one_sample = tiny_whisper.write_wav(tmp_path / "b.wav", tiny_whisper.tones({}, 1)[:1])
    assert run(one_sample, model, tmp_path).segments == []
    assert Path(found.files["vtt"]).read_text() == "WEBVTT\n"


def test_progress_only_grows_and_ends_at_one(long_wav, model, tmp_path):
    shares: list[float] = []
    run(long_wav, model, tmp_path, slice_seconds=30, on_progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert all(0 <= share < 1 for share in shares[:-1])
    assert len(shares) > 20


def test_jobs_at_once_do_not_mix(library, long_wav, model, tmp_path):
    wrong: list[object] = []

    def work(number: int) -> None:
        folder = _made(tmp_path / str(number))
        source, pitches = (library.wav, media.SPOKEN) if number % 2 else (long_wav, LONG)
        for _ in range(2):
            found = run(source, model, folder, job_id=f"job-{number}", language="en")
            if heard(found) != expected(pitches):
                wrong.append(heard(found))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_fails_leaves_no_file_behind(library, model, tmp_path):
    cut = media.cut(library.encoded("mp3"), 0.5, tmp_path)
    with pytest.raises(MediaError, match="could be decoded"):
        run(cut, model, tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_unusable_job_is_refused_before_the_media_is_read(model, tmp_path):
    with pytest.raises(JobError, match=r"language: the model .* does not know 'xx'; it knows "):
        run(tmp_path / "absent.wav", model, tmp_path, language="xx")
    with pytest.raises(OutputError, match="cannot be a file name"):
        run(tmp_path / "absent.wav", model, tmp_path, job_id="a/b")
    with pytest.raises(OutputError, match="is not a folder"):
        run(tmp_path / "absent.wav", model, tmp_path, output="/dev/null/x")


def test_the_json_is_the_documented_shape(library, model, tmp_path):
    found = run(library.wav, model, tmp_path, language="en")
    written = json.loads(Path(found.files["json"]).read_text())
    assert list(written) == [
        *("version", "job", "source", "model", "language", "language_probability", "duration_seconds", "text"),
        *("files", "warnings", "segments"),
    ]
    assert set(written["segments"][0]) == {"start", "end", "text", "avg_logprob", "no_speech_prob", "compression_ratio"}
