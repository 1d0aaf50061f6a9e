"""A trained model of tiers: its folder, its predictions, and how probabilities become a tier."""

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
from interest_tiers.tiers.shapes import NetworkShape, RowBatch
from interest_tiers.training.record import write_json

if TYPE_CHECKING:
    import pyarrow as pa

    from interest_tiers.tiers.networks import TierNetwork

WEIGHTS, MODEL, RECORD, ENCODER = "model.safetensors", "model.json", "training.json", "encoder"

#: Model format version. Bump it when the files, the forward pass or the value of a feature change; older models are retrained.
FORM = 3

#: Rows of a forward pass.
BATCH_ROWS = 8192

PREDICTED = "user_id string, interest_id string, tier string, p_core double, p_secondary double, p_marginal double"


@dataclass(frozen=True)
class Decision:
    """How probabilities become a tier: the largest of ln p - strength × ln prior. Strength 0 takes the most likely tier."""

    prior: tuple[float, float, float]
    strength: float

    def tiers(self, probabilities: np.ndarray) -> np.ndarray:
        """Decide on a position in TIERS for every row, the higher tier on a tie. probabilities: (rows, 3)."""
        scores = np.log(np.maximum(probabilities, 1e-12)) - self.strength * np.log(self.prior)
        return scores.argmax(axis=1)


def save_network(folder: Path, network: TierNetwork, shape: NetworkShape, features: Sequence[str]) -> None:
    """Write weights, scaling and calibration as safetensors, and the shape of the network as JSON."""
    from safetensors.torch import save_model

    folder.mkdir(parents=True, exist_ok=True)
    save_model(network, str(folder / WEIGHTS))
    if shape.kind == "bert":
        network.reader.model.config.save_pretrained(folder / ENCODER)
    write_json(folder / MODEL, {"features": list(features), "shape": asdict(shape)})


def load_network(folder: Path) -> TierNetwork:
    """Load the network of a folder for predictions. Raises InterestTiersError for a folder that is no model."""
    from safetensors.torch import load_model

    from interest_tiers.tiers.networks import TierNetwork

    if not (folder / MODEL).is_file() or not (folder / WEIGHTS).is_file():
        raise InterestTiersError(f"{folder} holds no model of tiers ({MODEL} and {WEIGHTS}): run the stage train_tiers")
    stored = json.loads((folder / MODEL).read_text(encoding="utf-8"))["shape"]
    shape = NetworkShape(**{**stored, "missing": tuple(stored["missing"])})
    if shape.kind == "bert":
        # This folder has the config of the language model; its weights are in WEIGHTS with the others.
        shape = NetworkShape(**{**asdict(shape), "encoder": str(folder / ENCODER)})
    network = TierNetwork(shape)
    load_model(network, str(folder / WEIGHTS))
    return network.eval()


def score_batches(network: TierNetwork, batches: Iterable[RowBatch]) -> Iterator[tuple[Any, RowBatch]]:
    """Compute the members' average scores (rows, 3) of batches; yields them with their batch."""
    import torch

    device = next(network.parameters()).device
    with torch.inference_mode():
        for rows in batches:
            inputs = (torch.from_numpy(part).to(device) for part in (rows.features, rows.sequences, rows.tokens))
            yield network.average(network(*inputs)), rows


def read_decision(folder: Path) -> Decision:
    """Read how a model's probabilities become tiers."""
    decision = read_record(folder)["decision"]
    return Decision(tuple(decision["prior"]), decision["strength"])


def read_record(folder: Path) -> dict[str, Any]:
    """Read what a model was trained on, how, and how good it is."""
    return json.loads((folder / RECORD).read_text(encoding="utf-8"))


def introduce(record: dict[str, Any]) -> str:
    """Write the first paragraph of a model card. record: see read_record."""
    return (
        "Predicts how likely an interest of a user is to be core, secondary or marginal over the coming horizon, for the stage "
        f"assign_tiers. Trained as of {record['as_of']} with version {record['code_version']} of interest-tiers (run {record['run_id']}) "
        "on days before that day alone."
    )


def version_of(folder: Path) -> str:
    """Name the model as user_tiers does."""
    record = read_record(folder)
    return f"{record['network']}-{record['as_of']}-{record['fingerprint'][:12]}"


def predict_pairs(rows: DataFrame, folder: str) -> DataFrame:
    """Predict the tiers of pairs.

    rows:    (user_id, interest_id, features array<float>), and sequence or tokens where the network reads them
    folder:  of the model, on a path that every machine shares
    Returns: (user_id, interest_id, tier, p_core, p_secondary, p_marginal)
    """
    # Part of the workers' cache key: a path alone does not tell one model from another that was put there later.
    fingerprint = read_record(Path(folder))["fingerprint"]

    def predict(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        predictor = _predictor(folder, fingerprint, *task_resources())
        for batch in batches:
            if batch.num_rows:
                yield predictor.predict(batch)

    return rows.mapInArrow(predict, PREDICTED)


@once_per_worker
def _predictor(folder: str, fingerprint: str, device: str, threads: int) -> _Predictor:
    return _Predictor(Path(folder), device, threads)


class _Predictor:
    def __init__(self, folder: Path, device: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._network = load_network(folder).to(device)
        self._decision = read_decision(folder)

    def predict(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        import pyarrow

        probabilities = np.concatenate([self._probabilities(batch.slice(start, BATCH_ROWS)) for start in range(0, len(batch), BATCH_ROWS)])
        tiers = pyarrow.array(np.array(TIERS, dtype=object)).take(pyarrow.array(self._decision.tiers(probabilities)))
        columns = [batch.column("user_id"), batch.column("interest_id"), tiers, *map(pyarrow.array, probabilities.T.copy())]
        return pyarrow.RecordBatch.from_arrays(columns, ["user_id", "interest_id", "tier", *(f"p_{tier}" for tier in TIERS)])

    def _probabilities(self, batch: pa.RecordBatch) -> np.ndarray:
        from interest_tiers.tiers.training_rows import arrow_batch

        ((scores, _),) = score_batches(self._network, [arrow_batch(batch)])
        probabilities = self._network.probabilities(scores).double().cpu().numpy()
        return probabilities / probabilities.sum(axis=1, keepdims=True)
