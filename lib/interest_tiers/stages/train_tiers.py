"""train_tiers (temporary)."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ServingModel:
    folder: Path | None
    reason: str
    attributes: tuple = ()


def find_model(context, inputs, as_of):
    return ServingModel(None, "as tiers.network asks for")


def train_model(context, inputs_at, day):
    raise NotImplementedError


def train_for_test(context, inputs_at, day):
    return None


def preflight_training(context):
    return []


def preflight(context, search=None):
    return []


def run(context, search=None):
    from interest_tiers.stages.results import StageResult

    return StageResult(0, 0, "tiers.network is rule: nothing to train")
