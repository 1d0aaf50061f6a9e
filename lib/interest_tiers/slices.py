"""The text in the column slice of the table metrics: what a value was measured on. Written and parsed here only."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date
from typing import Any

#: Types of the keys that are no plain text.
_PARSERS: dict[str, Any] = {"k": int, "bin": int, "since": date.fromisoformat}


@dataclass(frozen=True)
class Slice:
    """The cases of a metric, as ``key=value`` pairs in the order of the fields.

    With ``minus``, the metric is the difference between ``model`` and ``minus`` on the same users: positive where ``model`` has more.
    No value may contain a comma or an equals sign.
    """

    name: str | None = None  # without a key: all, tiers
    users: str | None = None
    items: str | None = None
    level: str | None = None  # of a hierarchy
    k: int | None = None  # number of clusters
    since: date | None = None  # the earlier day that drift is measured from
    of: str | None = None  # the column that drift is measured on
    bin: int | None = None  # of a probability, from 0
    model: str | None = None
    minus: str | None = None  # the reference model
    others: tuple[tuple[str, str], ...] = ()  # keys that this version does not know

    def __str__(self) -> str:
        known = [(key.name, getattr(self, key.name)) for key in fields(self) if key.name not in ("name", "others")]
        pairs = [*((key, value) for key, value in known if value is not None), *self.others]
        return ",".join([*([] if self.name is None else [self.name]), *(f"{key}={value}" for key, value in pairs)])

    @classmethod
    def parse(cls, text: str) -> Slice:
        """Read a slice. Raises ValueError where k or bin is no number or since no day."""
        known: dict[str, Any] = {}
        others = []
        for part in text.split(","):
            key, is_pair, value = (piece.strip() for piece in part.partition("="))
            if not is_pair:
                known |= {"name": key} if key else {}
            elif key in _KEYS:
                known[key] = _PARSERS.get(key, str)(value)
            else:
                others.append((key, value))
        return cls(**known, others=tuple(others))


_KEYS = {key.name for key in fields(Slice)} - {"name", "others"}
