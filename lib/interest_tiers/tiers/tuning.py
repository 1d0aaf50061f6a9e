"""What is chosen after the training, on users that it did not see: the calibration, and how probabilities become tiers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.metrics import f1_score

from interest_tiers.config import TIERS
from interest_tiers.tiers.model import Decision

#: A scale and an offset are held to 1 and 0 by as much as so many rows would.
RIDGE_ROWS = 10.0

#: Strengths that a decision may have.
STRENGTHS = np.linspace(0.0, 1.0, 21)


@dataclass(frozen=True)
class Calibration:
    """scores × scale + offset, one of each per tier."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """(rows, 3)."""
        return softmax(scores * np.array(self.scale) + np.array(self.offset), axis=1)


def fitted_calibration(scores: np.ndarray, tiers: np.ndarray, weights: np.ndarray) -> Calibration:
    """Vector scaling (Guo et al., On Calibration of Modern Neural Networks, 2017), by the weighted likelihood.

    scores: (rows, 3). tiers: places in TIERS. weights: of the rows.
    """
    shares = weights / weights.sum()

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scale, offset = parameters[:3], parameters[3:]
        log_p = log_softmax(scores * scale + offset, axis=1)
        error = (np.exp(log_p) - np.eye(len(TIERS))[tiers]) * shares[:, None]
        away = parameters - start
        value = -(shares * log_p[np.arange(len(tiers)), tiers]).sum() + ridge * (away**2).sum()
        return value, np.concatenate([(error * scores).sum(axis=0), error.sum(axis=0)]) + 2 * ridge * away

    start, ridge = np.array([1.0] * 3 + [0.0] * 3), RIDGE_ROWS / (RIDGE_ROWS + len(tiers)) * 0.01
    found = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return Calibration(tuple(map(float, found[:3])), tuple(map(float, found[3:])))


def fitted_decision(probabilities: np.ndarray, tiers: np.ndarray) -> Decision:
    """The strength with the largest macro-F1, the smallest of equals. The prior is how often each tier came true, and once more."""
    counts = np.bincount(tiers, minlength=len(TIERS)) + 1
    prior = tuple(map(float, counts / counts.sum()))
    options = [Decision(prior, float(strength)) for strength in STRENGTHS]  # type: ignore[arg-type]
    return max(options, key=lambda option: (macro_f1(tiers, option.tiers(probabilities)), -option.strength))


def macro_f1(tiers: np.ndarray, said: np.ndarray) -> float:
    """Mean over the tiers of F1."""
    return float(f1_score(tiers, said, labels=range(len(TIERS)), average="macro", zero_division=0))


def objective_j(probabilities: np.ndarray, tiers: np.ndarray, weights: np.ndarray) -> float:
    """J: weighted mean over rows of the sum over tiers of (y - p)²."""
    return float((((np.eye(len(TIERS))[tiers] - probabilities) ** 2).sum(axis=1) * weights).sum() / weights.sum())
