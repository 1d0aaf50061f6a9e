"""What is known of items before a cutoff: their counts, which ones go together, and which ones have texts alike.

It is of bounded size, whatever the number of users and items: the driver computes it, and every worker holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from interest_tiers.clustering.kmeans import scale_to_unit_length
from interest_tiers.recommend.co_use import CoUse, relate_recent_items
from interest_tiers.recommend.histories import LONG
from interest_tiers.recommend.item_table import ItemTable, collect_items
from interest_tiers.recommend.item_use import count_active_days, find_widely_used, summarise_use
from interest_tiers.recommend.largest import keep_largest, keep_largest_stored
from interest_tiers.spark.materialise import Materialise
from interest_tiers.spark.sampling import sample_by_hash

#: Pairs of users and items that co-use is learned from, of users sampled by hash: 12 bytes each on the driver.
SAMPLED_PAIRS = 20_000_000

#: Items of a user that co-use is learned from, those with the most evidence.
ITEMS_PER_USER = 1_000

#: Items with the most similar texts.
TEXT_NEIGHBOURS = 30

#: Similarity of texts is taken to this power, so that few neighbours count.
SHARPNESS = 4


@dataclass(frozen=True)
class Knowledge:
    """What workers need to find and describe candidates.

    alike: (items, items) sparse, similarity of the texts of an item's TEXT_NEIGHBOURS to the power SHARPNESS
    texts: (items, width) float32, unit vectors of the items' texts, 0 where an item has none
    text_groups: (items,) int32, the same for items with the same text, -1 for an item without one
    """

    table: ItemTable
    co_use: CoUse
    alike: sp.csr_matrix
    texts: np.ndarray
    text_groups: np.ndarray


@dataclass(frozen=True)
class Use:
    """What users did before a cutoff.

    used:   see item_use.summarise_use
    active: see item_use.count_active_days
    """

    used: DataFrame
    active: DataFrame


def sum_use(days: DataFrame, cutoff: date, materialise: Materialise, min_item_users: int = 1) -> Use:
    """Sum up the days before a cutoff. Items that fewer than min_item_users users have had are left out.

    days: (user_id, interest_id, item_id, event_date, weight, n_interactions), which may go beyond the cutoff
    """
    before = days.where(F.col("event_date") < F.lit(cutoff))
    used = summarise_use(before, cutoff)
    if min_item_users > 1:
        used = materialise("all_used", used)
        used = used.join(find_widely_used(used.where("is_had"), min_item_users), "item_id", "left_semi")
    return Use(materialise("used", used), materialise("active", count_active_days(before, cutoff)))


def learn_items(use: Use, vectors: DataFrame, max_items: int) -> Knowledge | None:
    """Learn what is known of items from the users before a cutoff; None where nobody has had any.

    vectors: (item_id, text_hash, embedding), of items with a text; embedding null where it says nothing to the model
    """
    counts = use.active.agg(F.count(F.when(F.col("active_days_91d") > 0, 1)).alias("active")).first()
    assert counts is not None  # an aggregate without keys has one row
    table = collect_items(use.used, counts["active"], max_items)
    if not len(table):
        return None
    codes, _ = code_items(use.used.sparkSession, table)
    co_use = relate_recent_items(_sample_users(use.used, table, codes), table.recent_use)
    texts, text_groups = _collect_vectors(vectors, table, codes)
    return Knowledge(table, co_use, find_alike_texts(texts, text_groups), texts, text_groups)


def code_items(spark: SparkSession, table: ItemTable) -> tuple[DataFrame, DataFrame]:
    """Return the positions of items and interests in the table as frames: (item_id, code int) and (interest_id, interest int)."""
    items = pd.DataFrame({"item_id": table.ids, "code": np.arange(len(table), dtype=np.int32)})
    interests = pd.DataFrame({"interest_id": table.interests, "interest": np.arange(len(table.interests), dtype=np.int32)})
    return (
        spark.createDataFrame(items, "item_id string, code int"),
        spark.createDataFrame(interests, "interest_id string, interest int"),
    )


def _sample_users(used: DataFrame, table: ItemTable, codes: DataFrame) -> sp.csr_matrix:
    """Collect what users sampled by hash had of the table's items: log(1 + days), (users, items). codes: see code_items."""
    had = used.where("is_had").join(F.broadcast(codes), "item_id")
    n_pairs = int(table.counts.users.sum())
    sampled = sample_by_hash(had, "user_id", SAMPLED_PAIRS, n_pairs)
    rows = (
        keep_strongest(sampled).select(F.xxhash64("user_id").alias("user"), "code", F.col("n_days").cast("int").alias("n_days")).toPandas()
    )
    users, position = np.unique(rows["user"].to_numpy(), return_inverse=True)
    where = position, rows["code"].to_numpy()
    days = sp.csr_matrix((np.log1p(rows["n_days"].to_numpy(dtype=np.float32)), where), shape=(len(users), len(table)))
    days.sort_indices()  # rows come in any order, and sums of float32 should not follow it
    return days


