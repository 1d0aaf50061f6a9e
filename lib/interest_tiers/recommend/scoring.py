"""Run over users in batches: find candidates, compute features, score them and keep the best.

Candidates live inside a task. They are neither shuffled nor stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema

from interest_tiers.recommend.features import (
    FEATURES,
    Candidates,
    build_profiles,
    compute_features,
    find_candidates,
    score_items,
)
from interest_tiers.recommend.histories import RECENT, Histories, read_histories
from interest_tiers.recommend.item_table import ItemTable
from interest_tiers.recommend.knowledge import Knowledge
from interest_tiers.recommend.ranker import GROUPS, Ranker, group_of, score_without_model
from interest_tiers.recommend.selection import Selection, select_items
from interest_tiers.spark.worker import once_per_worker, task_resources

if TYPE_CHECKING:
    import xgboost

#: Numbers that hold the scores of one model for a slice of users.
NUMBERS_AT_ONCE = 2_000_000

_ARROW = pa.schema(
    [
        ("user_id", pa.string()), ("rank", pa.int64()), ("item_id", pa.string()), ("interest_id", pa.string()), ("score", pa.float64()),
        ("is_own", pa.bool_()), ("n_days", pa.int64()), ("last_age", pa.int64()), ("gap", pa.float64()), ("because_id", pa.string()),
        ("adopters", pa.int64()), ("main", pa.string()),
    ]
)  # fmt: skip
RANKED = from_arrow_schema(_ARROW)


@dataclass(frozen=True)
class Described:
    """A slice of users with their candidates.

    scored:   by model, (users, items)
    features: (candidates, FEATURES)
    item_ids: (candidates,)
    """

    histories: Histories
    scored: dict[str, np.ndarray]
    candidates: Candidates
    features: np.ndarray
    item_ids: np.ndarray


def describe_users(batches: Iterable[pa.RecordBatch], knowledge: Knowledge) -> Iterator[Described]:
    """Find and describe the candidates of users, slice by slice. batches: rows of histories.gather_histories."""
    users_at_once = max(1, NUMBERS_AT_ONCE // max(1, len(knowledge.table)))
    for batch in batches:
        for start in range(0, batch.num_rows, users_at_once):
            histories = read_histories(batch.slice(start, users_at_once))
            scored = score_items(build_profiles(histories, len(knowledge.table)), knowledge.co_use, knowledge.alike)
            candidates = find_candidates(histories, knowledge.table, scored)
            features = compute_features(histories, candidates, knowledge.table, scored)
            yield Described(histories, scored, candidates, features, _name_items(histories, candidates, knowledge.table))


def _name_items(histories: Histories, candidates: Candidates, table: ItemTable) -> np.ndarray:
    """Return the ids of the candidates' items, in a string type of numpy, by which they are sorted."""
    ids = table.ids[np.maximum(candidates.code, 0)].astype(object)
    is_own = candidates.pair >= 0
    ids[is_own] = histories.items[candidates.pair[is_own]]
    return ids.astype(str)


