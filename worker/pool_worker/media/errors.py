"""What can be wrong with media."""

from __future__ import annotations


class MediaError(Exception):
    """A media file cannot be used, or this machine cannot read any; the text is one sentence with the reason and the fix."""
