"""J, macro-F1 and recalls of tiers, against numpy and scikit-learn on the raw pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.stats import binned_statistic
from sklearn.metrics import f1_score, recall_score

from interest_tiers.config import TIERS
from interest_tiers.evaluation.tier_quality import PROBABILITIES, macro_f1_of_cells, measure_tiers
from interest_tiers.intervals import Estimate
from interest_tiers.slices import Slice
from interest_tiers.tiers.baselines import predictions
from interest_tiers.tiers.calibration import Calibration

CALIBRATION = Calibration(
    probabilities={
        "core": {"core": 0.5, "secondary": 0.25, "marginal": 0.25},
        "secondary": {"core": 0.4, "secondary": 0.4, "marginal": 0.2},  # a tie: the higher tier
        "marginal": {"core": 0.1, "secondary": 0.45, "marginal": 0.45},  # a tie as well
    },
    prior={"core": 0.2, "secondary": 0.3, "marginal": 0.5},
    n_pairs=100,
)


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    """300 users with one to six interests each, the rule right more often than not."""
    random = np.random.default_rng(8)
    users = np.repeat([f"u{i:03}" for i in range(300)], random.integers(1, 7, size=300))
    labels = random.choice(TIERS, size=len(users), p=(0.2, 0.3, 0.5))
    rule = np.where(random.random(len(users)) < 0.4, labels, random.choice(TIERS, size=len(users)))
    return pd.DataFrame({"user_id": users, "rule_tier": rule, "label": labels})


@pytest.fixture(scope="module")
def predicted(spark: SparkSession, pairs: pd.DataFrame) -> DataFrame:
    rows = spark.createDataFrame(list(pairs.itertuples(index=False, name=None)), ["user_id", "rule_tier", "label"])
    return predictions(rows.withColumn("level", F.lit(1)), CALIBRATION).cache()


@pytest.fixture(scope="module")
def measured(predicted: DataFrame) -> dict[Slice, dict[str, Estimate]]:
    return measure_tiers(predicted, samples=200, reference="rule")


@pytest.fixture(scope="module")
def quality(measured: dict[Slice, dict[str, Estimate]]) -> dict[str, dict[str, Estimate]]:
    """The models by themselves."""
    return {
        where.model: metrics for where, metrics in measured.items() if where.model is not None and where.minus is None and where.bin is None
    }


def said_by(model: str, rule_tier: pd.Series) -> tuple[list[str], np.ndarray]:
    """Tiers and probabilities that a model says of each pair."""
    calibrated = np.array([[CALIBRATION.probabilities[rule][tier] for tier in TIERS] for rule in rule_tier])
    if model == "rule":
        return list(rule_tier), np.array([[float(rule == tier) for tier in TIERS] for rule in rule_tier])
    if model == "rule_calibrated":
        return list(rule_tier), calibrated
    if model == "rule_calibrated_argmax":
        return [{"core": "core", "secondary": "core", "marginal": "secondary"}[rule] for rule in rule_tier], calibrated
    return ["marginal"] * len(rule_tier), np.tile([CALIBRATION.prior[tier] for tier in TIERS], (len(rule_tier), 1))


MODELS = ("rule", "rule_calibrated", "rule_calibrated_argmax", "class_prior")


@pytest.mark.parametrize("model", MODELS)
def test_predictions(predicted: DataFrame, pairs: pd.DataFrame, model: str) -> None:
    """Pairs have no key here, so they are compared as sorted rows."""
    tiers, probabilities = said_by(model, pairs["rule_tier"])
    rows = predicted.where(predicted["model"] == model).select("user_id", "label", "tier", *PROBABILITIES).collect()
    expected = zip(pairs["user_id"], pairs["label"], tiers, *probabilities.T, strict=True)
    assert sorted(map(tuple, rows)) == sorted(expected)
    assert {round(sum(row[p] for p in PROBABILITIES), 12) for row in rows} == {1.0}


@pytest.mark.parametrize("model", MODELS)
def test_j_is_the_mean_over_users_of_the_mean_over_their_interests(
    quality: dict[str, dict[str, Estimate]], pairs: pd.DataFrame, model: str
) -> None:
    _, probabilities = said_by(model, pairs["rule_tier"])
    outcomes = np.array([[float(label == tier) for tier in TIERS] for label in pairs["label"]])
    errors = ((outcomes - probabilities) ** 2).sum(axis=1)
    of_users = [errors[(pairs["user_id"] == user).to_numpy()].mean() for user in pairs["user_id"].unique()]
    found = quality[model]["J"]
    assert found.value == pytest.approx(np.mean(of_users), abs=1e-12)
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < found.value < found.upper
    width = 2 * 1.96 * np.std(of_users) / np.sqrt(len(of_users))
    assert found.upper - found.lower == pytest.approx(width, rel=0.35)


@pytest.mark.parametrize("model", MODELS)
def test_macro_f1_and_recalls_are_those_of_scikit_learn(quality: dict[str, dict[str, Estimate]], pairs: pd.DataFrame, model: str) -> None:
    tiers, _ = said_by(model, pairs["rule_tier"])
    found = quality[model]
    errors = [f"calibration_error_{tier}" for tier in sorted(TIERS)]
    assert sorted(found) == ["J", *errors, "macro_f1", "recall_core", "recall_marginal", "recall_secondary"]
    assert found["macro_f1"].value == pytest.approx(f1_score(pairs["label"], tiers, average="macro", zero_division=0), abs=1e-12)
    recalls = recall_score(pairs["label"], tiers, labels=TIERS, average=None, zero_division=0)
    assert [found[f"recall_{tier}"].value for tier in TIERS] == pytest.approx(list(recalls), abs=1e-12)
    for metric, estimate in found.items():
        if metric in errors:
            continue
        assert estimate.lower is not None
        assert estimate.upper is not None
        assert estimate.lower <= estimate.value <= estimate.upper


@pytest.mark.parametrize("model", MODELS)
def test_calibration_errors_are_those_of_numpy(quality: dict[str, dict[str, Estimate]], pairs: pd.DataFrame, model: str) -> None:
    _, probabilities = said_by(model, pairs["rule_tier"])
    for place, tier in enumerate(TIERS):
        p, came_true = probabilities[:, place], (pairs["label"] == tier).to_numpy()
        bins = np.minimum((p * 15).astype(int), 14)
        apart = [abs(p[bins == b].mean() - came_true[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
        assert quality[model][f"calibration_error_{tier}"].value == pytest.approx(sum(apart), abs=1e-9)


def test_bins_of_the_reference_are_those_of_scipy(predicted: DataFrame, pairs: pd.DataFrame) -> None:
    measured = measure_tiers(predicted, samples=10, reference="rule_calibrated")
    bins = {where: values for where, values in measured.items() if where.bin is not None}
    assert {where.model for where in bins} == {"rule_calibrated"}, "of the reference alone"
    for place, tier in enumerate(TIERS):
        _, probabilities = said_by("rule_calibrated", pairs["rule_tier"])
        had = (pairs["label"] == tier).to_numpy()
        p = probabilities[:, place]
        observed, mean = (binned_statistic(p, values, bins=15, range=(0, 1)).statistic for values in (had.astype(float), p))
        observed, mean = observed[~np.isnan(observed)], mean[~np.isnan(mean)]
        of_tier = [values for _, values in sorted(bins.items(), key=lambda each: each[0].bin or 0) if f"observed_share_{tier}" in values]
        assert [values[f"observed_share_{tier}"].value for values in of_tier] == pytest.approx(list(observed), abs=1e-12)
        assert [values[f"mean_probability_{tier}"].value for values in of_tier] == pytest.approx(list(mean), abs=1e-12)
        assert sum(values[f"n_pairs_{tier}"].value for values in of_tier) == len(pairs)


def test_every_model_is_judged(quality: dict[str, dict[str, Estimate]]) -> None:
    assert sorted(quality) == sorted(MODELS)
    assert quality["rule"]["macro_f1"] == quality["rule_calibrated"]["macro_f1"], "calibration leaves the tiers as they are"
    assert quality["rule_calibrated"]["J"] == quality["rule_calibrated_argmax"]["J"], "the decision leaves the probabilities"


def test_a_tier_that_never_occurs_has_no_recall_and_a_rare_one_no_false_interval(spark: SparkSession) -> None:
    """Marginal occurs with one user, whom many draws leave out; secondary with two, of whom one is said right."""
    rows = [("rule", f"u{i}", "core", "core", 1.0, 0.0, 0.0) for i in range(4)] + [("rule", "u9", "marginal", "core", 1.0, 0.0, 0.0)]
    rows += [("two", "u1", "secondary", "secondary", 0.0, 1.0, 0.0), ("two", "u2", "secondary", "core", 1.0, 0.0, 0.0)]
    rows += [("two", f"u{i}", "core", "core", 1.0, 0.0, 0.0) for i in range(3, 9)]
    schema = "model string, user_id string, label string, tier string, p_core double, p_secondary double, p_marginal double"
    frame = spark.createDataFrame(rows, schema)
    found = measure_tiers(frame.where("model = 'rule'"), samples=200, reference="rule")[Slice(model="rule")]
    errors = ["calibration_error_core", "calibration_error_marginal", "calibration_error_secondary"]
    assert sorted(found) == ["J", *errors, "macro_f1", "recall_core", "recall_marginal"]
    assert found["recall_marginal"] == Estimate(0.0, None, None)
    assert found["recall_core"] == Estimate(1.0, 1.0, 1.0)
    assert found["J"].value == pytest.approx(2 / 5)
    labels, tiers = [row[2] for row in rows[:5]], [row[3] for row in rows[:5]]
    assert found["macro_f1"].value == pytest.approx(f1_score(labels, tiers, labels=TIERS, average="macro", zero_division=0))
    two = measure_tiers(frame.where("model = 'two'"), samples=200, reference="rule")
    assert list(two) == [Slice(model="two")], "without the reference there is no difference"
    assert two[Slice(model="two")]["recall_secondary"] == Estimate(0.5, 0.0, 1.0)


def test_differences_are_paired_by_hand(spark: SparkSession) -> None:
    """Three users: the errors of a are 0, 2 and 1, those of b are 2, 2 and 0.5."""
    rows = [
        ("a", "u1", "core", "core", 1.0, 0.0, 0.0), ("b", "u1", "core", "marginal", 0.0, 0.0, 1.0),
        ("a", "u2", "core", "marginal", 0.0, 0.0, 1.0), ("b", "u2", "core", "marginal", 0.0, 0.0, 1.0),
        # A user counts once, however many interests: errors 2 and 0 of a, 0.5 twice of b.
        ("a", "u3", "secondary", "core", 1.0, 0.0, 0.0), ("b", "u3", "secondary", "secondary", 0.0, 0.5, 0.5),
        ("a", "u3", "marginal", "marginal", 0.0, 0.0, 1.0), ("b", "u3", "marginal", "secondary", 0.0, 0.5, 0.5),
    ]  # fmt: skip
    schema = "model string, user_id string, label string, tier string, p_core double, p_secondary double, p_marginal double"
    within = Slice(level="kind")
    measured = measure_tiers(spark.createDataFrame(rows, schema), samples=500, reference="b", within=within)
    names = ["level=kind,model=a", "level=kind,model=a,minus=b", "level=kind,model=b"]
    found = {
        str(where): {metric: estimate.value for metric, estimate in metrics.items()}
        for where, metrics in measured.items()
        if where.bin is None
    }
    assert sorted(found) == names
    assert found[names[0]]["J"] == pytest.approx((0 + 2 + 1) / 3)
    assert found[names[2]]["J"] == pytest.approx((2 + 2 + 0.5) / 3)
    # F1 of a: core 1/2, secondary 0, marginal 1/2 + ...; by scikit-learn on the pairs.
    labels = [row[2] for row in rows if row[0] == "a"]
    f1 = {m: f1_score(labels, [row[3] for row in rows if row[0] == m], labels=TIERS, average="macro", zero_division=0) for m in "ab"}
    assert found[names[1]] == pytest.approx({"J": (-2 + 0 + 0.5) / 3, "macro_f1": f1["a"] - f1["b"]})
    of_j = measured[Slice(level="kind", model="a", minus="b")]["J"]
    # Of resamples of the differences -2, 0 and 0.5 the lowest is -2, the highest 0.5.
    assert (of_j.lower, of_j.upper) == pytest.approx((-2.0, 0.5))


@pytest.mark.parametrize("model", [model for model in MODELS if model != "rule"])
def test_differences_are_those_of_numpy(measured: dict[Slice, dict[str, Estimate]], pairs: pd.DataFrame, model: str) -> None:
    outcomes = np.array([[float(label == tier) for tier in TIERS] for label in pairs["label"]])
    users = pairs["user_id"].to_numpy()

    def user_errors(name: str) -> np.ndarray:
        errors = ((outcomes - said_by(name, pairs["rule_tier"])[1]) ** 2).sum(axis=1)
        return np.array([errors[users == user].mean() for user in np.unique(users)])

    gaps = user_errors(model) - user_errors("rule")
    found = measured[Slice(model=model, minus="rule")]
    assert sorted(found) == ["J", "macro_f1"]
    of_j, of_f1 = found["J"], found["macro_f1"]
    assert of_j.lower is not None
    assert of_j.upper is not None
    assert of_j.value == pytest.approx(gaps.mean(), abs=1e-12)
    assert of_j.upper - of_j.lower == pytest.approx(2 * 1.96 * gaps.std() / np.sqrt(len(gaps)), rel=0.35)
    scores = [f1_score(pairs["label"], said_by(name, pairs["rule_tier"])[0], average="macro", zero_division=0) for name in (model, "rule")]
    assert of_f1.value == pytest.approx(scores[0] - scores[1], abs=1e-12)
    if model == "rule_calibrated":
        assert of_f1 == Estimate(0.0, 0.0, 0.0), "the same tiers in every resample"
    else:
        assert of_f1.lower is not None
        assert of_f1.upper is not None
        assert of_f1.lower < of_f1.value < of_f1.upper


def test_models_of_other_pairs_are_not_subtracted(spark: SparkSession, caplog: pytest.LogCaptureFixture) -> None:
    rows = [("rule", f"u{i}", "core", "core", 1.0, 0.0, 0.0) for i in range(5)]
    rows += [("stored", f"u{i}", "core", "core", 1.0, 0.0, 0.0) for i in range(4)]
    rows += [("prior", f"u{i}", "core", "marginal", 0.0, 0.0, 1.0) for i in range(5)]
    schema = "model string, user_id string, label string, tier string, p_core double, p_secondary double, p_marginal double"
    measured = measure_tiers(spark.createDataFrame(rows, schema), samples=10, reference="rule")
    assert sorted(str(where) for where in measured if where.bin is None) == [
        "model=prior",
        "model=prior,minus=rule",
        "model=rule",
        "model=stored",
    ]
    assert caplog.messages == ["stored predicts other pairs than rule (4 and 5): no difference is measured"]


def test_macro_f1_of_many_draws_at_once() -> None:
    """Cells of shape (draws, groups), as the bootstrap gives them."""
    random = np.random.default_rng(4)
    draws = random.integers(0, 5, size=(9, 6, 3))
    draws[:, 0, :] = 0
    draws[0, 0, 0] = 1  # the first draw is one pair
    got = macro_f1_of_cells(*draws, axis=-1)
    for draw, score in enumerate(got):
        counts = draws[:, draw].sum(axis=-1).reshape(3, 3)
        labels, tiers = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices((3, 3)))
        assert score == pytest.approx(f1_score(labels, tiers, labels=[0, 1, 2], average="macro", zero_division=0))
