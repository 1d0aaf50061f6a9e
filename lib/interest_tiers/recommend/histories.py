"""What a batch of users did with items before a cutoff, as arrays that a worker computes on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from interest_tiers.recommend.calibration import UserTiers, read_tiers

#: Half-lives of evidence, in days. The longest one orders a user's items.
HALF_LIVES = (15, 60, 120)
LONG = HALF_LIVES[-1]

#: Position of the half-life by which profiles are recent.
RECENT = HALF_LIVES.index(60)

#: Items of a user that are looked at, those with the most evidence.
ITEMS_PER_USER = 5_000

#: What a row holds of every pair, in the order of evidence.
_OF_PAIR = (
    "item_id", "interest_id", "code", "interest", "is_had", "n_days", "n_interactions", "first_age", "last_age", "days_28d", "days_91d",
    *(f"evidence_{half_life}d" for half_life in HALF_LIVES),
)  # fmt: skip
_OF_USER = ("active_days", "active_days_28d", "active_days_91d")


@dataclass(frozen=True)
class Histories:
    """The items of some users; pairs of one user stand together, those with the most evidence first.

    users:    (users,), ids
    items, interest_ids: (pairs,), ids
    starts:   (users + 1,), where the pairs of a user begin
    user:     (pairs,), position of the user
    code:     (pairs,) int32, position of the item in ItemTable, -1 for an item that the table leaves out
    interest: (pairs,) int32, position of the item's interest in ItemTable, -1 for one without an item there
    is_had:   (pairs,) bool, whether there is evidence of it; without it the item excludes itself and says nothing else
    n_days, n_interactions, first_age, last_age, days28, days91: (pairs,) float32; ages in days before the cutoff
    decayed:  (pairs, HALF_LIVES) float32, evidence by half-life
    active:   (users, 3) float32, days with an interaction: all, of the last 28 and of the last 91 days
    wanted, wanted_new: whether the user used the item in the horizon, (pairs,) bool; and by user the positions of the new items
              used in it. Both only where a ranker is trained
    tiers:    of the users' interests; None where lists do not follow them
    """

    users: np.ndarray
    items: np.ndarray
    interest_ids: np.ndarray
    starts: np.ndarray
    user: np.ndarray
    code: np.ndarray
    interest: np.ndarray
    is_had: np.ndarray
    n_days: np.ndarray
    n_interactions: np.ndarray
    first_age: np.ndarray
    last_age: np.ndarray
    days28: np.ndarray
    days91: np.ndarray
    decayed: np.ndarray
    active: np.ndarray
    wanted: np.ndarray | None = None
    wanted_new: list[np.ndarray] | None = None
    tiers: UserTiers | None = None

    @property
    def n_users(self) -> int:
        return len(self.starts) - 1


def gather_histories(
    used: DataFrame,
    active: DataFrame,
    codes: DataFrame,
    interests: DataFrame,
    future: DataFrame | None = None,
    tiers: DataFrame | None = None,
) -> DataFrame:
    """Gather one row per user, with arrays of at most ITEMS_PER_USER items.

    used:      see item_use.summarise_use
    active:    see item_use.count_active_days
    codes:     (item_id, code int), the items of ItemTable
    interests: (interest_id, interest int), the interests of ItemTable
    future:    (user_id, item_id), what users used in the horizon; None where nothing is learned from it
    tiers:     see calibration.gather_tiers; None where lists do not follow tiers
    Returns:   (user_id, active_days, active_days_28d, active_days_91d, pairs array<struct>), with the future wanted_new array<int>,
               with tiers theirs; read by read_histories
    """
    strongest = Window.partitionBy("user_id").orderBy(F.desc(f"evidence_{LONG}d"), "item_id")
    coded = used.join(F.broadcast(codes), "item_id", "left").join(F.broadcast(interests), "interest_id", "left")
    coded = coded.withColumns({"code": F.coalesce("code", F.lit(-1)), "interest": F.coalesce("interest", F.lit(-1))})
    of_pair = list(_OF_PAIR)
    if future is not None:
        coded = coded.join(future.withColumn("is_wanted", F.lit(True)), ["user_id", "item_id"], "left").fillna(False, ["is_wanted"])
        of_pair.append("is_wanted")
    placed = coded.withColumn("place", F.row_number().over(strongest)).where(F.col("place") <= ITEMS_PER_USER)
    gathered = placed.groupBy("user_id").agg(F.array_sort(F.collect_list(F.struct("place", *of_pair))).alias("pairs"))
    rows = gathered.join(active, "user_id")
    if tiers is not None:
        rows = rows.join(tiers, "user_id", "left")
    if future is None:
        return rows
    new = future.join(F.broadcast(codes), "item_id").join(used.select("user_id", "item_id"), ["user_id", "item_id"], "left_anti")
    positions = new.groupBy("user_id").agg(F.array_sort(F.collect_list("code")).alias("wanted_new"))
    return rows.join(positions, "user_id", "left").withColumn("wanted_new", F.coalesce("wanted_new", F.array().cast("array<int>")))


def read_histories(batch: pa.RecordBatch) -> Histories:
    """Read rows of gather_histories."""
    lists = batch.column(batch.schema.get_field_index("pairs"))
    pairs = lists.flatten()

    def column(name: str) -> np.ndarray:
        return pairs.field(name).to_numpy(zero_copy_only=False)

    def numbers(name: str) -> np.ndarray:
        return column(name).astype(np.float32)

    lengths = lists.value_lengths().to_numpy()
    starts = np.concatenate([[0], lengths.cumsum()])
    active = [batch.column(batch.schema.get_field_index(name)).to_numpy().astype(np.float32) for name in _OF_USER]
    wanted = wanted_new = None
    if "wanted_new" in batch.schema.names:
        positions = batch.column(batch.schema.get_field_index("wanted_new"))
        wanted = column("is_wanted").astype(bool)
        wanted_new = [np.asarray(of_user, dtype=np.int64) for of_user in positions.to_pylist()]
    tiers = None
    if "tiers" in batch.schema.names:
        tiers = read_tiers(*(batch.column(batch.schema.get_field_index(name)) for name in ("tiers", "target")))
    return Histories(
        users=batch.column(batch.schema.get_field_index("user_id")).to_numpy(zero_copy_only=False),
        items=column("item_id"), interest_ids=column("interest_id"), starts=starts, user=np.repeat(np.arange(len(lengths)), lengths),
        code=column("code").astype(np.int32), interest=column("interest").astype(np.int32), is_had=column("is_had").astype(bool),
        n_days=numbers("n_days"), n_interactions=numbers("n_interactions"), first_age=numbers("first_age"), last_age=numbers("last_age"),
        days28=numbers("days_28d"), days91=numbers("days_91d"),
        decayed=np.stack([numbers(f"evidence_{half_life}d") for half_life in HALF_LIVES], axis=1),
        active=np.stack(active, axis=1), wanted=wanted, wanted_new=wanted_new, tiers=tiers,
    )  # fmt: skip
