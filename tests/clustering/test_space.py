"""Spaces: profiles in columns, the directions of blocks, and user vectors, against dense linear algebra."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual

from interest_tiers.clustering.blocks import EVIDENCE_SHRINKAGE, fit_blocks
from interest_tiers.clustering.identity import Change
from interest_tiers.clustering.model import ClusterModel
from interest_tiers.clustering.profiles import Vocabulary, build_profiles, find_vocabulary, select_had_items
from interest_tiers.clustering.space import Space, fit_space, locate_users, place_at_one_point
from interest_tiers.clustering.texts import COMMON, Reading, fit_reading, reduce_texts
from interest_tiers.clustering.trials import Trial
from interest_tiers.storage.schemas import CLUSTER_MODELS

PAIRS = "user_id string, interest_id string, evidence double, n_days bigint"
HAD = "user_id string, item_id string"
USERS, INTERESTS, ITEMS = 40, 6, 12


def test_had_items_are_those_with_evidence_each_once(spark: SparkSession) -> None:
    days = [("u1", "a", 1.0), ("u1", "a", 1.0), ("u1", "b", 0.0), ("u1", None, 1.0), ("u2", "c", -1.0), ("u2", "a", 0.5)]
    got = select_had_items(spark.createDataFrame(days, "user_id string, item_id string, weight double"))
    assertDataFrameEqual(got, spark.createDataFrame([("u1", "a"), ("u2", "a")], HAD))


def test_the_vocabulary_has_the_most_used_first_and_leaves_out_what_has_none(spark: SparkSession) -> None:
    pairs = spark.createDataFrame([("u1", "b", 1.0, 1), ("u1", "a", 1.0, 1), ("u2", "c", 3.0, 3), ("u2", "none", 0.0, 1)], PAIRS)
    had = spark.createDataFrame([("u1", "x"), ("u2", "x"), ("u1", "w"), ("u2", "w"), ("u3", "w"), ("u1", "rare")], HAD)
    assert find_vocabulary(pairs, had, 2) == Vocabulary(("c", "a", "b"), (3.0, 1.0, 1.0), ("w", "x"), (3, 2))
    assert find_vocabulary(None, had, 3) == Vocabulary((), (), ("w",), (3,))


def test_a_profile_by_hand(spark: SparkSession) -> None:
    """Two topics share a column; nothing is known of the interest new; u3 has no item, and u4 no evidence."""
    pairs = [
        ("u1", "b", 2.0, 2),
        ("u1", "a", 1.0, 1),
        ("u1", "like a", 0.5, 1),
        ("u2", "new", 1.0, 4),
        ("u3", "a", 1.0, 1),
        ("u4", "a", 0.0, 1),
    ]
    had = [("u1", "y"), ("u1", "x"), ("u1", "z"), ("u2", "z")]
    texts = spark.createDataFrame([("x", [1.0, 0.0]), ("y", [0.0, 2.0])], "item_id string, vector array<double>")
    columns = {"a": 0, "b": 1, "like a": 0}
    got = build_profiles(spark.createDataFrame(pairs, PAIRS), spark.createDataFrame(had, HAD), texts, columns, ("x", "y"))
    expected = [
        ("u1", 4.0, [(0, 1.5), (1, 2.0)], [0, 1], [1.0, 2.0], 2.0),
        ("u2", 4.0, [], [], None, 0.0),
        ("u3", 1.0, [(0, 1.0)], [], None, 0.0),
        ("u4", 1.0, [], [], None, 0.0),
    ]
    assertDataFrameEqual(got, spark.createDataFrame(expected, got.schema))


@pytest.fixture(scope="module")
def matrices() -> tuple[np.ndarray, np.ndarray]:
    """Evidence of users in interests, and which items they had; some users have neither much nor all."""
    random = np.random.default_rng(3)
    evidence = random.poisson(2.0, (USERS, INTERESTS)) * random.uniform(0.5, 8.0, (USERS, 1))
    evidence[0] = 0
    had = random.random((USERS, ITEMS)) < random.uniform(0.1, 0.6, (USERS, 1))
    had[1] = False
    return evidence, had


def frames(spark: SparkSession, evidence: np.ndarray, had: np.ndarray) -> tuple[DataFrame, DataFrame]:
    pairs = [(f"u{u:02}", f"i{i}", float(evidence[u, i]), 1) for u in range(len(evidence)) for i in range(evidence.shape[1])]
    items = [(f"u{u:02}", f"p{i:02}") for u in range(len(had)) for i in range(had.shape[1]) if had[u, i]]
    return spark.createDataFrame(pairs, PAIRS), spark.createDataFrame(items, HAD)


@pytest.fixture(scope="module")
def profiles(spark: SparkSession, matrices: tuple[np.ndarray, np.ndarray]) -> tuple[DataFrame, Vocabulary]:
    pairs, had = frames(spark, *matrices)
    vocabulary = find_vocabulary(pairs, had, 1)
    columns = {each: place for place, each in enumerate(vocabulary.interests)}
    return build_profiles(pairs, had, None, columns, vocabulary.items).repartition(3, "user_id").cache(), vocabulary


def ordered(matrices: tuple[np.ndarray, np.ndarray], vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """The matrices with their columns in the order of the vocabulary."""
    evidence, had = matrices
    return evidence[:, [int(each[1:]) for each in vocabulary.interests]], had[:, [int(each[1:]) for each in vocabulary.items]].astype(float)


def correspondence(evidence: np.ndarray, width: int) -> np.ndarray:
    """Coordinates of correspondence analysis with shrinkage, by an exact decomposition."""
    totals, mean = evidence.sum(axis=1), evidence.sum(axis=0) / evidence.sum()
    rows = (evidence - np.outer(totals, mean)) / np.sqrt(mean) / (totals + EVIDENCE_SHRINKAGE)[:, None]
    _, vectors = np.linalg.eigh((rows * totals[:, None]).T @ rows)
    return rows @ vectors[:, ::-1][:, :width]


def co_use(had: np.ndarray, width: int) -> np.ndarray:
    """Coordinates of regularised spectral co-clustering, by an exact decomposition."""
    of_users, of_items = had.sum(axis=1), had.sum(axis=0)
    of_users, of_items = of_users + of_users.mean(), of_items + of_items.mean()
    _, _, right = np.linalg.svd(had / np.sqrt(np.outer(of_users, of_items)), full_matrices=False)
    return (had / np.sqrt(of_items)) @ right[1 : width + 1].T / of_users[:, None]


def same_up_to_sign(one: np.ndarray, other: np.ndarray, atol: float = 1e-7) -> None:
    signs = np.sign((one * other).sum(axis=0))
    np.testing.assert_allclose(one * signs, other, atol=atol)


def test_blocks_are_those_of_an_exact_decomposition(
    profiles: tuple[DataFrame, Vocabulary], matrices: tuple[np.ndarray, np.ndarray]
) -> None:
    frame, vocabulary = profiles
    evidence, had = ordered(matrices, vocabulary)
    interests, items = fit_blocks(frame, vocabulary, USERS, 3, 17)
    same_up_to_sign((evidence @ interests.loadings) / (evidence.sum(axis=1) + interests.offset)[:, None], correspondence(evidence, 3))
    same_up_to_sign((had @ items.loadings) / (had.sum(axis=1) + items.offset)[:, None], co_use(had, 3))
    for block in (interests, items):
        assert (block.loadings[np.abs(block.loadings).argmax(axis=0), range(3)] > 0).all()


def test_vectors_are_components_of_blocks_of_equal_variance(
    profiles: tuple[DataFrame, Vocabulary], matrices: tuple[np.ndarray, np.ndarray]
) -> None:
    frame, vocabulary = profiles
    evidence, had = ordered(matrices, vocabulary)
    space = fit_space(frame, vocabulary, None, USERS, 4, 17)
    assert space is not None
    scaled = []
    for block in (correspondence(evidence, 4), co_use(had, 4)):
        centred = block - block.mean(axis=0)
        scaled.append(centred / np.sqrt((centred**2).sum(axis=1).mean()))
    both = np.hstack(scaled)
    values, vectors = np.linalg.eigh(both.T @ both / USERS)
    np.testing.assert_allclose(space.variances, values[::-1][:4], atol=1e-7)
    points = both @ vectors[:, ::-1][:, :4]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    got = {row["user_id"]: row["vector"] for row in locate_users(frame, space).collect()}
    assert sorted(got) == [f"u{u:02}" for u in range(USERS)]
    same_up_to_sign(np.array([got[user] for user in sorted(got)]), points, atol=2e-6)


def test_the_same_space_comes_back_from_its_row(spark: SparkSession, profiles: tuple[DataFrame, Vocabulary]) -> None:
    frame, vocabulary = profiles
    space = fit_space(frame, vocabulary, None, USERS, 4, 17)
    centroids = np.eye(2, 4, dtype=np.float32)
    model = ClusterModel(
        "v", date(2024, 1, 1), "s", space, np.ones((INTERESTS, 2)), centroids, ("c01", "c05"), (25, 15), 0.25, 5,
        (Trial(2, 0.5, 0.25, 0.75, 0.375),), (Change("c05", "split", "c01", 3),),
    )  # fmt: skip
    row = spark.createDataFrame([model.as_row()], CLUSTER_MODELS.schema).first()
    assert row is not None
    back = ClusterModel.from_row(row.asDict())
    assert (back.version, back.cluster_ids, back.sizes, back.trials, back.changes) == (
        "v",
        ("c01", "c05"),
        (25, 15),
        model.trials,
        model.changes,
    )
    np.testing.assert_array_equal(back.centroids, centroids)
    np.testing.assert_array_equal(back.topics, model.topics)
    assert space is not None and back.space is not None
    assert (back.space.interests, back.space.items) == (space.interests, space.items)
    assert locate_users(frame, back.space).collect() == locate_users(frame, space).collect()


def test_a_user_without_evidence_has_no_vector(spark: SparkSession, profiles: tuple[DataFrame, Vocabulary]) -> None:
    frame, vocabulary = profiles
    space = fit_space(frame, vocabulary, None, USERS, 4, 17)
    assert space is not None
    columns = {each: place for place, each in enumerate(vocabulary.interests)}
    pairs = spark.createDataFrame([("gone", "i1", 0.0, 3), ("one", "i1", 0.1, 1), ("unknown", "i99", 1.0, 1)], PAIRS)
    nobody = spark.createDataFrame([], HAD)
    located = locate_users(build_profiles(pairs, nobody, None, columns, vocabulary.items), space).collect()
    assert [row["user_id"] for row in located] == ["one"]
    assert np.linalg.norm(located[0]["vector"]) == pytest.approx(1.0, abs=1e-5)


def test_a_block_in_which_all_are_alike_is_left_out(spark: SparkSession, matrices: tuple[np.ndarray, np.ndarray]) -> None:
    """A single interest says nothing; the items do."""
    pairs, had = frames(spark, np.ones((USERS, 1)), matrices[1])
    vocabulary = find_vocabulary(pairs, had, 1)
    frame = build_profiles(pairs, had, None, {"i0": 0}, vocabulary.items).cache()
    space = fit_space(frame, vocabulary, None, USERS, 3, 17)
    assert space is not None
    assert [block.name for block in space.blocks] == ["items"]
    assert space.interests == ()


@pytest.mark.parametrize("users", [1, 5])
def test_users_who_are_all_alike_have_no_space_and_share_one_point(spark: SparkSession, users: int) -> None:
    pairs, had = frames(spark, np.full((users, 2), 3.0), np.ones((users, 2), dtype=bool))
    vocabulary = find_vocabulary(pairs, had, 1)
    frame = build_profiles(pairs, had, None, {"i0": 0, "i1": 1}, vocabulary.items).cache()
    assert fit_space(frame, vocabulary, None, users, 8, 17) is None
    without = pairs.unionByName(spark.createDataFrame([("gone", "i0", 0.0, 1)], PAIRS))
    rows = place_at_one_point(without, 3).collect()
    assert sorted(row["user_id"] for row in rows) == [f"u{u:02}" for u in range(users)]
    assert {tuple(row["vector"]) for row in rows} == {(1.0, 0.0, 0.0)}


def test_texts_are_read_without_what_all_have_in_common(spark: SparkSession) -> None:
    """The first component is the large one; what is left are the components after it, largest first."""
    random = np.random.default_rng(5)
    vectors = (random.normal(size=(30, 5)) * [9.0, 3.0, 2.0, 1.0, 0.5] + 4.0).astype(np.float32).astype(float)
    rows = spark.createDataFrame(
        [(f"h{i:02}", vector.tolist()) for i, vector in enumerate(vectors)], "text_hash string, embedding array<float>"
    )
    reading = fit_reading(rows)
    assert reading is not None
    centred = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    same_up_to_sign(reading.directions, directions[:, ::-1][:, COMMON:])
    items = spark.createDataFrame([("a", "h00"), ("b", "h00"), ("c", None), ("d", "h99")], "item_id string, text_hash string")
    got = {row["item_id"]: row["vector"] for row in reduce_texts(items, rows, reading).collect()}
    assert sorted(got) == ["a", "b"]
    np.testing.assert_allclose(got["a"], centred[0] @ reading.directions, atol=1e-9)
    assert fit_reading(rows.limit(0)) is None


def test_a_text_block_is_the_mean_of_the_user_s_items(spark: SparkSession) -> None:
    pairs = spark.createDataFrame([(f"u{u}", "i", 1.0, 1) for u in range(4)], PAIRS)
    had = spark.createDataFrame([("u0", "a"), ("u1", "b"), ("u2", "a"), ("u2", "b")], HAD)
    texts = spark.createDataFrame([("a", [1.0, 0.0]), ("b", [0.0, 1.0])], "item_id string, vector array<double>")
    frame = build_profiles(pairs, had, texts, {}, ())
    space = fit_space(frame, Vocabulary(), Reading(np.zeros(2), np.eye(2)), 4, 2, 17)
    assert isinstance(space, Space)
    vectors = {row["user_id"]: np.array(row["vector"]) for row in locate_users(frame, space).collect()}
    assert sorted(vectors) == ["u0", "u1", "u2"], "u3 has no text"
    assert vectors["u0"] @ vectors["u1"] < vectors["u0"] @ vectors["u2"]
