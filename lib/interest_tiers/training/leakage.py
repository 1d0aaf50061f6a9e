"""Refuses a language model that was fine-tuned on days that may not be seen yet."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from interest_tiers.errors import ConfigError

#: The record of a fine-tuned language model. Exports copy it along with the other files of the folder.
ENCODER_RECORD = "fine_tuning.json"


def encoder_cutoff(model_folder: str | Path) -> date | None:
    """Return the day before which all days lie that a language model was fine-tuned on; None where it never was here.

    A model that was fine-tuned twice has seen the days of both times.
    """
    file = Path(model_folder) / ENCODER_RECORD
    if not file.is_file():
        return None
    record = json.loads(file.read_text(encoding="utf-8"))
    # Records of earlier versions have no seen_before.
    return date.fromisoformat(record.get("seen_before", record["as_of"]))


def require_encoder_before(model_folder: str | Path, cutoff: date, what: str) -> None:
    """Raise ConfigError for a language model that saw days from the cutoff on.

    what: the work that may see only days before the cutoff, for the message
    """
    seen = encoder_cutoff(model_folder)
    if seen is not None and seen > cutoff:
        raise ConfigError(
            f"embedding.model ({model_folder}) was fine-tuned on days before {seen}. {what} may see only days before {cutoff}: "
            f"fine-tune with --as-of {cutoff} or earlier, or name another embedding.model"
        )
