"""User vectors: weighted sums of interest embeddings, and their principal components."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual
from sklearn.decomposition import PCA

from interest_tiers.clustering.vectors import (
    DIRECTION_WIDTH,
    Projection,
    draw_directions,
    fit_projection,
    place_at_one_point,
    project,
    sum_embeddings,
)

SUMS = "user_id string, total array<float>"
WIDTH = 7
COMPONENTS = 3


def test_an_interest_weighs_the_root_of_its_share_times_its_expected_tier(spark: SparkSession) -> None:
    rows = [
        ("u1", "b", 0.64, 1.0, 0.0, 0.0),
        ("u1", "a", 0.36, 0.2, 0.3, 0.5),
        ("u1", "silent", 0.5, 1.0, 0.0, 0.0),  # has no embedding
        ("u2", "a", 0.0, 1.0, 0.0, 0.0),  # weighs nothing
        ("u2", "b", 1.0, 0.0, 0.0, 1.0),
        ("u3", "silent", 1.0, 1.0, 0.0, 0.0),  # holds nothing else
    ]
    both = spark.createDataFrame(
        rows, "user_id string, interest_id string, share double, p_core double, p_secondary double, p_marginal double"
    )
    embeddings = [("a", [1.0, 0.0, -2.0]), ("b", [0.0, 0.5, 1.0]), ("silent", None)]
    known = spark.createDataFrame(embeddings, "interest_id string, embedding array<float>")
    got = sum_embeddings(both.select("user_id", "interest_id", "share"), both.drop("share"), known)
    a, b = math.sqrt(0.36 * (0.2 + 0.3 * 0.5 + 0.5 * 0.1)), 0.8
    expected = [("u1", [a, 0.5 * b, b - 2 * a]), ("u2", [0.0, 0.5 * math.sqrt(0.1), math.sqrt(0.1)])]
    assertDataFrameEqual(got, spark.createDataFrame(expected, SUMS), atol=1e-6)


def frame_of(spark: SparkSession, totals: np.ndarray) -> DataFrame:
    return spark.createDataFrame([(f"u{i:02}", [float(x) for x in row]) for i, row in enumerate(totals)], SUMS)


@dataclass(frozen=True)
class Projected:
    """totals: what went in, float32. reference: scikit-learn's components of the same."""

    totals: np.ndarray
    sums: DataFrame
    projection: Projection
    vectors: dict[str, np.ndarray]
    reference: PCA


@pytest.fixture(scope="module")
def projected(spark: SparkSession) -> Projected:
    totals = np.random.default_rng(5).normal(size=(24, WIDTH)).astype(np.float32).astype(np.float64)
    sums = frame_of(spark, totals).cache()
    projection = fit_projection(sums, COMPONENTS)
    assert projection is not None
    vectors = {row["user_id"]: np.array(row["vector"]) for row in project(sums, projection).collect()}
    return Projected(totals, sums, projection, vectors, PCA(COMPONENTS, svd_solver="full").fit(totals))


def test_the_projection_is_that_of_scikit_learn_with_fixed_signs(projected: Projected) -> None:
    loadings = projected.reference.components_.T
    signs = np.array([math.copysign(1, column[np.abs(column).argmax()]) for column in loadings.T])
    np.testing.assert_allclose(projected.projection.model.pc.toArray() * projected.projection.signs, loadings * signs, atol=1e-9)


def test_points_are_centred_and_of_length_one(projected: Projected) -> None:
    fixed = projected.projection.model.pc.toArray() * projected.projection.signs
    signs = np.sign((fixed * projected.reference.components_.T).sum(axis=0))
    points = projected.reference.transform(projected.totals) * signs
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert sorted(projected.vectors) == [f"u{i:02}" for i in range(len(points))]
    np.testing.assert_allclose(np.stack([projected.vectors[user] for user in sorted(projected.vectors)]), points, atol=1e-6)


def test_more_components_than_the_width_are_lowered_to_it(projected: Projected) -> None:
    whole = fit_projection(projected.sums, 50)
    assert whole is not None
    loadings = whole.model.pc.toArray()
    assert loadings.shape == (WIDTH, WIDTH)
    np.testing.assert_allclose(loadings @ whole.mean, projected.totals.mean(axis=0), atol=1e-9)


def test_users_at_the_mean_have_no_vector(spark: SparkSession) -> None:
    sums = frame_of(spark, np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]))
    projection = fit_projection(sums, 8)
    assert projection is not None
    vectors = {row["user_id"]: row["vector"] for row in project(sums, projection).collect()}
    assert sorted(vectors) == ["u00", "u01"]
    np.testing.assert_allclose(np.array(vectors["u00"]) @ np.array(vectors["u01"]), -1, atol=1e-6)


def test_users_who_are_all_alike_have_no_direction_and_share_one_point(spark: SparkSession) -> None:
    sums = frame_of(spark, np.full((3, 2), 0.3))
    projection = fit_projection(sums, 8)
    assert projection is not None
    assert project(sums, projection).collect() == []
    expected = [(f"u{i:02}", [1.0, 0.0, 0.0]) for i in range(3)]
    assertDataFrameEqual(place_at_one_point(sums, 3), spark.createDataFrame(expected, "user_id string, vector array<float>"))


@pytest.mark.parametrize("users", [0, 1])
def test_fewer_than_two_users_span_no_direction(spark: SparkSession, users: int) -> None:
    assert fit_projection(frame_of(spark, np.ones((users, 2))), 8) is None


def test_directions_without_texts_are_the_same_every_time_and_nearly_orthogonal(spark: SparkSession) -> None:
    names = spark.createDataFrame([(f"category:{n}",) for n in range(40)], "interest_id string")
    drawn, again = (dict(draw_directions(rows).collect()) for rows in (names, names.repartition(3, "interest_id")))
    assert drawn == again
    directions = np.array([drawn[f"category:{n}"] for n in range(40)])
    cosines = directions @ directions.T
    assert directions.shape == (40, DIRECTION_WIDTH)
    assert np.diag(cosines) == pytest.approx(np.ones(40), abs=1e-5)
    # The deviation of a cosine is 1 / 16.
    assert np.abs(cosines - np.eye(40)).max() < 0.3
    assert np.abs(cosines - np.eye(40)).mean() < 0.07
