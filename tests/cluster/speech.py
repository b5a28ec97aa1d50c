"""Real speech with known words: clips that espeak-ng speaks, and Debian's five clips of LibriVox readers."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from demo.speech import make_clips

LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")


def clips(folder: Path, *, spoken: int) -> dict[str, str]:
    """Write the clips into `folder`: file name -> the words in it."""
    texts = make_clips(folder, spoken)
    for line in (LIBRIVOX / "transcription").read_text(encoding="utf-8").splitlines():
        found = re.fullmatch(r"<s> (.*) </s> \((\S+)\)", line.strip())
        assert found is not None, f"a line of another form in the transcript of {LIBRIVOX}: {line!r}"
        text, name = found.groups()
        shutil.copy(LIBRIVOX / f"{name}.wav", folder / f"{name}.wav")
        texts[f"{name}.wav"] = text
    return texts
