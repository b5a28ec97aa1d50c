"""What can be wrong with media."""

from __future__ import annotations


class MediaError(Exception):
    """A media file cannot be used; the text is one sentence with the reason and the fix. Another try would not help."""


class MachineError(MediaError):
    """This machine cannot read any media just now: later, or on another one, the same file may be fine."""
