"""A trained model of tiers: its folder, what it says of pairs, and how a probability becomes a tier.

Needs no Spark but for scored(), and no data of its training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark.sql import DataFrame

from interest_tiers.config import TIERS
from interest_tiers.errors import InterestTiersError
from interest_tiers.spark.worker import once_per_worker, task_resources
from interest_tiers.training.record import write_json

if TYPE_CHECKING:
    import pyarrow as pa

    from interest_tiers.tiers.networks import NetworkShape, TierNetwork
    from interest_tiers.tiers.training_rows import RowBatch

WEIGHTS, MODEL, RECORD, ENCODER = "model.safetensors", "model.json", "training.json", "encoder"

#: Another number where folders hold something else, or networks make something else of the same: models of other forms are trained anew.
FORM = 2

#: Rows that go through the network at once.
BATCH_ROWS = 8192

#: Columns of what a model says.
SAID = "user_id string, interest_id string, tier string, p_core double, p_secondary double, p_marginal double"


@dataclass(frozen=True)
class Decision:
    """The tier is the largest of ln p - strength × ln prior: with 0 the likeliest, with 1 what a tier adds to its frequency."""

    prior: tuple[float, float, float]
    strength: float

    def tiers(self, probabilities: np.ndarray) -> np.ndarray:
        """The place in TIERS for every row, the higher tier on a tie. probabilities: (rows, 3)."""
        scores = np.log(np.maximum(probabilities, 1e-12)) - self.strength * np.log(self.prior)
        return scores.argmax(axis=1)


def save_network(folder: Path, network: TierNetwork, shape: NetworkShape, features: Sequence[str]) -> None:
    """Weights, scaling and calibration as safetensors, and what the network is built of as JSON."""
    from safetensors.torch import save_model

    folder.mkdir(parents=True, exist_ok=True)
    save_model(network, str(folder / WEIGHTS))
    if shape.kind == "bert":
        network.reader.model.config.save_pretrained(folder / ENCODER)
    write_json(folder / MODEL, {"features": list(features), "shape": asdict(shape)})


def load_network(folder: Path) -> TierNetwork:
    """The network of a folder, ready to say something. Raises InterestTiersError for a folder that is no model."""
    from safetensors.torch import load_model

    from interest_tiers.tiers.networks import NetworkShape, TierNetwork

    if not (folder / MODEL).is_file() or not (folder / WEIGHTS).is_file():
        raise InterestTiersError(f"{folder} holds no model of tiers ({MODEL} and {WEIGHTS}): run the stage train_tiers")
    said = json.loads((folder / MODEL).read_text(encoding="utf-8"))
    shape = NetworkShape(**{**said["shape"], "missing": tuple(said["shape"]["missing"])})
    if shape.kind == "bert":
        # The weights are of the training; only the form comes from here.
        shape = NetworkShape(**{**asdict(shape), "encoder": str(folder / ENCODER)})
    network = TierNetwork(shape)
    load_model(network, str(folder / WEIGHTS))
    return network.eval()


def scores_of(network: TierNetwork, batches: Iterable[RowBatch]) -> Iterator[tuple[Any, RowBatch]]:
    """The joined scores (rows, 3) of batches, each with its batch."""
    import torch

    device = next(network.parameters()).device
    with torch.inference_mode():
        for rows in batches:
            inputs = (torch.from_numpy(part).to(device) for part in (rows.features, rows.sequences, rows.tokens))
            yield network.joined(network(*inputs)), rows


def decision_of(folder: Path) -> Decision:
    """How a model's probabilities become tiers."""
    said = read_record(folder)["decision"]
    return Decision(tuple(said["prior"]), said["strength"])


def read_record(folder: Path) -> dict[str, Any]:
    """What a model was made of and what came of it."""
    return json.loads((folder / RECORD).read_text(encoding="utf-8"))


def version_of(folder: Path) -> str:
    """What user_tiers calls the model."""
    record = read_record(folder)
    return f"{record['network']}-{record['as_of']}-{record['made_of'][:12]}"


def scored(rows: DataFrame, folder: str) -> DataFrame:
    """What a model says of pairs: user_id, interest_id, tier, p_core, p_secondary, p_marginal.

    rows: user_id, interest_id, features as the model reads them, and what its kind of network reads beside them (sequence, tokens).
    folder: of the model, seen by every machine.
    """

    def say(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = _scorer(folder, *task_resources())
        for batch in batches:
            if batch.num_rows:
                yield scorer.said(batch)

    return rows.mapInArrow(say, SAID)


@once_per_worker
def _scorer(folder: str, device: str, threads: int) -> _Scorer:
    return _Scorer(Path(folder), device, threads)


class _Scorer:
    def __init__(self, folder: Path, device: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._network = load_network(folder).to(device)
        self._decision = decision_of(folder)

    def said(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        import pyarrow

        probabilities = np.concatenate([self._probabilities(batch.slice(start, BATCH_ROWS)) for start in range(0, len(batch), BATCH_ROWS)])
        tiers = pyarrow.array(np.array(TIERS, dtype=object)).take(pyarrow.array(self._decision.tiers(probabilities)))
        columns = [batch.column("user_id"), batch.column("interest_id"), tiers, *map(pyarrow.array, probabilities.T.copy())]
        return pyarrow.RecordBatch.from_arrays(columns, ["user_id", "interest_id", "tier", *(f"p_{tier}" for tier in TIERS)])

    def _probabilities(self, batch: pa.RecordBatch) -> np.ndarray:
        from interest_tiers.tiers.training_rows import arrow_batch

        ((scores, _),) = scores_of(self._network, [arrow_batch(batch)])
        probabilities = self._network.probabilities(scores).double().cpu().numpy()
        return probabilities / probabilities.sum(axis=1, keepdims=True)
