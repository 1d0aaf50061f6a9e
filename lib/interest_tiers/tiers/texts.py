"""Computes features of texts: how similar an interest is, by its texts, to the user's interests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.interests.evidence import exact_sum
from interest_tiers.tiers.cutoffs import PAIR_AT, USER_AT, sample_at

#: Cosines of an interest with all interests of its user, and with the others; see text_similarities.
TEXT_FEATURES = ("text_similarity", "text_similarity_of_others")

#: Interests, sampled by hash, whose vectors the principal components are fitted on.
FITTED_INTERESTS = 10_000

#: Principal components of the interests' vectors. Cosines do not depend on the signs of components.
COMPONENTS = 16

#: Further decimals of a component depend on the number of threads.
COMPONENT_DECIMALS = 6

#: A shorter vector has no reliable direction.
SMALLEST_SQUARED_NORM = 1e-9


def interest_points(embeddings: DataFrame) -> DataFrame:
    """Project the vectors of interests on their principal components, at every cutoff by itself.

    embeddings: (cutoff, interest_id, embedding array<float>), read twice, so already stored
    Returns:    (cutoff, interest_id, text_0 double, text_1 double, ...), one row per cutoff and interest with an embedding
    """
    known = embeddings.where(F.col("embedding").isNotNull()).select("cutoff", "interest_id", "embedding")
    sampled = sample_at(known, "interest_id", FITTED_INTERESTS, known).orderBy("cutoff", "interest_id").toPandas()
    fitted = {cutoff: _components(np.stack(list(of_one["embedding"])).astype(np.float64)) for cutoff, of_one in sampled.groupby("cutoff")}
    names = [f"text_{place}" for place in range(COMPONENTS)]

    def points(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for cutoff, rows in batch.groupby("cutoff"):
                mean, directions = fitted[cutoff]
                moved = (np.stack(list(rows["embedding"])).astype(np.float64) - mean) @ directions
                keys = {key: rows[key].to_numpy() for key in ("cutoff", "interest_id")}
                yield pd.DataFrame(moved.round(COMPONENT_DECIMALS), columns=names).assign(**keys)

    return known.mapInPandas(points, f"cutoff date, interest_id string, {', '.join(f'{name} double' for name in names)}")


def _components(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean, (width,), and the principal directions, (width, COMPONENTS), of vectors, (n, width).

    Directions are zero where the vectors span fewer.
    """
    mean = vectors.mean(axis=0)
    directions = np.zeros((vectors.shape[1], COMPONENTS))
    found = np.linalg.svd(vectors - mean, full_matrices=False)[2][:COMPONENTS].T
    directions[:, : found.shape[1]] = found
    return mean, directions


def text_similarities(own: DataFrame, points: DataFrame) -> DataFrame:
    """Compute the cosines of an interest with the mean of its user's interests, weighted by share.

    own:     from features.own_features, stored
    points:  (cutoff, interest_id, text_0 double, ...), from interest_points, stored
    Returns: (cutoff, user_id, interest_id, TEXT_FEATURES), one row per cutoff and pair whose interest has a point

    One mean is over all interests of the user and level, one over the others.
    A cosine is null where a vector has no direction.
    """
    share, names = F.col("share_one"), [f"text_{place}" for place in range(COMPONENTS)]
    known = own.select(*PAIR_AT, "level", share).join(points, ["interest_id", "cutoff"])
    # A join with the sums of users, and no window: that is four times as fast.
    sums = known.groupBy(*USER_AT).agg(*[exact_sum(share * F.col(name)).alias(f"user_{name}") for name in names])
    both = known.join(sums, USER_AT)
    own_point = [F.col(name) for name in names]
    everything = [F.col(f"user_{name}") for name in names]
    others = [F.col(f"user_{name}") - share * F.col(name) for name in names]
    with_all, with_others = TEXT_FEATURES
    return both.select(*PAIR_AT, _cosine(own_point, everything).alias(with_all), _cosine(own_point, others).alias(with_others))


def _cosine(left: list[Column], right: list[Column]) -> Column:
    squares = _dot(left, left) * _dot(right, right)
    return F.when(squares > SMALLEST_SQUARED_NORM**2, _dot(left, right) / F.sqrt(squares))


def _dot(left: list[Column], right: list[Column]) -> Column:
    return sum((one * other for one, other in zip(left, right, strict=True)), start=F.lit(0.0))
