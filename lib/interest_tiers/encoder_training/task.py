"""Fine-tuning of a language model as a training.loop.Task: its rows and its losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from interest_tiers.config import FineTuning
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.encoder_training.training_rows import Batches, shards_in, validation_batches

if TYPE_CHECKING:
    import pyarrow as pa

    from interest_tiers.training.loop import Objective


@dataclass(frozen=True)
class LanguageTraining:
    """A language model and its rows.

    start: base model, a folder or package. training, validation: folders of Parquet.
    """

    settings: FineTuning
    start: str
    training: str
    validation: str

    def objective(self, device: str) -> Objective:
        from interest_tiers.encoder_training.objectives import objective_of

        return objective_of(self.settings, read_model_folder(self.start), device)

    def training_rows(self, rank: int, processes: int, epoch_steps: int) -> Batches:
        return Batches(shards_in(self.training), self.settings.batch_size, self.settings.seed, rank, processes)

    def validation_rows(self, rank: int, processes: int) -> list[pa.Table]:
        return validation_batches(self.validation, self.settings.batch_size, rank, processes)
