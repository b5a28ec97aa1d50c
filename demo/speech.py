"""Speak sentences with known words into WAV files, and say how well a transcript matches them.

The demo and the tests need real speech of any number and length with its text known, on a machine without a network.
espeak-ng makes it: the library inside the wheel `espeakng-loader`, else the program `espeak-ng` on PATH.

    python -m demo.speech FOLDER [COUNT]      writes clip-001.wav ... and manifest.json {file name: text}
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable
from pathlib import Path

VOICE = "en-us"
WORDS_PER_MINUTE = 140
MANIFEST = "manifest.json"

Speaker = Callable[[str, Path], None]


class SpeechError(Exception):
    """Speech cannot be made; the text is one sentence with the fix."""


def make_clips(folder: Path, count: int = 100) -> dict[str, str]:
    """Speak `count` clips of three to five seconds into `folder`; the same count gives the same texts.

    Returns:
        The manifest: file name -> text. It is also written to manifest.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {f"clip-{number:03d}.wav": sentence(number) for number in range(1, count + 1)}
    say = speaker()
    for name, text in manifest.items():
        say(text, folder / name)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


WHO = (
    "My brother",
    "The teacher",
    "Our neighbor",
    "The young doctor",
    "The old farmer",
    "My sister",
    "The new manager",
    "Your best friend",
    "The driver",
    "The captain",
)
DID = (
    "opened the window",
    "bought some flowers",
    "answered the telephone",
    "cleaned the kitchen",
    "found the missing key",
    "sang a beautiful song",
    "moved the kitchen table",
    "fixed the broken car",
    "closed the office",
    "finished the newspaper",
)
WHEN = (
    "before the storm arrived",
    "after the meeting was over",
    "because the weather was cold",
    "while the children were sleeping",
    "when the train was late",
    "before breakfast on Monday",
    "after a long day",
    "because nobody else was there",
    "while we were outside",
    "at the end of the summer",
)


def sentence(number: int) -> str:
    """The text of clip `number`: plain words that a small model knows, each combination once in a thousand."""
    who = number % len(WHO)
    did = (number // len(WHO) + number) % len(DID)
    when = (number // (len(WHO) * len(DID)) + number // len(WHO) + 3 * number) % len(WHEN)
    return f"{WHO[who]} {DID[did]} {WHEN[when]}."


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Words inserted, deleted or replaced, per word of the reference; case and punctuation do not count."""
    wanted, heard = _words(reference), _words(hypothesis)
    if not wanted:
        return float(len(heard) > 0)
    row = list(range(len(heard) + 1))
    for done, word in enumerate(wanted, start=1):
        diagonal, row[0] = row[0], done
        for place, other in enumerate(heard, start=1):
            best = min(row[place] + 1, row[place - 1] + 1, diagonal + (word != other))
            diagonal, row[place] = row[place], best
    return row[-1] / len(wanted)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower().replace("’", "'"))


def speaker() -> Speaker:
    """What speaks on this machine."""
    try:
        return _library_speaker()
    except (ImportError, OSError, SpeechError):
        if (program := shutil.which("espeak-ng")) is not None:
            return functools.partial(_speak_by_program, program)
    raise SpeechError("no speech synthesis here: pip install espeakng-loader, or apt install espeak-ng")


def _speak_by_program(program: str, text: str, path: Path) -> None:
    command = [program, "-v", VOICE, "-s", str(WORDS_PER_MINUTE), "-w", str(path), "--stdin"]
    subprocess.run(command, input=text, text=True, check=True)


# espeak-ng's speak_lib.h
_SYNCHRONOUS = 2
_UTF8 = 1
_END_PAUSE = 0x1000
_RATE = 1
_LONGEST_DATA_PATH = 150
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def _library_speaker() -> Speaker:
    """Speak by the library; it is one per process, not for threads, and must find its data again at each voice."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, _short(espeakng_loader.get_data_path()).encode(), 0)
    if rate <= 0 or library.espeak_SetVoiceByName(VOICE.encode()) != 0:
        raise SpeechError("the library of espeakng-loader does not start")
    library.espeak_SetParameter(_RATE, WORDS_PER_MINUTE, 0)

    def say(text: str, path: Path) -> None:
        heard = bytearray()

        @_CALLBACK
        def collect(samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int) -> int:
            if samples and count > 0:
                heard.extend(ctypes.string_at(samples, 2 * count))
            return 0

        library.espeak_SetSynthCallback(collect)
        content = text.encode() + b"\0"
        library.espeak_Synth(content, len(content), 0, 1, 0, _UTF8 | _END_PAUSE, None, None)
        library.espeak_Synchronize()
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(bytes(heard))

    return say


def _short(path: str) -> str:
    """A path that fits the library's 160 bytes: a link, until this process ends, to one that is longer."""
    if len(path.encode()) < _LONGEST_DATA_PATH:
        return path
    folder = tempfile.mkdtemp(prefix="pp-speech-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    link = Path(folder) / "data"
    link.symlink_to(path)
    return str(link)


if __name__ == "__main__":
    try:
        make_clips(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100)
    except SpeechError as error:
        sys.exit(f"demo.speech: {error}")
