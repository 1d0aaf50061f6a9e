"""Features of texts: how near an interest is, by its texts, to all that a user does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.interests.evidence import PAIR, exact_sum
from interest_tiers.interests.hierarchy import USER_LEVEL
from interest_tiers.spark.sampling import sample_by_hash
from interest_tiers.tiers.features import TEXT_FEATURES

#: The vectors of so many interests, drawn by hash, span the space in which texts are compared.
FITTED_INTERESTS = 10_000

#: Principal components of the interests' vectors: cosines in them are the same whatever the components' signs.
COMPONENTS = 16

#: Beyond these, components differ with the threads that found them.
COMPONENT_DECIMALS = 6

#: What is shorter has no direction.
SMALLEST_SQUARED_NORM = 1e-9


def interest_points(embeddings: DataFrame) -> DataFrame:
    """The vectors of interests in their principal components: interest_id, text_0, text_1, …

    embeddings: interest_id, embedding array<float>; stored already, since they are read twice. Those without one are left out.
    """
    known = embeddings.where(F.col("embedding").isNotNull()).select("interest_id", "embedding")
    drawn = sample_by_hash(known, "interest_id", FITTED_INTERESTS, known.count()).orderBy("interest_id").collect()
    mean, directions = _components(np.array([row["embedding"] for row in drawn], dtype=np.float64))
    names = [f"text_{place}" for place in range(COMPONENTS)]

    def points(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            if len(batch):
                moved = (np.array(batch["embedding"].to_list(), dtype=np.float64) - mean) @ directions
                yield pd.DataFrame(moved.round(COMPONENT_DECIMALS), columns=names).assign(interest_id=batch["interest_id"].to_numpy())

    return known.mapInPandas(points, f"interest_id string, {', '.join(f'{name} double' for name in names)}")


def _components(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (width,) and directions (width, COMPONENTS) of vectors (n, width); zeros where too few span so many."""
    if len(vectors) == 0:
        return np.zeros(0), np.zeros((0, COMPONENTS))
    mean = vectors.mean(axis=0)
    directions = np.zeros((vectors.shape[1], COMPONENTS))
    found = np.linalg.svd(vectors - mean, full_matrices=False)[2][:COMPONENTS].T
    directions[:, : found.shape[1]] = found
    return mean, directions


def text_similarities(own: DataFrame, points: DataFrame) -> DataFrame:
    """Cosines of an interest with the mean of its user's interests, weighted by share: user_id, interest_id, TEXT_FEATURES.

    own: see features.own_features. points: see interest_points. The mean is that of all interests, and that of the others;
    null where one has no direction. Where there are levels, those are the interests of the level.
    """
    user, share = Window.partitionBy(*USER_LEVEL), F.col("share_one")
    known = own.select(*PAIR, "level", "share_one").join(points, "interest_id")
    names = [f"text_{place}" for place in range(COMPONENTS)]
    sums = known.withColumns({f"user_{name}": exact_sum(share * F.col(name), over=user) for name in names})
    own_point = [F.col(name) for name in names]
    everything = [F.col(f"user_{name}") for name in names]
    others = [F.col(f"user_{name}") - share * F.col(name) for name in names]
    with_all, with_others = TEXT_FEATURES
    return sums.select(*PAIR, _cosine(own_point, everything).alias(with_all), _cosine(own_point, others).alias(with_others))


def _cosine(left: list[Column], right: list[Column]) -> Column:
    squares = _dot(left, left) * _dot(right, right)
    return F.when(squares > SMALLEST_SQUARED_NORM**2, _dot(left, right) / F.sqrt(squares))


def _dot(left: list[Column], right: list[Column]) -> Column:
    return sum((one * other for one, other in zip(left, right, strict=True)), start=F.lit(0.0))