def recommend_items(histories: DataFrame, knowledge: Broadcast[Knowledge], ranker: Ranker | None, selection: Selection) -> DataFrame:
    """Recommend to every user the candidates with the highest scores.

    histories: see histories.gather_histories
    ranker:    None for the score without a model
    Returns:   (user_id, rank, item_id, interest_id, score, is_own, n_days, last_age, gap, because_id, adopters, main), a row per
               recommendation: days of use, days since the last one and their usual gap in days, null for new items; the own
               item that goes with a new one; users who began to use it in 28 days; the group of features that speaks for it most
    """

    def recommend(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = _load_once(ranker)
        for described in describe_users(batches, knowledge.value):
            yield _recommend_to(described, knowledge.value, scorer, selection)

    return histories.mapInArrow(recommend, RANKED)


@dataclass(frozen=True)
class Scorer:
    """Scores candidates by a model, or without one."""

    ranker: Ranker | None
    booster: xgboost.Booster | None

    def score(self, features: np.ndarray) -> np.ndarray:
        """Score rows of features."""
        if self.ranker is None or self.booster is None:
            return score_without_model(features)
        return self.booster.inplace_predict(self.ranker.select(features))

    def find_main(self, features: np.ndarray) -> list[str]:
        """Name for every row the group of features that speaks for it most; without a model, the part of the sum."""
        names = [name for name in GROUPS if name != "user"]
        if self.ranker is None or self.booster is None:
            return ["repeat" if row[0] > 0 else "co_use" if row[FEATURES.index("cosine_recent")] > 0 else "adoption" for row in features]
        import xgboost

        contributions = self.booster.predict(xgboost.DMatrix(self.ranker.select(features)), approx_contribs=True, pred_contribs=True)
        groups = [group_of(feature) for feature in self.ranker.features]
        sums = np.stack([contributions[:, :-1][:, [group == name for group in groups]].sum(axis=1) for name in names], axis=1)
        return [names[position] for position in sums.argmax(axis=1)]


def load_scorer(ranker: Ranker | None) -> Scorer:
    """Load a ranker on a worker, for the threads of its task; None for the score without a model."""
    _, threads = task_resources()
    return Scorer(ranker, None if ranker is None else ranker.load(threads))


@once_per_worker
def _load_once(ranker: Ranker | None) -> Scorer:
    return load_scorer(ranker)


def _recommend_to(described: Described, knowledge: Knowledge, scorer: Scorer, selection: Selection) -> pa.RecordBatch:
    """Select the recommendations of a slice of users, and describe them."""
    candidates, histories, table = described.candidates, described.histories, knowledge.table
    scores = scorer.score(described.features)
    chosen, rank = select_items(described.item_ids, candidates, scores, knowledge, selection)
    features, code, pair = described.features[chosen], candidates.code[chosen], candidates.pair[chosen]
    user, is_own = candidates.user[chosen], pair >= 0
    known = np.maximum(code, 0)
    interests = np.where(is_own, histories.interest_ids[np.maximum(pair, 0)], table.interests[table.interest[known]])
    adopters = features[:, FEATURES.index("item_adopters_28d")] * max(1, table.n_active)

    def of_own(name: str) -> pa.Array:
        values = features[:, FEATURES.index(name)]
        return pa.array(values, mask=~is_own | np.isnan(values))

    columns = [
        histories.users[user], rank, described.item_ids[chosen], interests,
        scores[chosen].astype(np.float64), is_own, of_own("own_days").cast(pa.int64()), of_own("own_recency").cast(pa.int64()),
        of_own("own_gap").cast(pa.float64()), _find_causes(histories, knowledge, user, code, is_own),
        pa.array(np.rint(np.nan_to_num(adopters)).astype(np.int64)), scorer.find_main(features),
    ]  # fmt: skip
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type) for column, field in zip(columns, _ARROW, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_ARROW)


def _find_causes(
    histories: Histories, knowledge: Knowledge, user: np.ndarray, code: np.ndarray, is_own: np.ndarray
) -> Sequence[str | None]:
    """Find for every new item the own item that it goes with most; None where there is none."""
    causes: list[str | None] = [None] * len(user)
    is_new = np.flatnonzero(~is_own)
    for one in np.unique(user[is_new]):
        rows = is_new[user[is_new] == one]
        pairs = np.arange(histories.starts[one], histories.starts[one + 1])
        pairs = pairs[histories.is_had[pairs] & (histories.code[pairs] >= 0)]
        weights = knowledge.co_use.cosine[histories.code[pairs]][:, code[rows]].toarray()
        strength = weights * histories.decayed[pairs, RECENT][:, None]
        for position, row in enumerate(rows):
            if len(pairs) and strength[:, position].max() > 0:
                causes[row] = histories.items[pairs[strength[:, position].argmax()]]
    return causes
