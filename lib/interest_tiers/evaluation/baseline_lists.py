"""Lists of traditional recommenders, which ours has to beat. All are made in one pass over the judged users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame

from interest_tiers.recommend.histories import Histories
from interest_tiers.recommend.item_table import WINDOWS, ItemTable
from interest_tiers.recommend.knowledge import Knowledge
from interest_tiers.recommend.scoring import Described, describe_users

LISTS = "items string, model string, user_id string, item_id string, rank bigint"

#: Weights of popularity beside the own days of use; the best one differs between data sets, and both are shown.
POPULARITY_WEIGHTS = (0.5, 8)

#: Breaks ties of own use by popularity.
_TIES = 1e-6


def rank_by_baselines(histories: DataFrame, knowledge: Broadcast[Knowledge], k: int) -> DataFrame:
    """Rank items by every baseline.

    popularity:      by users
    adopters_14d:    by users who had the item for the first time in the last 14 days; new items only
    own_frequency:   by the user's interactions with the item; items of one's own only
    own_popularity_W: by the user's days with the item + W times the share of active users who had it in 28 days; of one's own
    ease, item_knn, rp3beta, pure_svd: see co_use

    histories: see histories.gather_histories
    Returns:   (items all or new, model, user_id, item_id, rank), at most k rows per list; new items are those of the table
    """

    def rank(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        table = knowledge.value.table
        for described in describe_users(batches, knowledge.value):
            is_own = _mark_own(described.histories, table)
            for model, kinds, scores in _score(described, table, is_own):
                for items in kinds:
                    allowed = scores > 0 if items == "all" else (scores > 0) & ~is_own
                    yield list_best(items, model, np.where(allowed, scores, -np.inf), described.histories.users, table, k)
            for model, scores in _score_own(described.histories, table):
                yield _list_own(model, scores, described.histories, k)

    return histories.mapInArrow(rank, LISTS)


def _mark_own(histories: Histories, table: ItemTable) -> np.ndarray:
    """Mark the items that users touched, (users, items)."""
    is_own = np.zeros((histories.n_users, len(table)), dtype=bool)
    known = histories.code >= 0
    is_own[histories.user[known], histories.code[known]] = True
    return is_own


def _score(described: Described, table: ItemTable, is_own: np.ndarray) -> Iterator[tuple[str, tuple[str, ...], np.ndarray]]:
    """Yield every model, the lists that it makes, and its scores (users, items)."""
    histories, both = described.histories, ("all", "new")
    everyone = np.ones((histories.n_users, 1))
    yield "popularity", both, everyone * table.counts.users
    yield "adopters_14d", ("new",), everyone * table.counts.adopters_in[WINDOWS.index(14)]
    for model, name in (("ease", "ease"), ("item_knn", "cosine_recent"), ("rp3beta", "rp3_recent"), ("pure_svd", "factors")):
        yield model, both, described.scored[name]


def _score_own(histories: Histories, table: ItemTable) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the baselines of own items, and their scores (pairs,)."""
    users = np.append(table.counts.users, 0)[histories.code]
    yield "own_frequency", histories.n_interactions + _TIES * users
    for weight in POPULARITY_WEIGHTS:
        yield f"own_popularity_{weight:g}", histories.n_days + weight * table.share_28d[histories.code]


def _list_own(model: str, scores: np.ndarray, histories: Histories, k: int) -> pa.RecordBatch:
    """List the k own items with the highest scores of every user, ties by more recent evidence."""
    had = np.flatnonzero(histories.is_had)
    order = had[np.lexsort((had, -scores[had], histories.user[had]))]
    place = np.arange(len(order)) - np.searchsorted(histories.user[order], histories.user[order])
    return _as_batch("all", model, histories.users[histories.user[order][place < k]], histories.items[order][place < k], place[place < k])


def list_best(items: str, model: str, scores: np.ndarray, users: np.ndarray, table: ItemTable, k: int) -> pa.RecordBatch:
    """List the k items with the highest scores of every user, ties by position; those with -inf are left out."""
    kept = min(k, scores.shape[1])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
    values = np.take_along_axis(scores, order, 1)
    user, place = np.nonzero(values > -np.inf)
    return _as_batch(items, model, users[user], table.ids[order[user, place]], place)


def _as_batch(items: str, model: str, user_ids: np.ndarray, item_ids: np.ndarray, place: np.ndarray) -> pa.RecordBatch:
    columns = [
        pa.array([items] * len(user_ids), pa.string()), pa.array([model] * len(user_ids), pa.string()),
        pa.array(user_ids, pa.string()), pa.array(item_ids, pa.string()), pa.array(place + 1, pa.int64()),
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(columns, names=["items", "model", "user_id", "item_id", "rank"])
