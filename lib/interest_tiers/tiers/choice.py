"""What is decided after the training: calibration and decision on tuning users, network or rule on judging users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.intervals import assign_bucket, divide_sums, estimate
from interest_tiers.tiers import calibration as rule
from interest_tiers.tiers.examples import JUDGING, TRAINING, TUNING, PartSize
from interest_tiers.tiers.model import Decision, load_network, save_network, score_batches
from interest_tiers.tiers.objective import macro_f1, objective_j, squared_error, squared_errors
from interest_tiers.tiers.shapes import RowBatch
from interest_tiers.tiers.tier_training import TierTask
from interest_tiers.tiers.tuning import Calibration, choose_decision, fit_calibration

#: With fewer users in either part of the held-out ones nothing can be chosen, and the rule decides.
FEWEST_USERS = 10

#: Columns of the judging rows besides those of a training: the rule's squared error, and a group of users for the bootstrap.
RULE_ERROR, USER_GROUP = "rule_error", "user_group"

#: Of the bootstrap.
RESAMPLES = 2000

#: Rows that are read at once.
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Comparison:
    """J of the network and of the calibrated rule on the same users, and their difference with its 95 % interval."""

    network_j: float
    rule_j: float
    difference: float
    lower: float | None
    upper: float | None

    @property
    def is_network_better(self) -> bool:
        """Say whether the network has the smaller J on users that did not choose it; the interval says how sure that is."""
        return self.difference < 0

    def __str__(self) -> str:
        interval = "" if self.lower is None or self.upper is None else f" [{self.lower:+.4f}, {self.upper:+.4f}]"
        return f"J {self.network_j:.4f} to {self.rule_j:.4f}, paired difference {self.difference:+.4f}{interval}"


@dataclass(frozen=True)
class Choice:
    """What was chosen, and what it is worth on the users that chose it (tuning) and on others (judging)."""

    calibration: Calibration
    decision: Decision
    comparison: Comparison
    macro_f1: float
    tuning_j: float
    n_tuning: int
    n_judging: int

    @property
    def reason(self) -> str:
        """Why the rule decides; empty where the network does."""
        return "" if self.comparison.is_network_better else f"the network is not better on judging users: {self.comparison}"

    @property
    def metrics(self) -> dict[str, float]:
        """What the record and the table metrics have of it."""
        return {
            "J": self.comparison.network_j,
            "macro_f1": self.macro_f1,
            "J_of_the_calibrated_rule": self.comparison.rule_j,
            "J_minus_calibrated_rule": self.comparison.difference,
            "J_of_tuning_users": self.tuning_j,
        }


def add_rule_error(judging: DataFrame, training: DataFrame) -> DataFrame:
    """Add what a comparison with the rule needs: the rule is calibrated on the users that train.

    judging, training: (user_id, level, rule_tier, label, ...)
    Returns:           judging with rule_error double and user_group bigint
    """
    group = assign_bucket()
    return judging.withColumns({RULE_ERROR: _rule_error(training, "rule_tier"), USER_GROUP: group})


def measure_rule(training: DataFrame, judging: DataFrame, tier: str) -> float:
    """Compute J of a rule on some users, calibrated on others.

    tier:              column of the rule's tiers
    training, judging: (level, tier column, label, ...); judging also weight
    """
    found = judging.agg((F.sum(_rule_error(training, tier) * F.col("weight")) / F.sum("weight")).alias("J")).first()
    assert found is not None  # an aggregate without keys has one row
    return float(found["J"])


def find_lack(parts: Mapping[str, PartSize]) -> str:
    """Say why there is too little to learn from; empty where there is enough."""
    training, tuning, judging = parts[TRAINING], parts[TUNING], parts[JUDGING]
    if training.rows > 0 and min(tuning.users, judging.users) >= FEWEST_USERS:
        return ""
    return (
        f"{training.rows:,} examples, {tuning.users} tuning and {judging.users} judging users; {FEWEST_USERS} held-out users of each needed"
    )


def choose(result: Path, task: TierTask, judging: Path) -> Choice:
    """Calibrate the trained network of a folder, choose its decision, and compare it with the rule; writes the calibration to it.

    judging: folder of rows with rule_error and user_group. All rows are of a bounded sample of users.
    """
    network = load_network(result)
    scores, rows = _score(network, Path(task.tuning))
    calibration = fit_calibration(scores, rows.label)
    probabilities = calibration.probabilities(scores)
    decision = choose_decision(probabilities)
    network.set_calibration(calibration.scale, calibration.offset)
    save_network(result, network, task.shape, task.features)
    judging_scores, judged = _score(network, judging)
    predicted = calibration.probabilities(judging_scores)
    return Choice(
        calibration,
        decision,
        _compare(predicted, judged, judging),
        macro_f1(judged.label, decision.tiers(predicted)),
        objective_j(probabilities, rows.label, rows.weight),
        len(rows),
        len(judged),
    )


def _rule_error(training: DataFrame, tier: str):  # type: ignore[no-untyped-def]
    calibrated = rule.calibrate(training.select("level", F.col(tier).alias("rule_tier"), "label"))
    return squared_error(calibrated.columns(F.col(tier)))


def _score(network, folder: Path) -> tuple[np.ndarray, RowBatch]:  # type: ignore[no-untyped-def]
    from interest_tiers.tiers.training_rows import stored_batches

    scored = [(scores.numpy(), rows) for scores, rows in score_batches(network, stored_batches(folder, BATCH_ROWS))]
    return np.concatenate([scores for scores, _ in scored]).astype(float), RowBatch.join([rows for _, rows in scored])


def _compare(probabilities: np.ndarray, rows: RowBatch, folder: Path) -> Comparison:
    from interest_tiers.tiers.training_rows import stored_columns

    stored = stored_columns(folder, [RULE_ERROR, USER_GROUP])
    errors = squared_errors(probabilities, rows.label)
    return compare_errors(errors, stored[RULE_ERROR], rows.weight.astype(float), stored[USER_GROUP])


def compare_errors(network: np.ndarray, of_rule: np.ndarray, weights: np.ndarray, groups: np.ndarray) -> Comparison:
    """Compare squared errors of the same rows by the paired bootstrap over groups of users. All arrays: (rows,)."""
    _, number = np.unique(groups, return_inverse=True)
    network_j, rule_j = (float((errors * weights).sum() / weights.sum()) for errors in (network, of_rule))
    differences, total = (np.bincount(number, each) for each in ((network - of_rule) * weights, weights))
    difference = estimate([differences, total], divide_sums, RESAMPLES)
    return Comparison(network_j, rule_j, difference.value, difference.lower, difference.upper)
