"""User vectors: weights of interests, and their principal components."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual
from sklearn.decomposition import PCA

from interest_tiers.clustering.vectors import Projection, features, fit_projection, interest_weights, project, vocabulary

WEIGHTS = "user_id string, weights array<struct<position: int, weight: double>>"
N_INTERESTS = 7
COMPONENTS = 3


def test_the_most_held_interests_are_numbered_and_ties_go_by_id(spark: SparkSession) -> None:
    holders = {"d": 1, "c": 2, "b": 3, "a": 2, "e": 1}
    rows = [(f"u{i}", interest) for interest, n in holders.items() for i in range(n)]
    pairs = spark.createDataFrame(rows, "user_id string, interest_id string")
    got = {n: {row["interest_id"]: row["position"] for row in vocabulary(pairs, n).collect()} for n in (4, 9)}
    assert got == {4: {"b": 0, "a": 1, "c": 2, "d": 3}, 9: {"b": 0, "a": 1, "c": 2, "d": 3, "e": 4}}


def test_an_interest_weighs_the_root_of_its_share_times_its_expected_tier(spark: SparkSession) -> None:
    rows = [
        ("u1", "b", 0.64, 1.0, 0.0, 0.0),
        ("u1", "a", 0.36, 0.2, 0.3, 0.5),
        ("u1", "rare", 0.5, 1.0, 0.0, 0.0),  # not in the vocabulary
        ("u2", "a", 0.0, 1.0, 0.0, 0.0),  # weighs nothing
        ("u2", "b", 1.0, 0.0, 0.0, 1.0),
        ("u3", "rare", 1.0, 1.0, 0.0, 0.0),  # holds nothing else
    ]
    both = spark.createDataFrame(
        rows, "user_id string, interest_id string, share double, p_core double, p_secondary double, p_marginal double"
    )
    positions = spark.createDataFrame([("a", 0), ("b", 1)], "interest_id string, position int")
    got = interest_weights(both.select("user_id", "interest_id", "share"), both.drop("share"), positions)
    expected = [
        ("u1", [(0, math.sqrt(0.36 * (0.2 + 0.3 * 0.5 + 0.5 * 0.1))), (1, 0.8)]),
        ("u2", [(1, math.sqrt(0.1))]),
    ]
    assertDataFrameEqual(got, spark.createDataFrame(expected, WEIGHTS))


def sparse(dense: np.ndarray) -> list[tuple[str, list[tuple[int, float]]]]:
    return [(f"u{i:02}", [(position, float(w)) for position, w in enumerate(row) if w > 0]) for i, row in enumerate(dense)]


@dataclass(frozen=True)
class Projected:
    dense: np.ndarray
    weights: DataFrame
    projection: Projection
    vectors: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def projected(spark: SparkSession) -> Projected:
    """Users with few, all, only the first or only the last of the interests."""
    random = np.random.default_rng(5)
    dense = random.random((24, N_INTERESTS)) * (random.random((24, N_INTERESTS)) < 0.5)
    dense[0], dense[1], dense[2] = 0.0, 0.0, random.random(N_INTERESTS)
    dense[0, 0], dense[1, -1] = 0.7, 0.4
    dense[3, 3] = 0.2  # nobody is without any interest
    weights = spark.createDataFrame(sparse(dense), WEIGHTS).cache()
    projection = fit_projection(weights, N_INTERESTS, COMPONENTS)
    rows = project(weights, projection).collect()
    return Projected(dense, weights, projection, {row["user_id"]: np.array(row["vector"]) for row in rows})


def test_the_projection_is_that_of_scikit_learn_with_fixed_signs(projected: Projected) -> None:
    reference = PCA(COMPONENTS, svd_solver="full").fit(projected.dense)
    loadings = reference.components_.T
    signs = np.array([math.copysign(1, column[np.abs(column).argmax()]) for column in loadings.T])
    np.testing.assert_allclose(projected.projection.loadings, loadings * signs, atol=1e-9)
    np.testing.assert_allclose(projected.projection.mean, projected.dense.mean(axis=0) @ loadings * signs, atol=1e-9)


def test_points_are_centred_and_of_length_one(projected: Projected) -> None:
    reference = PCA(COMPONENTS, svd_solver="full").fit(projected.dense)
    signs = np.sign((projected.projection.loadings * reference.components_.T).sum(axis=0))
    points = reference.transform(projected.dense) * signs
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert sorted(projected.vectors) == [f"u{i:02}" for i in range(len(points))]
    np.testing.assert_allclose(np.stack([projected.vectors[user] for user in sorted(projected.vectors)]), points, atol=1e-6)


def test_with_every_component_nothing_is_lost_at_any_position(projected: Projected) -> None:
    """More components than interests are lowered to them; the loadings then turn the mean back into that of the weights."""
    whole = fit_projection(projected.weights, N_INTERESTS, 50)
    assert whole.loadings.shape == (N_INTERESTS, N_INTERESTS)
    np.testing.assert_allclose(whole.loadings @ whole.mean, projected.dense.mean(axis=0), atol=1e-9)


def test_users_at_the_mean_have_no_vector(spark: SparkSession) -> None:
    weights = spark.createDataFrame(sparse(np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])), WEIGHTS)
    vectors = {row["user_id"]: row["vector"] for row in project(weights, fit_projection(weights, 2, 8)).collect()}
    assert sorted(vectors) == ["u00", "u01"]
    np.testing.assert_allclose(np.array(vectors["u00"]) @ np.array(vectors["u01"]), -1, atol=1e-6)


@pytest.mark.parametrize(("users", "interests"), [(3, 2), (1, 2), (0, 0)])
def test_users_who_are_all_alike_have_no_vector(spark: SparkSession, users: int, interests: int) -> None:
    weights = spark.createDataFrame(sparse(np.full((users, interests), 0.3)), WEIGHTS)
    assert project(weights, fit_projection(weights, interests, 8)).collect() == []


def test_features_are_the_same_numbers(spark: SparkSession) -> None:
    frame = spark.createDataFrame([([0.5, -0.25],)], "vector array<float>")
    assert frame.select(features(frame["vector"])).first()[0].toArray().tolist() == [0.5, -0.25]  # type: ignore[index]
