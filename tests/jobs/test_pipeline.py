"""The whole way on a small shop, by spark-submit: every table, its key, its constraints, and what must always hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.storage.schemas import (
    CLUSTERS,
    FORGOTTEN_USERS,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    INTERESTS,
    ITEM_INTERESTS,
    ITEMS,
    METRICS,
    RECOMMENDATIONS,
    RUNS,
    TABLES,
    TEXT_EMBEDDINGS,
    USER_CLUSTERS,
    USER_INTERESTS,
    USER_TIERS,
    USER_VECTORS,
    USERS,
    Table,
)
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import AS_OF, GROUPS, USERS_PER_GROUP, Made, Shop, run_command

STAGES = ["clean", "embed", "build_interests", "train_tiers", "assign_tiers", "cluster_users", "recommend", "evaluate", "report"]


@pytest.fixture(scope="module")
def tables(spark: SparkSession, made: Made) -> Warehouse:
    return Warehouse(spark, made.warehouse)


def test_a_person_reads_one_line_per_stage_and_where_things_are(made: Made) -> None:
    lines = made.printed.splitlines()
    one_per_stage = [line.split()[0] for line in lines if " rows in" in line and " rows out" in line and " s " in line]
    assert one_per_stage == STAGES
    assert any(line.startswith("warehouse") and made.warehouse in line for line in lines)
    assert f"report     {made.warehouse}/report/index.html" in lines
    assert "interactions" in Path(made.warehouse, "report/index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", [table for table in TABLES if table is not FORGOTTEN_USERS], ids=lambda table: table.name)
def test_every_table_is_there_with_a_unique_key_and_its_constraints(tables: Warehouse, made: Made, table: Table) -> None:
    rows = tables.read(table)
    assert rows.count() > 0
    assert rows.groupBy(*table.key).count().where("count > 1").count() == 0
    assert dict(rows.dtypes) == {f.name: f.dataType.simpleString() for f in table.schema.fields}
    first_commit = Path(made.warehouse, table.name, "_delta_log", f"{0:020d}.json").read_text(encoding="utf-8")
    metadata = next(entry["metaData"] for entry in map(json.loads, first_commit.splitlines()) if "metaData" in entry)
    assert {f"delta.constraints.{name}" for name in table.constraints} <= metadata["configuration"].keys()


def test_rows_in_are_interactions_and_quarantine_and_duplicates(tables: Warehouse, shop: Shop) -> None:
    interactions, quarantined = tables.read(INTERACTIONS).count(), tables.read(INTERACTIONS_QUARANTINE).count()
    assert quarantined == shop.bad_rows
    assert interactions == len(shop.raw) - shop.bad_rows - shop.copies
    run = tables.read(RUNS).where("stage = 'clean'").first()
    assert run is not None
    assert (run["rows_in"], run["rows_out"], run["status"]) == (len(shop.raw), interactions, "done")
    assert f"{shop.copies:,} exact duplicates, {shop.bad_rows:,} quarantined" in run["message"]


def test_every_bad_row_says_why(tables: Warehouse) -> None:
    reasons = sorted(reason for row in tables.read(INTERACTIONS_QUARANTINE).collect() for reason in row["reasons"])
    assert reasons == [
        "behaviour: not configured",
        "item: its category is dropped",
        "item_id: missing",
        "keep: price IS NULL OR price NOT LIKE '-%'",
        "occurred_at: not a time",
        "user_id: missing",
        "value: not a number",
    ]


def test_ids_are_text_and_times_are_utc(tables: Warehouse) -> None:
    users = {row["user_id"] for row in tables.read(USERS).collect()}
    assert users == {str(number) for number in range(len(GROUPS) * USERS_PER_GROUP)}
    summer = (
        tables.read(INTERACTIONS).where("event_date = DATE'2024-07-01'").select(F.hour("occurred_at").alias("hour")).distinct().collect()
    )
    assert [row["hour"] for row in summer] == [10]  # noon in Berlin


def test_what_was_seen_ended_before_as_of(tables: Warehouse) -> None:
    for table in (ITEM_INTERESTS, INTERESTS, USER_INTERESTS, USER_TIERS, USER_VECTORS, CLUSTERS, USER_CLUSTERS, RECOMMENDATIONS, METRICS):
        assert [row["as_of"] for row in tables.read(table).select("as_of").distinct().collect()] == [AS_OF]
    assert tables.read(USER_INTERESTS).agg(F.min("recency_days")).first()[0] >= 1  # type: ignore[index]


def test_shares_and_probabilities_and_memberships_sum_to_1(tables: Warehouse) -> None:
    for table, share in ((USER_INTERESTS, "share"), (USER_CLUSTERS, "membership")):
        off = tables.read(table).groupBy("user_id").agg(F.sum(share).alias("total")).where("abs(total - 1) > 0.000001")
        assert off.count() == 0, table.name
    assert tables.read(USER_TIERS).where("abs(p_core + p_secondary + p_marginal - 1) > 0.000001").count() == 0


def test_every_pair_has_a_tier_and_every_user_one_primary_cluster(tables: Warehouse) -> None:
    pairs, tiers = tables.read(USER_INTERESTS), tables.read(USER_TIERS)
    assert tiers.join(pairs, ["user_id", "interest_id", "as_of"]).count() == pairs.count() == tiers.count()
    primary = tables.read(USER_CLUSTERS).where("is_primary")
    assert primary.count() == primary.select("user_id").distinct().count() == tables.read(USER_VECTORS).count()
    sizes = {row["cluster_id"]: row["count"] for row in primary.groupBy("cluster_id").count().collect()}
    assert sizes == {row["cluster_id"]: row["size"] for row in tables.read(CLUSTERS).collect()}


def test_planted_groups_are_found_and_named_after_what_they_share(tables: Warehouse) -> None:
    members = {row["user_id"]: row["cluster_id"] for row in tables.read(USER_CLUSTERS).where("is_primary").collect()}
    clusters_of_groups = [{members[str(place * USERS_PER_GROUP + user)] for user in range(USERS_PER_GROUP)} for place in range(len(GROUPS))]
    assert [len(clusters) for clusters in clusters_of_groups] == [1, 1, 1]
    named = {row["cluster_id"]: set(row["name"].upper().split(" · ")) for row in tables.read(CLUSTERS).collect()}
    assert [named[clusters.pop()] for clusters in clusters_of_groups] == [set(categories) for categories in GROUPS.values()]


def test_recommendations_are_ranked_from_1_and_stay_within_the_catalogue(tables: Warehouse) -> None:
    listed = tables.read(RECOMMENDATIONS)
    assert listed.join(tables.read(ITEMS), "item_id").count() == listed.count()
    per_user = listed.groupBy("user_id").agg(F.min("rank").alias("first"), F.max("rank").alias("last"), F.count("*").alias("n"))
    assert per_user.where("first <> 1 OR last <> n OR n > 5").count() == 0
    assert listed.groupBy("user_id", "item_id").count().where("count > 1").count() == 0
    assert listed.where("reason = ''").count() == 0


def test_every_text_of_the_catalogue_is_embedded_once(tables: Warehouse) -> None:
    texts = {row["text_hash"] for row in tables.read(ITEMS).collect()}
    embedded = [row["text_hash"] for row in tables.read(TEXT_EMBEDDINGS).collect()]
    assert len(embedded) == len(set(embedded))
    assert set(embedded) == texts


def test_the_run_record_names_what_was_read(tables: Warehouse) -> None:
    runs = {row["stage"]: row for row in tables.read(RUNS).collect()}
    assert list(runs) == STAGES or sorted(runs) == sorted(STAGES)
    assert len({row["run_id"] for row in runs.values()}) == 1
    assert runs["recommend"]["input_versions"].keys() == {
        "interactions", "items", "item_interests", "interests", "text_embeddings", "user_interests", "user_tiers", "user_clusters",
        "clusters",
    }  # fmt: skip
    assert all(row["ended_at"] >= row["started_at"] for row in runs.values())


def test_nothing_is_left_aside(made: Made) -> None:
    staged = Path(made.warehouse, "_staging")
    assert not [path for path in staged.rglob("*") if path.is_file()]


def test_show_prints_one_user(spark: SparkSession, made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("show", ["3", "--warehouse", made.warehouse]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"user 3, as of {AS_OF}")
    for word in ("core (", "secondary (", "marginal (", "P(core)", "clusters", "primary", "recommendations", "   1. "):
        assert word in printed
    assert sum(line.strip()[:2] in {"1.", "2.", "3.", "4.", "5."} for line in printed.splitlines()) == 5


def test_show_says_when_there_is_no_such_user(spark: SparkSession, made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("show", ["nobody", "--warehouse", made.warehouse]) == 2
    assert "has no user 'nobody'" in capsys.readouterr().err
