"""The base class of every part of the configuration, and the spelling hint that messages share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the configuration. It cannot be changed; unknown keys, infinity and not-a-number are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that suggests the known name nearest to a wrong one; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
