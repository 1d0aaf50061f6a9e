"""The lists that a back-test judges: those of our recommender, in every variant, and those of the baselines, in one pass over users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame

from interest_tiers.recommend.calibration import UserTiers, diverge
from interest_tiers.recommend.features import find_interests
from interest_tiers.recommend.histories import Histories
from interest_tiers.recommend.item_table import WINDOWS, ItemTable
from interest_tiers.recommend.knowledge import Knowledge
from interest_tiers.recommend.largest import find_largest
from interest_tiers.recommend.ranker import Ranker
from interest_tiers.recommend.scoring import NUMBERS_AT_ONCE, Described, Scorer, describe_users, load_scorer
from interest_tiers.recommend.selection import Selection, select_items
from interest_tiers.spark.worker import once_per_worker

#: distance: sum of 1 - cosine between the item's text and the texts of the n_above items above it that have one
#: divergence: of the tiers of the list down to this rank from the user's, see recommend.calibration; null without tiers
LISTS = """items string, model string, user_id string, item_id string, rank bigint, distance double, n_above bigint,
divergence double"""

#: Weights of popularity beside the own days of use; the best one differs between data sets, and both are shown.
POPULARITY_WEIGHTS = (0.5, 8)

#: Breaks ties of own use by popularity.
_TIES = 1e-6


@dataclass(frozen=True)
class Contender:
    """A variant of the recommender.

    items:  all or new
    ranker: None for the score without a model
    """

    items: str
    model: str
    ranker: Ranker | None
    selection: Selection


def list_items(gathered: DataFrame, knowledge: Broadcast[Knowledge], contenders: Sequence[Contender], k: int) -> DataFrame:
    """List items by every contender and every baseline.

    popularity:      by users
    adopters_14d:    by users who had the item for the first time in the last 14 days; new items only
    own_frequency:   by the user's interactions with the item; items of one's own only
    own_popularity_W: by the user's days with the item + W times the share of active users who had it in 28 days; of one's own
    ease, item_knn, rp3beta, pure_svd: see recommend.co_use

    gathered: see histories.gather_histories
    Returns:  LISTS, at most k rows per list; new items are those of the table
    """

    def list_all(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        known = knowledge.value
        scorers = _load_scorers(tuple({one.ranker for one in contenders}))
        for described in describe_users(batches, known):
            scores = {ranker: scorer.score(described.features) for ranker, scorer in scorers.items()}
            for one in contenders:
                yield _list_selected(one, described, scores[one.ranker], known)
            histories = described.histories
            is_own = _mark_own(histories, known.table)
            for model, kinds, values in _score_table(described, known.table, is_own):
                for items in kinds:
                    allowed = values > 0 if items == "all" else (values > 0) & ~is_own
                    yield list_best(
                        items, model, np.where(allowed, values, -np.inf), described.histories.users, known, k, described.histories.tiers
                    )
            for model, values in _score_own(histories, known.table):
                yield _list_own(model, values, histories, known, k)

    return gathered.mapInArrow(list_all, LISTS)


@once_per_worker
def _load_scorers(rankers: tuple[Ranker | None, ...]) -> dict[Ranker | None, Scorer]:
    return {ranker: load_scorer(ranker) for ranker in rankers}


def _list_selected(one: Contender, described: Described, scores: np.ndarray, knowledge: Knowledge) -> pa.RecordBatch:
    candidates, histories = described.candidates, described.histories
    chosen, rank = select_items(described.item_ids, candidates, scores, knowledge, one.selection)
    code, pair = candidates.code[chosen], candidates.pair[chosen]
    interest = find_interests(histories, knowledge.table, code, pair)
    listed = _Listed(one.items, one.model, candidates.user[chosen], described.item_ids[chosen], code, interest, rank - 1)
    return _as_batch(listed, histories.users, histories.tiers, knowledge)


def _mark_own(histories: Histories, table: ItemTable) -> np.ndarray:
    """Mark the items that users touched, (users, items)."""
    is_own = np.zeros((histories.n_users, len(table)), dtype=bool)
    known = histories.code >= 0
    is_own[histories.user[known], histories.code[known]] = True
    return is_own


def _score_table(described: Described, table: ItemTable, is_own: np.ndarray) -> Iterator[tuple[str, tuple[str, ...], np.ndarray]]:
    """Yield every baseline that scores the table, the lists that it makes, and its scores (users, items)."""
    both = ("all", "new")
    everyone = np.ones((described.histories.n_users, 1))
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


def _list_own(model: str, scores: np.ndarray, histories: Histories, knowledge: Knowledge, k: int) -> pa.RecordBatch:
    """List the k own items with the highest scores of every user, ties by more recent evidence."""
    had = np.flatnonzero(histories.is_had)
    order = had[np.lexsort((had, -scores[had], histories.user[had]))]
    place = np.arange(len(order)) - np.searchsorted(histories.user[order], histories.user[order])
    order, place = order[place < k], place[place < k]
    user, code = histories.user[order], histories.code[order]
    listed = _Listed("all", model, user, histories.items[order], code, histories.interest[order], place)
    return _as_batch(listed, histories.users, histories.tiers, knowledge)


def list_best(
    items: str, model: str, scores: np.ndarray, users: np.ndarray, knowledge: Knowledge, k: int, tiers: UserTiers | None = None
) -> pa.RecordBatch:
    """List the k items with the highest scores of every user, ties by position; those with -inf are left out.

    scores: (users, items)
    users:  (users,), ids
    """
    user, code = find_largest(scores, min(k, scores.shape[1]), above=-np.inf)
    code = code[np.lexsort((code, -scores[user, code], user))]
    place = np.arange(len(user)) - np.searchsorted(user, user)
    listed = _Listed(items, model, user, knowledge.table.ids[code], code, knowledge.table.interest[code], place)
    return _as_batch(listed, users, tiers, knowledge)


@dataclass(frozen=True)
class _Listed:
    """Rows of one model's lists.

    user:     positions of users
    code:     -1 for items that the table leaves out
    interest: -1 for those that the table does not have
    place:    from 0
    """

    items: str
    model: str
    user: np.ndarray
    item_ids: np.ndarray
    code: np.ndarray
    interest: np.ndarray
    place: np.ndarray


def _as_batch(listed: _Listed, users: np.ndarray, tiers: UserTiers | None, knowledge: Knowledge) -> pa.RecordBatch:
    """Return rows of LISTS."""
    user, place = listed.user, listed.place
    distance, n_above = _measure_distance(user, listed.code, place, knowledge.texts)
    divergence = pa.nulls(len(user), pa.float64()) if tiers is None else pa.array(_measure_divergence(listed, tiers))
    columns = [
        pa.array([listed.items] * len(user), pa.string()), pa.array([listed.model] * len(user), pa.string()),
        pa.array(users[user], pa.string()), pa.array(listed.item_ids, pa.string()), pa.array(place + 1, pa.int64()),
        pa.array(distance, pa.float64()), pa.array(n_above, pa.int64()), divergence,
    ]  # fmt: skip
    names = ["items", "model", "user_id", "item_id", "rank", "distance", "n_above", "divergence"]
    return pa.RecordBatch.from_arrays(columns, names=names)


def _measure_divergence(listed: _Listed, tiers: UserTiers) -> np.ndarray:
    """Measure how far the tiers of every list down to a row are from those of its user; see LISTS."""
    order = np.lexsort((listed.place, listed.user))
    of_items = tiers.of(listed.user[order], listed.interest[order])
    total = np.vstack([np.zeros(3), of_items.cumsum(axis=0)])
    place = listed.place[order]
    so_far = total[1:] - total[np.arange(len(order)) - place]
    divergence = np.empty(len(order))
    divergence[order] = diverge(tiers.target[listed.user[order]], so_far / (place + 1)[:, None])
    return divergence


def _measure_distance(user: np.ndarray, code: np.ndarray, place: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum how far the text of every row is from those above it in its list, and count them; see LISTS."""
    if not len(user):
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    codes = np.full((user.max() + 1, place.max() + 1), -1)
    codes[user, place] = code
    distance, n_above = np.zeros(codes.shape), np.zeros(codes.shape, dtype=np.int64)
    users_at_once = max(1, NUMBERS_AT_ONCE // (codes.shape[1] * texts.shape[1]))
    for start in range(0, len(codes), users_at_once):
        part = slice(start, start + users_at_once)
        vectors = np.where(codes[part, :, None] >= 0, texts[codes[part]], 0)
        is_known = np.einsum("upd,upd->up", vectors, vectors) > 0
        above = np.tril(is_known[:, :, None] & is_known[:, None, :], -1)
        distance[part] = ((1 - vectors @ vectors.transpose(0, 2, 1)) * above).sum(axis=2)
        n_above[part] = above.sum(axis=2)
    return distance[user, place], n_above[user, place]
