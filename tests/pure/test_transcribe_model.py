"""Loading the model: found by folder or name, once; what is wrong with it is one sentence naming the setting."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading

import pytest
from tests.fixtures import tiny_whisper

from pool_worker.transcribe import model as models
from pool_worker.transcribe.model import ModelError, ModelSettings


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return tiny_whisper.build(tmp_path_factory.mktemp("model") / "tones")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    for name in ("", "S", "_DEVICE", "_COMPUTE_TYPE"):
        monkeypatch.delenv(f"PROCESSINGPOOL_MODEL{name}", raising=False)
    models.unload()
    yield
    models.unload()


@pytest.fixture
def copy(good, tmp_path):
    return shutil.copytree(good, tmp_path / "copy")


def refused(**settings) -> str:
    with pytest.raises(ModelError) as caught:
        models.load(ModelSettings(device="cpu", **settings))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 600
    return sentence


def test_it_is_loaded_once_also_by_many_threads(good):
    settings = ModelSettings(name=str(good), device="cpu", cpu_threads=1)
    found: list[models.Model] = []
    threads = [threading.Thread(target=lambda: found.append(models.load(settings))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({id(model) for model in found}) == 1
    assert models.current() is found[0]
    assert (found[0].device, found[0].compute_type) == ("cpu", "int8")


def test_a_name_is_looked_up_in_the_models_folder(good, monkeypatch):
    monkeypatch.setenv("PROCESSINGPOOL_MODELS", str(good.parent))
    monkeypatch.setenv("PROCESSINGPOOL_MODEL", good.name)
    monkeypatch.setenv("PROCESSINGPOOL_MODEL_DEVICE", "cpu")
    assert models.current().name == "tones"


def test_the_models_folder_follows_the_users_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert models.models_folder() == tmp_path / "processingpool" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(models.models_folder()) == "/home/somebody/.local/share/processingpool/models"


def test_a_missing_folder_is_said_and_nothing_is_downloaded(tmp_path):
    assert refused(name=str(tmp_path / "none")).startswith(f"PROCESSINGPOOL_MODEL: there is no folder {tmp_path}/none")
    assert "there is no folder none" in refused(name="./none")


def test_a_name_that_nobody_knows_is_said(tmp_path):
    sentence = refused(name="tiny.de", models=tmp_path)
    assert sentence.startswith(f"PROCESSINGPOOL_MODEL: there is no model 'tiny.de' in {tmp_path}")
    assert "hack/fetch_model.py" in sentence


def test_a_known_name_that_cannot_be_downloaded_is_said(tmp_path):
    code = (
        "from pool_worker.transcribe import model\ntry: model.current()\nexcept model.ModelError as error: print(error)"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:9"}  # read at import
    ours = {"PROCESSINGPOOL_MODEL": "large-v3", "PROCESSINGPOOL_MODELS": str(tmp_path), "PYTHONPATH": "worker:contract"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | offline | ours, capture_output=True, text=True, check=True
    )
    assert f"the model 'large-v3' is not in {tmp_path} and could not be downloaded" in ended.stdout


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json", "vocabulary.json"])
def test_an_incomplete_folder_names_what_is_missing(name, copy):
    (copy / name).unlink()
    assert f"{name} is missing" in refused(name=str(copy))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.bin", b"not a model"),
        ("model.bin", b""),
        ("model.bin", None),
        ("config.json", b"{"),
        ("tokenizer.json", b"{}"),
        ("vocabulary.json", b"[]"),
    ],
)
def test_a_damaged_model_is_said(name, content, copy):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2] if content is None else content)
    sentence = refused(name=str(copy))
    assert sentence.startswith(f"PROCESSINGPOOL_MODEL: the model in {copy} ")
    assert "damaged" in sentence or "does not run" in sentence


def test_a_config_that_would_crash_the_library_is_found_before_it(copy):
    config = json.loads((copy / "config.json").read_text())
    del config["suppress_ids_begin"]
    (copy / "config.json").write_text(json.dumps(config))
    assert "is damaged or not for faster-whisper (config.json has no suppress_ids_begin)" in refused(name=str(copy))


def test_a_model_that_loads_but_cannot_run_is_found_before_the_first_job(copy):
    features = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(features | {"feature_size": 128}))
    assert "loads but does not run on cpu with int8: Invalid input features shape" in refused(name=str(copy))


def test_a_device_or_number_format_that_is_not_here_is_said(good):
    with pytest.raises(ModelError, match="PROCESSINGPOOL_MODEL_DEVICE: 'tpu' is not one of auto, cpu, cuda"):
        models.load(ModelSettings(name=str(good), device="tpu"))
    sentence = refused(name=str(good), compute_type="int3")
    assert "PROCESSINGPOOL_MODEL_COMPUTE_TYPE: 'int3' does not run on this cpu; it offers" in sentence
    assert "float32" in sentence


def test_no_gpu_is_said(good):
    import ctranslate2

    if ctranslate2.get_cuda_device_count():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match="cuda is set, but this machine shows no NVIDIA GPU; set auto or cpu"):
        models.load(ModelSettings(name=str(good), device="cuda"))
    assert models.load(ModelSettings(name=str(good))).device == "cpu"


def test_a_wrong_number_in_the_environment_is_said(monkeypatch):
    monkeypatch.setenv("PROCESSINGPOOL_CPU_THREADS", "two")
    with pytest.raises(ModelError, match="PROCESSINGPOOL_CPU_THREADS: 'two' is not a whole number"):
        models.current()


def test_a_failed_load_can_be_tried_again(good, tmp_path):
    refused(name=str(tmp_path / "none"))
    assert models.load(ModelSettings(name=str(good), device="cpu")).name == str(good)
