"""A fitted clustering, frozen between refits: the space of the vectors, the centroids, and the ids of the clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import date
from typing import Any

import numpy as np

from interest_tiers.clustering.blocks import Block
from interest_tiers.clustering.identity import Change
from interest_tiers.clustering.space import Space
from interest_tiers.clustering.texts import Reading
from interest_tiers.clustering.trials import Trial

#: One array of a model: the part that it belongs to, the id of its row, and the row.
Part = tuple[str, str, list[float]]


@dataclass(frozen=True)
class ClusterModel:
    """Hold what a later day needs to give a user the same cluster.

    version:       fitted_as_of and a fingerprint of the settings and the data
    settings:      fingerprint of the settings; other settings need another model
    space:         None where no user differs from another: all are at one point
    topics:        (interests, width), embeddings of the space's interests where ids change from day to day; else None
    centroids:     float32 (clusters, components), each of L2 norm 1
    sizes:         users of every cluster at the fit
    mean_distance: of users to the centroid of their primary cluster, at the fit
    last_number:   the largest number that a cluster has had
    trials:        of every k that the fit tried
    changes:       what the fit did to the clusters of the model before it; empty for the first
    """

    version: str
    fitted_as_of: date
    settings: str
    space: Space | None
    topics: np.ndarray | None
    centroids: np.ndarray
    cluster_ids: tuple[str, ...]
    sizes: tuple[int, ...]
    mean_distance: float
    last_number: int
    trials: tuple[Trial, ...] = ()
    changes: tuple[Change, ...] = ()

    def as_row(self) -> tuple[Any, ...]:
        """Return a row of the table cluster_models."""
        parts = [*_list_parts(self.space, self.topics), *_rows("centroids", self.cluster_ids, self.centroids)]
        return (
            self.version,
            self.fitted_as_of,
            self.settings,
            len(self.cluster_ids),
            list(self.cluster_ids),
            [int(size) for size in self.sizes],
            float(self.mean_distance),
            self.last_number,
            [astuple(trial) for trial in self.trials],
            [astuple(change) for change in self.changes],
            parts,
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> ClusterModel:
        """Read a row of the table cluster_models."""
        parts: dict[str, list[tuple[str, Sequence[float]]]] = {}
        for part, key, values in row["parts"]:
            parts.setdefault(part, []).append((key, values))
        return cls(
            row["model_version"],
            row["fitted_as_of"],
            row["settings"],
            _read_space(parts),
            _matrix(parts, "topics") if "topics" in parts else None,
            _matrix(parts, "centroids").astype(np.float32),
            tuple(row["cluster_ids"]),
            tuple(row["sizes"]),
            row["mean_distance"],
            row["last_number"],
            tuple(Trial(*trial) for trial in row["trials"]),
            tuple(Change(*change) for change in row["changes"]),
        )


def _list_parts(space: Space | None, topics: np.ndarray | None) -> Iterator[Part]:
    if space is None:
        return
    columns = {"interests": space.interests, "items": space.items}
    for block in space.blocks:
        ids = columns.get(block.name, tuple(str(i) for i in range(len(block.loadings))))
        yield "offsets", block.name, [float(block.offset)]
        yield from _rows(block.name, ids, block.loadings)
    for name in ("means", "scales", "variances"):
        yield name, "", getattr(space, name).tolist()
    yield from _rows("rotation", [str(i) for i in range(len(space.rotation))], space.rotation)
    if space.reading is not None:
        yield "text_mean", "", space.reading.mean.tolist()
        yield from _rows("text_directions", [str(i) for i in range(len(space.reading.mean))], space.reading.directions)
    if topics is not None:
        yield from _rows("topics", space.interests, topics)


def _read_space(parts: Mapping[str, Sequence[tuple[str, Sequence[float]]]]) -> Space | None:
    if "rotation" not in parts:
        return None
    blocks = tuple(Block(name, _matrix(parts, name), offset[0]) for name, offset in parts["offsets"])
    interests, items = (tuple(key for key, _ in parts.get(name, ())) for name in ("interests", "items"))
    reading = Reading(_matrix(parts, "text_mean")[0], _matrix(parts, "text_directions")) if "text_mean" in parts else None
    means, scales, variances = (_matrix(parts, name)[0] for name in ("means", "scales", "variances"))
    return Space(interests, items, reading, blocks, means, scales, _matrix(parts, "rotation"), variances)


def _rows(part: str, ids: Sequence[str], values: np.ndarray) -> Iterator[Part]:
    yield from ((part, key, row) for key, row in zip(ids, values.astype(float).tolist(), strict=True))


def _matrix(parts: Mapping[str, Sequence[tuple[str, Sequence[float]]]], name: str) -> np.ndarray:
    return np.array([values for _, values in parts[name]], dtype=np.float64)
