"""User vectors: the principal components of what each user's interests weigh.

An interest weighs the square root of share * sum over tiers of TIER_WEIGHTS * probability: the tiers shape the
clusters, and the root keeps one heavy habit from hiding all others (Hellinger's transformation, Legendre and
Gallagher 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.ml.feature import PCA
from pyspark.ml.functions import array_to_vector
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

TIER_WEIGHTS = {"core": 1.0, "secondary": 0.5, "marginal": 0.1}

#: Shorter vectors are rounding noise around the mean user, and have no direction.
SMALLEST_NORM = 1e-9


@dataclass(frozen=True)
class Projection:
    """loadings (interests, components), mean (components,) of the projected users; signs are fixed."""

    loadings: np.ndarray
    mean: np.ndarray


def vocabulary(pairs: DataFrame, max_interests: int) -> DataFrame:
    """The most held interests: interest_id, position (0-based, by users held, ties by id); at most max_interests rows."""
    held = pairs.groupBy("interest_id").agg(F.count(F.lit(1)).alias("n_users"))
    most_held = held.orderBy(F.desc("n_users"), "interest_id").limit(max_interests)
    in_order = most_held.agg(F.array_sort(F.collect_list(F.struct(-F.col("n_users"), "interest_id"))).alias("interests"))
    return in_order.select(F.posexplode("interests").alias("position", "interest")).select("interest.interest_id", "position")


def interest_weights(pairs: DataFrame, tiers: DataFrame, positions: DataFrame) -> DataFrame:
    """What each user's interests weigh: user_id, weights array<struct<position, weight>> sorted by position.

    pairs: user_id, interest_id, share. tiers: user_id, interest_id, p_core, p_secondary, p_marginal. The array
    is bounded by the vocabulary.
    """
    expected = sum((F.col(f"p_{tier}") * weight for tier, weight in TIER_WEIGHTS.items()), start=F.lit(0.0))
    weighed = pairs.join(tiers, ["user_id", "interest_id"]).select(
        "user_id", "interest_id", F.sqrt(F.col("share") * expected).alias("weight")
    )
    placed = weighed.join(F.broadcast(positions), "interest_id").where(F.col("weight") > 0)
    return placed.groupBy("user_id").agg(F.array_sort(F.collect_list(F.struct("position", "weight"))).alias("weights"))


def fit_projection(weights: DataFrame, n_interests: int, components: int) -> Projection:
    """Fit principal components over all users.

    weights: see interest_weights. Components beyond the number of interests are left out. Fewer than two users
    span no direction: their projection is zero, and project gives them no vector.
    """
    if weights.limit(2).count() < 2:
        return Projection(np.zeros((max(1, n_interests), 1)), np.zeros(1))
    dense = weights.select(_dense(F.col("weights"), n_interests).alias("features"))
    model = PCA(k=min(components, n_interests), inputCol="features", outputCol="projected").fit(dense)
    mean = model.transform(dense).agg(Summarizer.mean(F.col("projected")).alias("mean")).first()
    assert mean is not None  # an aggregate without keys has one row
    loadings = model.pc.toArray()
    # The sign of a component is arbitrary; its largest loading is made positive, so that a rerun gives the same.
    signs = np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(loadings.shape[1])])
    return Projection(loadings * signs, mean["mean"].toArray() * signs)


def project(weights: DataFrame, projection: Projection) -> DataFrame:
    """The users' points: user_id, vector array<float>, centred, L2 norm 1; users at the mean itself are left out.

    weights: see interest_weights.
    """
    n_interests = projection.loadings.shape[0]
    loadings = F.array(*[_literal(row) for row in projection.loadings])
    zero = F.array(*[F.lit(0.0)] * len(projection.mean))
    # Only the user's own interests are summed: the cost grows with what the user holds, not with the vocabulary.
    total = F.aggregate(
        F.filter("weights", lambda w: w["position"] < n_interests),
        zero,
        lambda point, w: F.zip_with(point, F.element_at(loadings, w["position"] + 1), lambda x, loading: x + w["weight"] * loading),
    )
    centred = F.zip_with(total, _literal(projection.mean), lambda x, mean: x - mean)
    points = weights.select("user_id", centred.alias("point"))
    norm = F.sqrt(F.aggregate("point", F.lit(0.0), lambda sum_, x: sum_ + x * x))
    has_direction = points.withColumn("norm", norm).where(F.col("norm") > SMALLEST_NORM)
    return has_direction.select("user_id", F.transform("point", lambda x: x / F.col("norm")).cast("array<float>").alias("vector"))


def at_one_point(weights: DataFrame, projection: Projection) -> DataFrame:
    """Every user at the same point: what is left to say when no user differs from another.

    weights: see interest_weights. Returns user_id, vector array<float>, L2 norm 1.
    """
    point = np.eye(1, len(projection.mean))[0]
    return weights.select("user_id", _literal(point).cast("array<float>").alias("vector"))


def features(vector: Column) -> Column:
    """An array column as MLlib takes it."""
    return array_to_vector(vector.cast("array<double>"))


def _dense(weights: Column, n_interests: int) -> Column:
    """Spread (position, weight) pairs over an array of zeros, as an MLlib vector, in one pass over the array."""
    padded = F.concat(weights, F.array(F.struct(F.lit(n_interests).alias("position"), F.lit(0.0).alias("weight"))))

    def filled(entry: Column, index: Column) -> Column:
        previous = F.when(index == 0, F.lit(-1)).otherwise(padded[index - 1]["position"])
        return F.concat(F.array_repeat(F.lit(0.0), entry["position"] - previous - 1), F.array(entry["weight"]))

    return array_to_vector(F.slice(F.flatten(F.transform(padded, filled)), 1, n_interests))


def _literal(values: Sequence[float] | np.ndarray) -> Column:
    return F.array(*[F.lit(float(value)) for value in values])
