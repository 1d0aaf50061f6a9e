"""The training of a network of tiers as a task of the loop: its rows and its losses. See training.loop.Task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interest_tiers.config import TIERS, TierTraining
from interest_tiers.tiers.shapes import NetworkShape, RowBatch, Scaling

if TYPE_CHECKING:
    from interest_tiers.tiers.training_rows import TrainingRows
    from interest_tiers.training.loop import Objective


#: The gradient of a smaller batch is mostly noise.
SMALLEST_BATCH = 8


def largest_batch(settings: TierTraining, n_examples: int) -> int:
    """Compute the batch size with which an epoch has min_epoch_steps steps: SMALLEST_BATCH at least, a multiple of the processes."""
    wanted = max(SMALLEST_BATCH, n_examples // settings.min_epoch_steps)
    return max(1, wanted // settings.num_processes) * settings.num_processes


def limit_batch(settings: TierTraining, n_examples: int) -> TierTraining:
    """Return the settings with batches of largest_batch at most."""
    return settings.model_copy(update={"batch_size": min(settings.batch_size, largest_batch(settings, n_examples))})


@dataclass(frozen=True)
class TierTask:
    """A network of tiers and its rows.

    features: names in the order of the network's input. training, tuning: folders of rows; the latter choose the epoch.
    """

    settings: TierTraining
    shape: NetworkShape
    features: tuple[str, ...]
    scaling: Scaling
    training: str
    tuning: str

    def objective(self, device: str) -> Objective:
        return _Objective(self, device)

    def training_rows(self, rank: int, processes: int, epoch_steps: int) -> TrainingRows:
        from interest_tiers.tiers.training_rows import TrainingRows

        rows_per_process = self.settings.batch_size // processes
        return TrainingRows(self.training, rows_per_process, self.settings.seed, rank, processes, epoch_steps)

    def validation_rows(self, rank: int, processes: int) -> StoredRows:
        return StoredRows(self.tuning, self.settings.batch_size, rank, processes)


@dataclass(frozen=True)
class StoredRows:
    """Rows that are read from disk in every iteration; see training_rows.stored_batches."""

    folder: str
    batch_rows: int
    rank: int
    processes: int

    def __iter__(self) -> Any:
        from interest_tiers.tiers.training_rows import stored_batches

        return stored_batches(self.folder, self.batch_rows, self.rank, self.processes)


class _Objective:
    """Trains by the configured loss, and validates by J."""

    has_dropout = True
    has_unused_parameters = False

    def __init__(self, task: TierTask, device: str) -> None:
        import torch

        from interest_tiers.tiers.losses import LOSSES
        from interest_tiers.tiers.networks import TierNetwork

        self._task, self._device = task, device
        self._loss = LOSSES[task.settings.loss]
        self._tier_weights = torch.tensor(_weights(task.settings.tier_weights), device=device)
        self.model = TierNetwork(task.shape)
        self.model.set_scaling(task.scaling)
        self.model = self.model.to(device)
        self.network: Any = self.model
        # A language model has parameters that the mean output does not depend on.
        self.has_unused_parameters = task.shape.kind == "bert"

    def training_loss(self, network: Any, rows: RowBatch) -> tuple[Any, float]:
        import torch
        import torch.distributed as dist

        scores, tier, weight = self._scores(network, rows)
        members = scores.shape[1]
        of_members = self._loss(scores.flatten(0, 1), tier.repeat_interleave(members), self._tier_weights)
        loss = (of_members * weight.repeat_interleave(members)).mean()
        # Every process has the same number of rows: the mean of their means is that of the batch.
        whole = loss.detach().clone()
        if dist.is_initialized():
            dist.all_reduce(whole)
            whole /= dist.get_world_size()
        if not torch.isfinite(whole):
            raise FloatingPointError("the loss is not a number: lower tiers.training.learning_rate")
        return loss, whole.item()

    def validation_loss(self, network: Any, rows: RowBatch) -> tuple[float, float]:
        import torch

        from interest_tiers.tiers.losses import brier

        scores, tier, weight = self._scores(network, rows)
        return (brier(self.model.average(scores), tier, torch.ones_like(self._tier_weights)) * weight).sum().item(), weight.sum().item()

    def save(self, path: Path) -> None:
        from interest_tiers.tiers.model import save_network

        save_network(path, self.model, self._task.shape, self._task.features)

    def _scores(self, network: Any, rows: RowBatch) -> tuple[Any, Any, Any]:
        import torch

        inputs = (torch.from_numpy(part).to(self._device) for part in (rows.features, rows.sequences, rows.tokens))
        return network(*inputs).float(), *(torch.from_numpy(part).to(self._device) for part in (rows.label, rows.weight))


def build_shape(network: str, settings: TierTraining, n_features: int, scaling: Scaling, encoder: str | None) -> NetworkShape:
    """Describe the configured network. encoder: folder of the language model, for bert."""
    has_sequence = network in ("lstm", "transformer")
    return NetworkShape(
        kind=network, n_features=n_features, missing=scaling.missing, width=settings.width, layers=settings.layers,
        dropout=settings.dropout, members=settings.members, sequence_length=settings.sequence_length if has_sequence else 0,
        encoder=encoder if network == "bert" else None,
    )  # fmt: skip


def _weights(given: Mapping[Any, float]) -> list[float]:
    return [float(given.get(tier, 1.0)) for tier in TIERS]