def keep_strongest(had: DataFrame) -> DataFrame:
    """Keep the ITEMS_PER_USER items of every user with the most evidence. had: see item_use.summarise_use"""
    strongest = Window.partitionBy("user_id").orderBy(F.desc(f"evidence_{LONG}d"), "item_id")
    return had.withColumn("place", F.row_number().over(strongest)).where(F.col("place") <= ITEMS_PER_USER)


def _collect_vectors(vectors: DataFrame, table: ItemTable, codes: DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Collect the texts' unit vectors, and which texts are the same. codes: see code_items."""
    rows = vectors.join(F.broadcast(codes), "item_id").select("code", F.xxhash64("text_hash").alias("text"), "embedding").toPandas()
    groups = np.full(len(table), -1, dtype=np.int32)
    groups[rows["code"].to_numpy()] = np.unique(rows["text"].to_numpy(), return_inverse=True)[1]
    known = rows[rows["embedding"].notna()]
    if known.empty:
        return np.zeros((len(table), 1), dtype=np.float32), groups
    given = np.stack(list(known["embedding"])).astype(np.float32)
    texts = np.zeros((len(table), given.shape[1]), dtype=np.float32)
    texts[known["code"].to_numpy()] = scale_to_unit_length(given)
    return texts, groups


def find_alike_texts(texts: np.ndarray, text_groups: np.ndarray) -> sp.csr_matrix:
    """Find for every item the TEXT_NEIGHBOURS items whose texts are nearest by cosine, see Knowledge.alike.

    Texts are compared, and not items: a catalogue says the same of many items.
    texts, text_groups: see Knowledge
    """
    _, first, text = np.unique(text_groups, return_index=True, return_inverse=True)
    vectors = texts[first]

    def compare(rows: slice) -> np.ndarray:
        return np.maximum(vectors[rows] @ vectors.T, 0)

    itself = sp.diags((np.einsum("td,td->t", vectors, vectors) > 0).astype(np.float32))
    nearest = keep_largest(compare, len(vectors), TEXT_NEIGHBOURS) + itself
    # No item needs more items of one text: as many as neighbours, and itself.
    place = pd.Series(text).groupby(text).cumcount().to_numpy()
    items = np.flatnonzero(place <= TEXT_NEIGHBOURS)
    members = sp.csr_matrix((np.ones(len(items), dtype=np.float32), (text[items], items)), shape=(len(vectors), len(texts)))
    of_texts = keep_largest_stored(nearest @ members, TEXT_NEIGHBOURS + 1)
    of_items = of_texts[text].tocoo()
    is_other = of_items.row != of_items.col
    others = sp.csr_matrix((of_items.data[is_other], (of_items.row[is_other], of_items.col[is_other])), shape=of_items.shape)
    alike = keep_largest_stored(others, TEXT_NEIGHBOURS)
    alike.data **= SHARPNESS
    return alike
