"""Recommendations as of a cutoff: what is known of items, users' histories, and the lists of a ranker."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark import Broadcast
from pyspark.sql import DataFrame

from interest_tiers.config import Recommend
from interest_tiers.recommend.calibration import gather_tiers
from interest_tiers.recommend.histories import gather_histories
from interest_tiers.recommend.knowledge import Knowledge, Use, code_items, learn_items
from interest_tiers.recommend.ranker import Ranker
from interest_tiers.recommend.scoring import RANKED, recommend_items
from interest_tiers.recommend.selection import Selection


@dataclass(frozen=True)
class TierFrames:
    """The interests of users and their tiers, see calibration.gather_tiers."""

    pairs: DataFrame
    tiers: DataFrame


@dataclass(frozen=True)
class ReadyToRank:
    """What lists are made from.

    histories: see histories.gather_histories
    knowledge: None where nobody has had any item
    """

    histories: DataFrame
    knowledge: Broadcast[Knowledge] | None


def prepare_ranking(
    use: Use,
    vectors: DataFrame,
    config: Recommend,
    users: DataFrame | None = None,
    future: DataFrame | None = None,
    tiers: TierFrames | None = None,
) -> ReadyToRank:
    """Learn what is known of items, and gather what users did with them.

    use:     see knowledge.sum_use
    vectors: see knowledge.learn_items
    users:   (user_id), those whose histories are wanted; None for all
    future:  (user_id, item_id), what users used in the horizon; None where nothing is learned from it
    tiers:   what lists are calibrated to; None where they are not
    """
    spark = use.used.sparkSession
    knowledge = learn_items(use, vectors, config.max_items)
    if knowledge is None:
        return ReadyToRank(use.used, None)
    codes, interests = code_items(spark, knowledge.table)
    used = use.used
    if users is not None:
        used = used.join(users, "user_id", "left_semi")
        future = None if future is None else future.join(users, "user_id", "left_semi")
    of_users = None if tiers is None else gather_tiers(tiers.pairs, tiers.tiers, interests)
    histories = gather_histories(used, use.active, codes, interests, future, of_users)
    return ReadyToRank(histories, spark.sparkContext.broadcast(knowledge))


def rank_items(ready: ReadyToRank, ranker: Ranker | None, config: Recommend, repeats: bool) -> DataFrame:
    """Rank items for every user, see scoring.recommend_items. ranker: None for the score without a model."""
    if ready.knowledge is None:
        return ready.histories.sparkSession.createDataFrame([], RANKED)
    return recommend_items(ready.histories, ready.knowledge, ranker, select_by(config, repeats))


def select_by(config: Recommend, repeats: bool) -> Selection:
    """Return how the config has lists selected."""
    return Selection(config.k, repeats, config.max_equal_texts, config.diversity, config.exploration, config.calibration)
