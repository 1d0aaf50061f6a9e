"""The users of the stories, and their rows."""

from __future__ import annotations

from dataclasses import replace

from pyspark.sql import SparkSession

from interest_tiers.report import stories
from interest_tiers.report.sources import Sources
from interest_tiers.report.stories import StoryCluster, StoryInterest, StoryRecommendation
from tests.report.tables import TIER_COLUMNS, in_order_of_hash, tier_rows


def test_story_users_are_the_first_by_hash_with_enough_in_each_large_cluster(spark: SparkSession, sources: Sources) -> None:
    """Of the clusters a to d (largest first), b has nobody with three core interests, so d stands in."""
    members = {c: [f"{c}{n}" for n in range(4)] for c in "abcd"}
    first = {c: in_order_of_hash(users) for c, users in members.items()}
    unserved, poor = first["a"][0], [*members["b"], first["c"][0]]
    everybody = [u for users in members.values() for u in users]
    tiers = [row for u in everybody for row in tier_rows(u, core=["milk", "tea"] if u in poor else ["milk", "tea", "beer"])]
    chosen = stories.choose_story_users(
        replace(
            sources,
            user_tiers=spark.createDataFrame(tiers, TIER_COLUMNS),
            clusters=spark.createDataFrame([("d", 4), ("b", 8), ("c", 6), ("a", 9)], "cluster_id string, size long"),
            user_clusters=spark.createDataFrame(
                [(u, c, True) for c, users in members.items() for u in users] + [(everybody[0], "d", False)],
                "user_id string, cluster_id string, is_primary boolean",
            ),
            recommendations=spark.createDataFrame(
                [(u, rank) for u in everybody if u != unserved for rank in (1, 2)], "user_id string, rank long"
            ),
        ),
        limit=3,
    )
    assert chosen == (first["a"][1], first["c"][1], first["d"][0])


def test_users_with_less_fill_the_places_of_the_stories(sources: Sources) -> None:
    """u1 has three core interests, u3 has recommendations, u2 has neither."""
    assert stories.choose_story_users(sources) == ("u1", "u3", "u2")


def test_a_story_leads_from_evidence_to_recommendation(sources: Sources) -> None:
    (story,) = stories.collect_stories(sources, ["u1"], show_users=True)
    assert (story.user_id, story.n_interests) == ("u1", 6)
    assert story.interests == (
        StoryInterest("BREAD", 9.0, 0.6, 5, 2, "core", 0.7, 0.2, 0.1),
        StoryInterest("wine", 6.0, 0.4, 4, 30, "marginal", 0.0, 0.1, 0.9),
    )
    assert story.clusters == (StoryCluster("Milk and bread", 0.75, True), StoryCluster("Beer", 0.25, False))
    assert story.months == (("2017-11", 2), ("2017-12", 0), ("2018-01", 1))
    assert story.recommendations == (
        StoryRecommendation(1, "i1", "whole milk", "FLUID MILK", "core", 2.5, "bought on 5 days"),
        StoryRecommendation(2, "i2", None, "TEA", "core", 1.5, "you like tea"),
    )


def test_ids_are_masked_unless_they_are_asked_for(sources: Sources) -> None:
    masked, shown = (stories.collect_stories(sources, ["u3", "u1"], show_users=show) for show in (False, True))
    assert [story.user_id for story in shown] == ["u3", "u1"]
    assert [story.user_id for story in masked] == [None, None]
    assert [replace(story, user_id=None) for story in shown] == list(masked), "nothing else differs"
