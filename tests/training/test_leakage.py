"""A language model that saw days from a cutoff on is refused."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from interest_tiers.errors import ConfigError
from interest_tiers.training.leakage import encoder_cutoff, require_encoder_before

CUTOFF = date(2024, 6, 1)


def test_a_model_fine_tuned_before_the_cutoff_is_taken_and_one_of_a_later_day_refused(tmp_path: Path) -> None:
    require_encoder_before(tmp_path, CUTOFF, "The back-test")  # never fine-tuned here
    record = tmp_path / "fine_tuning.json"
    record.write_text(json.dumps({"as_of": "2024-06-01"}))
    require_encoder_before(tmp_path, CUTOFF, "The back-test")
    record.write_text(json.dumps({"as_of": "2024-06-02"}))
    with pytest.raises(ConfigError) as raised:
        require_encoder_before(tmp_path, CUTOFF, "The back-test")
    assert str(raised.value) == (
        f"embedding.model ({tmp_path}) was fine-tuned on days before 2024-06-02. The back-test may see only days before 2024-06-01: "
        "fine-tune with --as-of 2024-06-01 or earlier, or name another embedding.model"
    )


def test_a_base_that_saw_later_days_counts(tmp_path: Path) -> None:
    (tmp_path / "fine_tuning.json").write_text(json.dumps({"as_of": "2024-05-01", "seen_before": "2024-07-01"}))
    assert encoder_cutoff(tmp_path) == date(2024, 7, 1)
    with pytest.raises(ConfigError, match="on days before 2024-07-01"):
        require_encoder_before(tmp_path, CUTOFF, "The training")
