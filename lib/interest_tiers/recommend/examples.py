"""Make the examples that the ranker learns from: candidates at a past cutoff, and whether the horizon used them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from pandas.util import hash_array
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema

from interest_tiers.recommend.knowledge import Knowledge
from interest_tiers.recommend.pair_keys import make_keys
from interest_tiers.recommend.scoring import Described, describe_users

#: Share of the new candidates without a use that is kept; each then weighs 1 / NEW_NEGATIVES.
NEW_NEGATIVES = 0.35

#: Days before the latest training cutoff of the second one, and the history that it needs.
EARLIER, HISTORY_NEEDED = timedelta(days=28), timedelta(days=120)

#: Days of history without which nothing is learned.
LEAST_HISTORY = timedelta(days=28)

EXAMPLE_ARROW = pa.schema(
    [("features", pa.list_(pa.float32())), ("label", pa.float32()), ("weight", pa.float32()), ("is_own", pa.bool_()), ("key", pa.int64())]
)
EXAMPLE = from_arrow_schema(EXAMPLE_ARROW)


def list_cutoffs(day: date, horizon_days: int, first_day: date) -> list[date]:
    """List the cutoffs whose horizon ends by a day, the latest first: none, one, or a second one where history allows.

    first_day: of the data
    """
    latest = day - timedelta(days=horizon_days)
    if latest - first_day < LEAST_HISTORY:
        return []
    return [latest, latest - EARLIER] if latest - EARLIER - first_day >= HISTORY_NEEDED else [latest]


def make_examples(histories: DataFrame, knowledge: Broadcast[Knowledge]) -> DataFrame:
    """Describe the candidates of users at a past cutoff, and label them.

    The candidates are those that would have been ranked on that day, own and new: a rule that kept used items alone beyond
    a bound would tell the label. Of the new ones that were not used, a share is kept by a hash of user and item.

    histories: see histories.gather_histories, with the future
    Returns:   (features array<float>, label, weight, is_own, key), key a hash of user and item
    """

    def make(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for described in describe_users(batches, knowledge.value):
            yield _label(described)

    return histories.mapInArrow(make, EXAMPLE)


def _label(described: Described) -> pa.RecordBatch:
    candidates, histories = described.candidates, described.histories
    assert histories.wanted is not None and histories.wanted_new is not None  # gathered with the future
    is_own = candidates.pair >= 0
    labels = np.zeros(len(is_own), dtype=np.float32)
    labels[is_own] = histories.wanted[candidates.pair[is_own]]
    wanted = [make_keys(np.full(len(codes), user), codes) for user, codes in enumerate(histories.wanted_new)]
    labels[~is_own] = np.isin(make_keys(candidates.user[~is_own], candidates.code[~is_own]), np.concatenate(wanted))
    key = _hash(histories.users)[candidates.user] ^ _mix(_hash(described.item_ids))
    kept = is_own | (labels > 0) | ((key >> np.uint64(40)).astype(np.float64) / 2**24 < NEW_NEGATIVES)
    weights = np.where(is_own | (labels > 0), 1.0, 1 / NEW_NEGATIVES).astype(np.float32)
    features = described.features[kept]
    lists = pa.ListArray.from_arrays(
        pa.array(np.arange(len(features) + 1, dtype=np.int32) * features.shape[1]), pa.array(features.ravel(), pa.float32())
    )
    arrays = [lists, pa.array(labels[kept]), pa.array(weights[kept]), pa.array(is_own[kept]), pa.array(key[kept].view(np.int64))]
    return pa.RecordBatch.from_arrays(arrays, schema=EXAMPLE_ARROW)


def _hash(ids: np.ndarray) -> np.ndarray:
    """Hash ids, the same in every process."""
    known, position = np.unique(ids.astype(object), return_inverse=True)
    return hash_array(known, categorize=False)[position]


def _mix(hashed: np.ndarray) -> np.ndarray:
    """Spread the bits of a hash, so that the same id as user and as item does not cancel out (the finaliser of SplitMix64)."""
    mixed = (hashed ^ (hashed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
