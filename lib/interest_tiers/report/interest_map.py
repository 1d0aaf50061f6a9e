"""A map of interests by the meaning of their items' texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from sklearn.decomposition import PCA

#: Interests on the map, those with the most users first, and the terms named of each.
MAP_INTERESTS_LIMIT, TERMS_LIMIT = 400, 6


@dataclass(frozen=True)
class InterestPoint:
    """An interest on the map, x and y from 0 to 1."""

    name: str
    x: float
    y: float
    n_users: int
    n_items: int
    terms: tuple[str, ...]


def map_interests(interests: DataFrame) -> tuple[InterestPoint, ...]:
    """Project the embeddings of interests on two principal components; empty with fewer than three.

    interests: (name, n_users, n_items, top_terms array<string>, embedding array<float> or null)
    """
    if "embedding" not in interests.columns:
        return ()
    most = interests.where("embedding IS NOT NULL").orderBy(F.desc("n_users"), "interest_id").limit(MAP_INTERESTS_LIMIT)
    rows = most.select("name", "n_users", "n_items", "top_terms", "embedding").collect()
    if len(rows) < 3 or len(rows[0]["embedding"]) < 2:
        return ()
    flat = PCA(n_components=2, svd_solver="full").fit_transform(np.array([row["embedding"] for row in rows], dtype=np.float64))
    # Ranks spread a crowd in the middle and keep neighbours.
    places = (flat.argsort(axis=0).argsort(axis=0) + 0.5) / len(rows)
    mixed = 0.5 * places + 0.5 * (flat - flat.min(axis=0)) / np.maximum(np.ptp(flat, axis=0), 1e-12)
    return tuple(
        InterestPoint(row["name"], float(x), float(y), row["n_users"], row["n_items"], tuple(row["top_terms"][:TERMS_LIMIT]))
        for row, (x, y) in zip(rows, mixed, strict=True)
    )
