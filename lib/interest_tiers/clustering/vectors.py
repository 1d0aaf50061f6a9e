"""Compute user vectors from the embeddings of a user's interests.

An interest weighs sqrt(share * sum over tiers of TIER_WEIGHTS * probability), so that tiers shape the clusters. The
root keeps one heavy habit from hiding all others (Hellinger's transformation, Legendre and Gallagher 2001). The
weighted embeddings are summed per user and reduced to principal components.

Without any text no interest has an embedding. Then each has a direction by a hash of its id, so that users are alike by
their shares alone (random projection, Achlioptas 2003).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyspark.ml.feature import PCA, PCAModel
from pyspark.ml.functions import vector_to_array
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.clustering.kmeans import add_unit_length, to_vector
from interest_tiers.interests.evidence import PAIR

TIER_WEIGHTS = {"core": 1.0, "secondary": 0.5, "marginal": 0.1}

#: Shorter vectors are rounding noise around the mean user, and have no direction.
SMALLEST_NORM = 1e-6

#: Width of the directions that stand for interests without texts.
DIRECTION_WIDTH = 256


@dataclass(frozen=True)
class Projection:
    """Hold a fitted projection.

    model: principal components over all users
    signs: (components,), 1 or -1
    mean:  (components,), of the projected users
    """

    model: PCAModel
    signs: np.ndarray
    mean: np.ndarray


def sum_embeddings(pairs: DataFrame, tiers: DataFrame, embeddings: DataFrame) -> DataFrame:
    """Sum the weighted embeddings of each user's interests; an interest without an embedding does not count.

    pairs:      (user_id, interest_id, share, ...)
    tiers:      (user_id, interest_id, p_core, p_secondary, p_marginal, ...)
    embeddings: (interest_id, embedding array<float>)
    Returns:    (user_id, total array<float>)
    """
    expected = sum((F.col(f"p_{tier}") * weight for tier, weight in TIER_WEIGHTS.items()), start=F.lit(0.0))
    weighed = pairs.join(tiers, PAIR).select("user_id", "interest_id", F.sqrt(F.col("share") * expected).alias("weight"))
    known = embeddings.where(F.col("embedding").isNotNull()).select("interest_id", to_vector(F.col("embedding")).alias("features"))
    summed = weighed.where(F.col("weight") > 0).join(known, "interest_id").groupBy("user_id")
    total = summed.agg(Summarizer.sum(F.col("features"), F.col("weight")).alias("total"))
    return total.select("user_id", vector_to_array(F.col("total"), "float32").alias("total"))


def draw_directions(interests: DataFrame) -> DataFrame:
    """Give every interest a direction of signs, by a hash of its id. Two of them are nearly orthogonal.

    interests: (interest_id, ...)
    Returns:   (interest_id, embedding array<float>), L2 norm 1
    """
    size = 1.0 / math.sqrt(DIRECTION_WIDTH)
    places = F.sequence(F.lit(0), F.lit(DIRECTION_WIDTH - 1))
    signs = F.transform(places, lambda place: F.when(F.xxhash64("interest_id", place) % 2 == 0, F.lit(size)).otherwise(F.lit(-size)))
    return interests.select("interest_id", signs.cast("array<float>").alias("embedding"))


def fit_projection(sums: DataFrame, components: int) -> Projection | None:
    """Fit principal components over all users; None for fewer than two users.

    Components beyond the width of the embeddings are left out.

    sums: (user_id, total array<float>), see sum_embeddings
    """
    two = sums.select(F.size("total").alias("width")).limit(2).collect()
    if len(two) < 2:
        return None
    points = sums.select(to_vector(F.col("total")).alias("features"))
    model = PCA(k=min(components, two[0]["width"]), inputCol="features", outputCol="projected").fit(points)
    mean = model.transform(points).agg(Summarizer.mean(F.col("projected")).alias("mean")).first()
    assert mean is not None  # an aggregate without keys has one row
    loadings = model.pc.toArray()
    # The sign of a component is arbitrary; its largest loading is made positive, so that a rerun gives the same.
    signs = np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(loadings.shape[1])])
    return Projection(model, signs, mean["mean"].toArray())


def project(sums: DataFrame, projection: Projection) -> DataFrame:
    """Project users to points, centred, of L2 norm 1; users at the mean itself are left out.

    sums:    (user_id, total array<float>), see sum_embeddings
    Returns: (user_id, vector array<float>)
    """
    projected = projection.model.transform(sums.select("user_id", to_vector(F.col("total")).alias("features")))
    centred = F.zip_with(vector_to_array(F.col("projected")), _literal(projection.mean), lambda x, mean: x - mean)
    points = projected.select("user_id", F.zip_with(centred, _literal(projection.signs), lambda x, sign: x * sign).alias("point"))
    scaled = add_unit_length(points, "point", SMALLEST_NORM).where(F.col("point").isNotNull())
    return scaled.select("user_id", F.col("point").cast("array<float>").alias("vector"))


def place_at_one_point(sums: DataFrame, components: int) -> DataFrame:
    """Place every user at the same point, for data in which no user differs from another.

    sums:    (user_id, ...), see sum_embeddings
    Returns: (user_id, vector array<float>), of the given number of components, L2 norm 1
    """
    return sums.select("user_id", _literal(np.eye(1, components)[0]).cast("array<float>").alias("vector"))


def _literal(values: Sequence[float] | np.ndarray) -> Column:
    return F.array(*[F.lit(float(value)) for value in values])
