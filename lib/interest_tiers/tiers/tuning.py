"""Calibration of a trained network, and the decision from probabilities to tiers, on users that did not train it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from interest_tiers.config import TIERS
from interest_tiers.tiers.model import Decision
from interest_tiers.tiers.objective import mean_f1

#: The ridge that pulls scale and offsets to 1 and 0 weighs as much as so many rows.
RIDGE_ROWS = 10.0

#: Strengths among which a decision is chosen.
STRENGTHS = np.linspace(0.0, 1.0, 21)


@dataclass(frozen=True)
class Calibration:
    """scores × scale + offset: one scale, and an offset per tier."""

    scale: float
    offset: tuple[float, ...]

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Compute calibrated probabilities, (rows, 3)."""
        return softmax(scores * self.scale + np.array(self.offset), axis=1)


def fit_calibration(scores: np.ndarray, tiers: np.ndarray) -> Calibration:
    """Maximise the likelihood: bias-corrected temperature scaling.

    Source: Alexandari et al., Maximum Likelihood with Bias-Corrected Calibration, 2020.
    scores: (rows, 3). tiers: positions in TIERS.
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


def choose_decision(probabilities: np.ndarray) -> Decision:
    """Choose the strength with the largest expected macro-F1, the smallest of equals. The prior is the mean probability.

    We maximise expected F1: with few held-out users the observed F1 is mostly noise.
    probabilities: calibrated, (rows, 3).
    """
    prior = tuple(map(float, probabilities.mean(axis=0)))
    options = [Decision(prior, float(strength)) for strength in STRENGTHS]  # type: ignore[arg-type]
    return max(options, key=lambda option: (expected_macro_f1(probabilities, option.tiers(probabilities)), -option.strength))


def expected_macro_f1(probabilities: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the mean F1 over tiers with expected numbers of hits and of true pairs (Ye et al., Optimizing F-measures, 2012).

    probabilities: (rows, 3), taken to be right. predicted: positions in TIERS.
    """
    hits = np.array([probabilities[predicted == tier, tier].sum() for tier in range(len(TIERS))])
    n_predicted = np.bincount(predicted, minlength=len(TIERS))
    return float(mean_f1(hits, n_predicted + probabilities.sum(axis=0)))
