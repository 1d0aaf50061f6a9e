"""What is chosen after the training, on users that it did not see: the calibration, and how probabilities become tiers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from interest_tiers.config import TIERS
from interest_tiers.tiers.model import Decision
from interest_tiers.tiers.objective import mean_f1

#: The scale and the offsets are held to 1 and 0 by as much as so many rows would.
RIDGE_ROWS = 10.0

#: Strengths that a decision may have.
STRENGTHS = np.linspace(0.0, 1.0, 21)


@dataclass(frozen=True)
class Calibration:
    """scores × scale + offset: one scale, and an offset per tier."""

    scale: float
    offset: tuple[float, ...]

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """(rows, 3)."""
        return softmax(scores * self.scale + np.array(self.offset), axis=1)


def fitted_calibration(scores: np.ndarray, tiers: np.ndarray) -> Calibration:
    """By the likelihood, bias-corrected temperature scaling (Alexandari et al., Maximum Likelihood with Bias-Corrected Calibration, 2020).

    scores: (rows, 3). tiers: places in TIERS.
    """

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = log_softmax(scores * parameters[0] + parameters[1:], axis=1)
        error = (np.exp(log_p) - np.eye(len(TIERS))[tiers]) / len(tiers)
        away = parameters - start
        value = -log_p[np.arange(len(tiers)), tiers].mean() + ridge * (away**2).sum()
        return value, np.array([(error * scores).sum(), *error.sum(axis=0)]) + 2 * ridge * away

    start, ridge = np.array([1.0, 0.0, 0.0, 0.0]), RIDGE_ROWS / (RIDGE_ROWS + len(tiers)) * 0.01
    scale, *offset = map(float, minimize(loss, start, jac=True, method="L-BFGS-B").x)
    return Calibration(scale, tuple(offset))


def fitted_decision(probabilities: np.ndarray) -> Decision:
    """The strength with the largest macro-F1 to be expected, the smallest of equals. The prior is the mean of the probabilities.

    What came true has no part in it but through the calibration: of few users, it says more about them than about a strength.
    probabilities: calibrated, (rows, 3).
    """
    prior = tuple(map(float, probabilities.mean(axis=0)))
    options = [Decision(prior, float(strength)) for strength in STRENGTHS]  # type: ignore[arg-type]
    return max(options, key=lambda option: (expected_macro_f1(probabilities, option.tiers(probabilities)), -option.strength))


def expected_macro_f1(probabilities: np.ndarray, said: np.ndarray) -> float:
    """Mean over the tiers of F1 with the expected numbers of hits and of true pairs (Ye et al., Optimizing F-measures, 2012).

    probabilities: (rows, 3), taken to be right. said: places in TIERS.
    """
    hits = np.array([probabilities[said == place, place].sum() for place in range(len(TIERS))])
    n_said = np.bincount(said, minlength=len(TIERS))
    return float(mean_f1(hits, n_said + probabilities.sum(axis=0)))
