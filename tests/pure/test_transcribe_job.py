"""What may be enqueued, and what a model takes in memory."""

from __future__ import annotations

import pytest

from pool_contract.jobs import JobError, TranscriptionJob
from pool_contract.model_memory import MODELS, memory_of


def test_a_job_survives_json():
    job = TranscriptionJob(source="/media/a b.mp3", output="/out", language="en", word_timestamps=True, beam_size=1)
    assert TranscriptionJob.parse(job.model_dump(mode="json")) == job


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (None, "job: must be an object with the fields source, output, "),
        ([], "job: must be an object"),
        ({}, "source: this field is required"),
        ({"source": ""}, "source: should have at least 1 character"),
        ({"source": 7}, "source: should be a valid string (got 7)"),
        ({"source": "a.mp3"}, "source: must be an absolute path that starts with /"),
        ({"source": "http://10.0.0.1/a.mp3"}, "source: must be a path on the worker's disk, not a URL"),
        ({"source": "/a\0b"}, "source: must not contain a NUL character"),
        ({"source": "/" + "x" * 5000}, "source: should have at most 4096 characters"),
        ({"source": "/a", "output": "out"}, "output: must be an absolute path"),
        ({"source": "/a", "language": "English"}, "language: must be a code of two or three small letters"),
        ({"source": "/a", "beam_size": 0}, "beam_size: should be greater than or equal to 1 (got 0)"),
        ({"source": "/a", "beam_size": "5"}, "beam_size: should be a valid integer (got '5')"),
        ({"source": "/a", "word_timestamps": "yes"}, "word_timestamps: should be a valid boolean (got 'yes')"),
        ({"source": "/a", "sauce": 1}, "sauce: no such field in a transcription job; the fields are source, "),
    ],
)
def test_a_wrong_payload_is_one_sentence_that_names_the_field(payload, sentence):
    with pytest.raises(JobError) as caught:
        TranscriptionJob.parse(payload)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("tiny.en", "tiny"),
        ("large", "large-v3"),
        ("large-v3-turbo", "turbo"),
        ("Systran/faster-whisper-large-v3", "large-v3"),
        ("Systran/faster-distil-whisper-large-v3", "distil-large-v3"),
        ("distil-large-v3.5", "distil-large-v3"),
        ("someone/faster-whisper-large-v3-turbo-ct2", "turbo"),
        ("/models/small.en/", "small"),
        ("my-own-model", None),
        ("", None),
    ],
)
def test_memory_is_found_by_name_repository_or_folder(name, row):
    assert memory_of(name) == (MODELS[row] if row else None)


def test_every_model_that_faster_whisper_offers_has_a_row():
    from faster_whisper import available_models

    assert [name for name in available_models() if memory_of(name) is None] == []
