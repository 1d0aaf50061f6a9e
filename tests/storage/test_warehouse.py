"""The tables: what Delta stores of their declarations, what a write touches, and what a person is told."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.testing import assertDataFrameEqual, assertSchemaEqual

from interest_tiers.errors import WarehouseError
from interest_tiers.storage.schemas import (
    CLUSTER_MODELS,
    CLUSTERS,
    DATA_QUALITY,
    FORGOTTEN_USERS,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    INTERESTS,
    ITEM_INTERESTS,
    ITEM_VERSIONS,
    ITEMS,
    METRICS,
    RECOMMENDATIONS,
    RUNS,
    SOURCE_FILES,
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

MONDAY, TUESDAY, WEDNESDAY = date(2017, 10, 9), date(2017, 10, 10), date(2017, 10, 11)
MONDAY_NOON = datetime(2017, 10, 9, 12, tzinfo=UTC)

#: One row of every table that Delta accepts.
VALID: Mapping[str, Mapping[str, Any]] = {
    INTERACTIONS.name: {
        "interaction_id": "e1", "user_id": "u1", "item_id": "i1", "behaviour": "purchase",
        "occurred_at": MONDAY_NOON, "event_date": MONDAY, "value": 1.5, "text": None,
        "given_value": None, "source": "interactions",
    },
    INTERACTIONS_QUARANTINE.name: {
        "row_hash": "h1", "reasons": ["quantity > 0"], "raw": "{}", "source": "interactions", "run_id": "r1", "event_date": None,
        "is_noise": False,
    },
    DATA_QUALITY.name: {
        "run_id": "r1", "measured_at": MONDAY_NOON, "source": "all", "measure": "rows_in", "subject": "", "value": 1.0,
        "limit": None, "passed": None, "example": None,
    },
    ITEM_VERSIONS.name: {"item_id": "i1", "text": "milk", "category": "", "levels": [], "is_dropped": False, "n_rows": 1, "run_id": "r1"},
    ITEMS.name: {"item_id": "i1", "text": "milk", "text_hash": "h1", "category": "DAIRY", "levels": None},
    USERS.name: {"user_id": "u1", "attributes": {"age": "25-34"}},
    SOURCE_FILES.name: {
        "source": "interactions", "path": "events.csv", "state": "8 bytes", "rules": "f1", "columns": "{}", "run_id": "r1",
    },
    TEXT_EMBEDDINGS.name: {"text_hash": "h1", "model_id": "m1", "embedding": [0.6, 0.8], "n_tokens": 1, "n_unknown": 0, "n_single": 0},
    ITEM_INTERESTS.name: {"item_id": "i1", "as_of": MONDAY, "interest_id": "n1"},
    INTERESTS.name: {
        "interest_id": "n1", "as_of": MONDAY, "name": "DAIRY", "kind": "category", "embedding": None,
        "n_items": 1, "n_users": 1, "top_terms": ["milk"], "level": None, "parent_id": None,
    },
    USER_INTERESTS.name: {
        "user_id": "u1", "interest_id": "n1", "as_of": MONDAY, "evidence": 1.0, "borrowed": 0.0, "share": 1.0, "rank": 1,
        "n_days": 1, "n_items": 1,
        "recency_days": 1, "tenure_days": 1, "n_interactions": 1, "n_days_recent": 1, "n_days_previous": 0, "trend": 1.0,
        "mean_gap_days": None, "total_value": 1.5, "level": None,
    },
    USER_TIERS.name: {
        "user_id": "u1", "interest_id": "n1", "as_of": MONDAY, "tier": "core", "p_core": 0.5, "p_secondary": 0.25, "p_marginal": 0.25,
        "method": "rule", "model_version": "v1", "low_evidence": False,
    },
    USER_VECTORS.name: {"user_id": "u1", "as_of": MONDAY, "vector": [0.6, 0.8]},
    CLUSTER_MODELS.name: {
        "model_version": "v1", "fitted_as_of": MONDAY, "settings": "f1", "k": 1, "cluster_ids": ["c1"], "sizes": [1],
        "mean_distance": 0.0, "last_number": 1,
        "trials": [{"k": 2, "silhouette": 0.5, "null_silhouette": 0.25, "agreement": 0.75, "smallest": 0.125}],
        "changes": [{"cluster_id": "c1", "change": "kept", "other_id": None, "shared": 1}],
        "parts": [{"part": "centroids", "id": "c1", "values": [0.6, 0.8]}],
    },
    CLUSTERS.name: {
        "cluster_id": "c1", "as_of": MONDAY, "name": "DAIRY", "size": 1, "centroid": [0.6, 0.8], "silhouette": None,
        "top_interests": ["DAIRY"], "model_version": "v1", "previous_size": None, "top_items": ["milk"],
        "top_attributes": [{"name": "age", "value": "30", "share": 0.5, "lift": 2.0}],
    },
    USER_CLUSTERS.name: {
        "user_id": "u1", "cluster_id": "c1", "as_of": MONDAY, "membership": 1.0, "is_primary": True, "distance": 0.0, "silhouette": None,
        "model_version": "v1",
    },
    RECOMMENDATIONS.name: {
        "user_id": "u1", "as_of": MONDAY, "rank": 1, "item_id": "i1", "score": 0.5, "interest_id": "n1", "tier": "core",
        "cluster_id": None, "reason": "bought on 3 days",
    },
    METRICS.name: {
        "run_id": "r1", "as_of": MONDAY, "stage": "recommend", "metric": "ndcg", "slice": "k=10", "value": 0.5, "lower": 0.4, "upper": 0.6,
    },
    RUNS.name: {
        "run_id": "r1", "stage": "clean", "as_of": None, "status": "done", "started_at": MONDAY_NOON, "ended_at": MONDAY_NOON,
        "rows_in": 1, "rows_out": 1, "config_sha256": "f1", "code_version": "0.1.0", "input_versions": {"items": 3}, "message": None,
    },
    FORGOTTEN_USERS.name: {"user_hash": "h1", "forgotten_at": MONDAY_NOON},
}  # fmt: skip

#: For every constraint a change of the valid row that breaks it.
VIOLATIONS: Sequence[tuple[Table, str, Mapping[str, Any]]] = (
    (INTERACTIONS, "event_date_is_the_day_of_occurred_at", {"event_date": TUESDAY}),
    (INTERACTIONS_QUARANTINE, "has_a_reason", {"reasons": []}),
    (DATA_QUALITY, "passed_goes_with_limit", {"limit": 0.3}),
    (ITEM_VERSIONS, "some_row_says_so", {"n_rows": 0}),
    (ITEMS, "hash_goes_with_text", {"text_hash": None}),
    (TEXT_EMBEDDINGS, "embedding_is_not_empty", {"embedding": []}),
    (TEXT_EMBEDDINGS, "embedding_is_finite", {"embedding": [0.6, math.nan]}),
    (TEXT_EMBEDDINGS, "embedding_is_finite", {"embedding": [-math.inf, 0.8]}),
    (TEXT_EMBEDDINGS, "embedding_is_finite", {"embedding": [math.inf, 0.8]}),
    (INTERESTS, "known_kind", {"kind": "brand"}),
    (INTERESTS, "is_held", {"n_users": 0}),
    (USER_INTERESTS, "evidence_is_not_negative", {"evidence": -0.5}),
    (USER_INTERESTS, "share_is_a_share", {"share": 1.5}),
    (USER_INTERESTS, "rank_starts_at_1", {"rank": 0}),
    (USER_INTERESTS, "borrowed_is_a_part_of_evidence", {"borrowed": 1.5}),
    (USER_INTERESTS, "seen_before_as_of", {"recency_days": 2}),
    (USER_INTERESTS, "seen_before_as_of", {"recency_days": None, "tenure_days": None}),
    (USER_INTERESTS, "no_more_days_than_interactions", {"n_days": 2}),
    (USER_INTERESTS, "no_more_days_than_interactions", {"n_days": 0}),
    (USER_TIERS, "known_tier", {"tier": "favourite"}),
    (USER_TIERS, "known_method", {"method": "guess"}),
    (USER_TIERS, "probabilities", {"p_core": 1.25, "p_secondary": -0.5}),
    (USER_TIERS, "probabilities_sum_to_1", {"p_core": 0.75}),
    (USER_VECTORS, "vector_is_not_empty", {"vector": []}),
    (CLUSTERS, "size_is_positive", {"size": 0}),
    (CLUSTERS, "silhouette_range", {"silhouette": 1.5}),
    (USER_CLUSTERS, "membership_range", {"membership": 0.0}),
    (USER_CLUSTERS, "distance_range", {"distance": 2.5}),
    (USER_CLUSTERS, "silhouette_range", {"silhouette": -1.5}),
    (RECOMMENDATIONS, "rank_starts_at_1", {"rank": 0}),
    (RECOMMENDATIONS, "known_tier", {"tier": "favourite"}),
    (METRICS, "interval", {"lower": 0.7}),
    (RUNS, "known_status", {"status": "running"}),
)

every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)

Rows = Callable[..., DataFrame]


@pytest.fixture
def rows(spark: SparkSession) -> Rows:
    """Make rows of a table: the valid row with some values changed, one row per mapping; nullability is not declared."""

    def make(table: Table, *changes: Mapping[str, Any]) -> DataFrame:
        fields = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in table.schema.fields)
        values = [tuple({**VALID[table.name], **change}[name] for name in table.schema.names) for change in changes]
        return spark.createDataFrame(values, fields)

    return make


@pytest.fixture(scope="module")
def full_warehouse(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A warehouse with one valid row in every table; tests that use it change nothing."""
    warehouse = Warehouse(spark, str(tmp_path_factory.mktemp("full")))
    for table in TABLES:
        values = tuple(VALID[table.name][name] for name in table.schema.names)
        warehouse.append(table, spark.createDataFrame([values], table.schema))
    return warehouse


@pytest.fixture
def catalog(spark: SparkSession, tmp_path: Path) -> Iterator[Warehouse]:
    """A warehouse that is a schema of the session's catalog."""
    spark.sql(f"CREATE SCHEMA some_schema LOCATION '{tmp_path / 'catalog'}'")
    yield Warehouse(spark, "spark_catalog.some_schema")
    spark.sql("DROP SCHEMA some_schema CASCADE")


def delta_log(warehouse: Warehouse, table: Table) -> list[dict[str, Any]]:
    """Every action of a table's log, oldest first."""
    commits = sorted(Path(warehouse.location, table.name, "_delta_log").glob("*.json"))
    return [json.loads(line) for commit in commits for line in commit.read_text().splitlines()]


def live_files(frame: DataFrame) -> dict[str, str]:
    """The fingerprint of each file that a table's current version consists of."""
    paths = [Path(name.removeprefix("file:")) for name in frame.inputFiles()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


# What is declared


def test_every_table_and_every_constraint_has_its_example() -> None:
    assert list(VALID) == [table.name for table in TABLES]
    broken = {(table.name, constraint) for table, constraint, _ in VIOLATIONS}
    assert broken == {(table.name, constraint) for table in TABLES for constraint in table.constraints}


@every_table
def test_keys_and_partitions_are_required_columns(table: Table) -> None:
    wanted = {*table.key, *([table.partition_by] if table.partition_by else [])}
    assert wanted <= {field.name for field in table.schema.fields if not field.nullable}


@every_table
def test_the_delta_log_holds_the_whole_declaration(full_warehouse: Warehouse, table: Table) -> None:
    log = delta_log(full_warehouse, table)
    metadata = next(action["metaData"] for action in log if "metaData" in action)
    constraints = {key: value for key, value in metadata["configuration"].items() if key.startswith("delta.constraints.")}
    assert constraints == {f"delta.constraints.{name}": expression for name, expression in table.constraints.items()}
    assert metadata["configuration"]["delta.enableDeletionVectors"] == "false"
    assert ("delta.dataSkippingStatsColumns" in metadata["configuration"]) == (table.has_users or table.names_users is not None)
    assert metadata["partitionColumns"] == ([table.partition_by] if table.partition_by else [])
    assert metadata["description"] == table.description
    fields = [(field["name"], field["nullable"], field["metadata"]["comment"]) for field in json.loads(metadata["schemaString"])["fields"]]
    assert fields == [(field.name, field.nullable, field.metadata["comment"]) for field in table.schema.fields]


@every_table
def test_a_written_row_reads_back_with_the_declared_types(full_warehouse: Warehouse, rows: Rows, table: Table) -> None:
    got = full_warehouse.read(table)
    assertSchemaEqual(got.schema, table.schema)
    assertDataFrameEqual(got, rows(table, {}))


@every_table
def test_a_column_of_users_is_called_user_id(table: Table) -> None:
    """Whoever is forgotten leaves the tables that have this column."""
    assert {name for name in table.schema.names if "user" in name} <= {"user_id", "n_users", "user_hash"}


@every_table
def test_what_names_users_is_a_text_of_the_table(table: Table) -> None:
    if table.names_users is not None:
        assert table.schema[table.names_users.column].dataType.simpleString() == "string"


# What Delta refuses


@pytest.mark.parametrize(("table", "constraint", "change"), VIOLATIONS, ids=lambda part: getattr(part, "name", str(part)))
def test_a_row_that_breaks_a_constraint_is_refused(
    full_warehouse: Warehouse, rows: Rows, table: Table, constraint: str, change: Mapping[str, Any]
) -> None:
    bad = rows(table, {}, change)
    before = full_warehouse.version(table)
    with pytest.raises(Exception, match=rf"(?i)CHECK constraint {constraint}\b"):
        full_warehouse.append(table, bad)
    assert full_warehouse.version(table) == before


@every_table
def test_a_row_without_its_key_is_refused(full_warehouse: Warehouse, rows: Rows, table: Table) -> None:
    before = full_warehouse.version(table)
    with pytest.raises(Exception, match=rf"NOT NULL constraint violated for column: {table.key[0]}"):
        full_warehouse.append(table, rows(table, {table.key[0]: None}))
    assert full_warehouse.version(table) == before


# What a write touches


def test_some_days_are_replaced_and_the_others_left(warehouse: Warehouse, rows: Rows) -> None:
    noon = {"occurred_at": MONDAY_NOON + timedelta(days=1), "event_date": TUESDAY}
    warehouse.append(INTERACTIONS, rows(INTERACTIONS, {"interaction_id": "e1"}, {"interaction_id": "e2", **noon}))
    warehouse.replace_event_dates(INTERACTIONS, rows(INTERACTIONS, {"interaction_id": "e3", **noon}), [TUESDAY, WEDNESDAY])
    assertDataFrameEqual(warehouse.read(INTERACTIONS), rows(INTERACTIONS, {"interaction_id": "e1"}, {"interaction_id": "e3", **noon}))


def test_replace_makes_the_table_equal_to_the_rows_and_counts_them(warehouse: Warehouse, rows: Rows) -> None:
    assert warehouse.replace(ITEMS, rows(ITEMS, {"item_id": "i1"}, {"item_id": "i2"})) == 2
    assert warehouse.replace(ITEMS, rows(ITEMS, {"item_id": "i3"})) == 1
    assertDataFrameEqual(warehouse.read(ITEMS), rows(ITEMS, {"item_id": "i3"}))
    assert warehouse.replace(ITEMS, rows(ITEMS)) == 0
    assert warehouse.read(ITEMS).isEmpty()


def test_rows_are_cast_and_ordered_as_declared_and_other_columns_left_out(warehouse: Warehouse, spark: SparkSession, rows: Rows) -> None:
    given = spark.createDataFrame([("x", [0.5, 1.0], MONDAY, "u1")], "more string, vector array<double>, as_of date, user_id string")
    warehouse.append(USER_VECTORS, given)
    assertDataFrameEqual(warehouse.read(USER_VECTORS), rows(USER_VECTORS, {"vector": [0.5, 1.0]}))


@pytest.mark.parametrize("table", [USER_TIERS, CLUSTERS], ids=lambda table: table.name)
def test_replace_day_leaves_the_other_days_as_they_are_byte_for_byte(warehouse: Warehouse, rows: Rows, table: Table) -> None:
    key = table.key[0]
    warehouse.replace_day(table, rows(table, {key: "a"}, {key: "b"}), MONDAY)
    monday = live_files(warehouse.read(table))
    assert warehouse.replace_day(table, rows(table, {key: "a"}, {key: "b"}), TUESDAY) == 2
    first_tuesday = live_files(warehouse.read(table)).keys() - monday.keys()

    assert warehouse.replace_day(table, rows(table, {key: "c"}), TUESDAY) == 1

    after = live_files(warehouse.read(table))
    assert monday.items() <= after.items()
    assert len(first_tuesday) >= 1
    assert not first_tuesday & after.keys()
    assertDataFrameEqual(warehouse.read(table, MONDAY), rows(table, {key: "a"}, {key: "b"}))
    assertDataFrameEqual(warehouse.read(table, TUESDAY), rows(table, {key: "c", "as_of": TUESDAY}))


def test_replace_day_sets_the_day_whatever_the_rows_say(warehouse: Warehouse, rows: Rows) -> None:
    warehouse.replace_day(USER_VECTORS, rows(USER_VECTORS, {"as_of": TUESDAY}), MONDAY)
    warehouse.replace_day(USER_VECTORS, rows(USER_VECTORS, {}).drop("as_of"), WEDNESDAY)
    days = warehouse.read(USER_VECTORS).select("as_of")
    assert sorted(row["as_of"] for row in days.collect()) == [MONDAY, WEDNESDAY]


def test_replacing_a_day_that_has_no_rows_by_none_counts_none(warehouse: Warehouse, rows: Rows) -> None:
    assert warehouse.replace_day(USER_TIERS, rows(USER_TIERS, {}), MONDAY) == 1
    assert warehouse.replace_day(USER_TIERS, rows(USER_TIERS), TUESDAY) == 0
    assert warehouse.replace_day(USER_TIERS, rows(USER_TIERS), MONDAY) == 0
    assert warehouse.read(USER_TIERS).isEmpty()


def test_a_count_is_of_the_own_write_though_another_wrote_since(
    warehouse: Warehouse, rows: Rows, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Warehouse._save

    def save_and_be_followed(self: Warehouse, *arguments: Any, **named: Any) -> None:
        save(self, *arguments, **named)
        rows(ITEMS, {}, {"item_id": "i8"}, {"item_id": "i9"}).write.format("delta").option("userMetadata", "of another").mode(
            "append"
        ).save(f"{self.location}/items")

    monkeypatch.setattr(Warehouse, "_save", save_and_be_followed)
    assert warehouse.replace(ITEMS, rows(ITEMS, {})) == 1
    assert warehouse.read(ITEMS).count() == 4


def test_a_day_that_has_gone_is_missed_again(warehouse: Warehouse, rows: Rows) -> None:
    warehouse.replace_day(USER_TIERS, rows(USER_TIERS, {}), MONDAY)
    assert warehouse.read(USER_TIERS, MONDAY).count() == 1
    warehouse.replace_day(USER_TIERS, rows(USER_TIERS), MONDAY)
    with pytest.raises(WarehouseError, match="user_tiers has no rows for as_of 2017-10-09"):
        warehouse.read(USER_TIERS, MONDAY)


@pytest.fixture
def adaptive_plans(spark: SparkSession) -> Iterator[None]:
    """As users have them: the tests' own session does without."""
    spark.conf.set("spark.sql.adaptive.enabled", "true")
    yield
    spark.conf.set("spark.sql.adaptive.enabled", "false")


@pytest.mark.usefixtures("adaptive_plans")
def test_interactions_of_one_day_are_few_files_however_many_tasks_wrote_them(warehouse: Warehouse, rows: Rows) -> None:
    tuesday_noon = {"occurred_at": datetime(2017, 10, 10, 12, tzinfo=UTC), "event_date": TUESDAY}
    many = [{"interaction_id": f"e{n}", **(tuesday_noon if n % 2 else {})} for n in range(40)]
    assert warehouse.replace(INTERACTIONS, rows(INTERACTIONS, *many).repartition(8)) == 40
    assert len(live_files(warehouse.read(INTERACTIONS))) == 2


def test_replace_changed_touches_only_what_changed(warehouse: Warehouse, rows: Rows) -> None:
    first = [{"metric": name, "value": 0.5, "run_id": "first"} for name in ("same", "other", "gone")]
    elsewhere = {"metric": "gone", "stage": "assign_tiers", "run_id": "first"}
    warehouse.append(METRICS, rows(METRICS, *first, elsewhere))

    second = [("same", 0.5), ("other", 0.25), ("new", 0.75)]
    measured = warehouse.stage("metrics", rows(METRICS, *[{"metric": name, "value": value, "run_id": "second"} for name, value in second]))
    warehouse.replace_changed(METRICS, measured, within="target.stage = 'recommend'", ignoring=["run_id"])

    expected = [
        {"metric": "same", "value": 0.5, "run_id": "first"},
        {"metric": "other", "value": 0.25, "run_id": "second"},
        {"metric": "new", "value": 0.75, "run_id": "second"},
        elsewhere,
    ]
    assertDataFrameEqual(warehouse.read(METRICS), rows(METRICS, *expected))


def test_replace_changed_with_the_same_rows_changes_none(warehouse: Warehouse, rows: Rows) -> None:
    found = rows(INTERACTIONS_QUARANTINE, {"row_hash": "h1", "run_id": "first"}, {"row_hash": "h2", "run_id": "first"})
    warehouse.append(INTERACTIONS_QUARANTINE, found)
    again = rows(INTERACTIONS_QUARANTINE, {"row_hash": "h1", "run_id": "second"}, {"row_hash": "h2", "run_id": "second"})
    staged = warehouse.stage("quarantine", again)
    warehouse.replace_changed(INTERACTIONS_QUARANTINE, staged, within="true", ignoring=["run_id"])
    assertDataFrameEqual(warehouse.read(INTERACTIONS_QUARANTINE), found)
    last = [action["commitInfo"] for action in delta_log(warehouse, INTERACTIONS_QUARANTINE) if "commitInfo" in action][-1]
    metrics = last["operationMetrics"]
    assert {metrics[f"numTargetRows{change}"] for change in ("Inserted", "Updated", "Deleted")} == {"0"}


def test_a_null_that_stays_null_is_no_change_and_one_that_goes_is(warehouse: Warehouse, rows: Rows) -> None:
    warehouse.append(METRICS, rows(METRICS, *[{"metric": name, "lower": None, "run_id": "first"} for name in ("stays", "goes")]))
    second = [{"metric": "stays", "lower": None, "run_id": "second"}, {"metric": "goes", "lower": 0.1, "run_id": "second"}]
    warehouse.replace_changed(METRICS, warehouse.stage("metrics", rows(METRICS, *second)), within="true", ignoring=["run_id"])
    got = {row["metric"]: (row["run_id"], row["lower"]) for row in warehouse.read(METRICS).collect()}
    assert got == {"stays": ("first", None), "goes": ("second", 0.1)}


def test_insert_missing_inserts_once_and_leaves_what_is_there(warehouse: Warehouse, rows: Rows) -> None:
    first = [{"text_hash": "h1"}, {"text_hash": "h2"}]
    assert warehouse.insert_missing(TEXT_EMBEDDINGS, rows(TEXT_EMBEDDINGS, *first)) == 2
    second = [{"text_hash": "h2", "embedding": [1.0, 0.0]}, {"text_hash": "h3"}, {"text_hash": "h1", "model_id": "m2"}]
    assert warehouse.insert_missing(TEXT_EMBEDDINGS, rows(TEXT_EMBEDDINGS, *second)) == 2
    assert warehouse.insert_missing(TEXT_EMBEDDINGS, rows(TEXT_EMBEDDINGS, *second)) == 0
    expected = [*first, {"text_hash": "h3"}, {"text_hash": "h1", "model_id": "m2"}]
    assertDataFrameEqual(warehouse.read(TEXT_EMBEDDINGS), rows(TEXT_EMBEDDINGS, *expected))


def test_two_rows_with_one_key_are_not_merged(warehouse: Warehouse, rows: Rows) -> None:
    doubled = rows(TEXT_EMBEDDINGS, {"embedding": [1.0]}, {"embedding": [0.5]}, {"text_hash": "h2"})
    message = r"text_embeddings: two rows to merge have the same key \{'text_hash': 'h1', 'model_id': 'm1'"
    with pytest.raises(WarehouseError, match=message):
        warehouse.insert_missing(TEXT_EMBEDDINGS, doubled)
    with pytest.raises(WarehouseError, match=message):
        warehouse.replace_changed(TEXT_EMBEDDINGS, doubled, within="true")
    assert warehouse.read(TEXT_EMBEDDINGS).isEmpty()


def test_every_write_is_one_version(warehouse: Warehouse, rows: Rows) -> None:
    warehouse.append(ITEMS, rows(ITEMS, {}))
    version = warehouse.version(ITEMS)
    warehouse.append(ITEMS, rows(ITEMS, {"item_id": "i2"}))
    assert warehouse.version(ITEMS) == version + 1


def test_staged_rows_do_not_change_any_more(warehouse: Warehouse, rows: Rows, spark: SparkSession) -> None:
    warehouse.replace(ITEMS, rows(ITEMS, {"item_id": "i1"}))
    staged = warehouse.stage("items/before", warehouse.read(ITEMS).select("item_id"))
    warehouse.replace(ITEMS, rows(ITEMS, {"item_id": "i2"}))
    assertDataFrameEqual(staged, spark.createDataFrame([("i1",)], "item_id string"))


def test_clear_stage_removes_what_was_staged_under_a_prefix_and_only_that(warehouse: Warehouse, rows: Rows) -> None:
    warehouse.stage("items/a", rows(ITEMS, {}))
    kept = warehouse.stage("users/b", rows(USERS, {}))
    warehouse.clear_stage("items/")
    own = Path(warehouse.location, "_staging", warehouse.run_id)
    assert not (own / "items" / "a").exists()
    assertDataFrameEqual(kept, rows(USERS, {}))
    warehouse.clear_stage()
    assert not own.exists()


# What a read gives, or says


def test_interactions_are_read_up_to_the_day(warehouse: Warehouse, rows: Rows) -> None:
    tuesday = {"interaction_id": "e2", "occurred_at": datetime(2017, 10, 10, tzinfo=UTC), "event_date": TUESDAY}
    warehouse.append(INTERACTIONS, rows(INTERACTIONS, {}, tuesday))
    assertDataFrameEqual(warehouse.read(INTERACTIONS, TUESDAY), rows(INTERACTIONS, {}))
    assertDataFrameEqual(warehouse.read(INTERACTIONS, WEDNESDAY), rows(INTERACTIONS, {}, tuesday))
    assert warehouse.read(INTERACTIONS, MONDAY).isEmpty()


def test_a_table_without_days_is_read_whole(full_warehouse: Warehouse, rows: Rows) -> None:
    assertDataFrameEqual(full_warehouse.read(ITEMS, MONDAY), rows(ITEMS, {}))


@every_table
def test_a_missing_table_names_the_stage_to_run(warehouse: Warehouse, table: Table) -> None:
    with pytest.raises(WarehouseError) as refused:
        warehouse.read(table)
    assert str(refused.value) == f"{warehouse.location} has no table {table.name}: run the stage {table.stage} first"
    assert refused.value.exit_code == 2


def test_a_missing_day_names_the_stage_and_the_day(full_warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError) as refused:
        full_warehouse.read(USER_TIERS, TUESDAY)
    assert str(refused.value) == "user_tiers has no rows for as_of 2017-10-10: run the stage assign_tiers with --as-of 2017-10-10 first"


def test_a_folder_that_is_not_delta_is_neither_read_nor_written(warehouse: Warehouse, rows: Rows) -> None:
    rows(ITEMS, {}).write.parquet(f"{warehouse.location}/items")
    with pytest.raises(WarehouseError, match=r"/items is not a Delta table .* Give another --warehouse, or move that folder away"):
        warehouse.read(ITEMS)
    with pytest.raises(WarehouseError, match="is not a Delta table"):
        warehouse.replace(ITEMS, rows(ITEMS, {}))


def test_an_empty_folder_is_as_good_as_none(warehouse: Warehouse, rows: Rows) -> None:
    Path(warehouse.location, "items").mkdir(parents=True)
    assert not warehouse.exists(ITEMS)
    warehouse.append(ITEMS, rows(ITEMS, {}))
    assert warehouse.exists(ITEMS)


def test_a_warehouse_that_is_a_file_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.touch()
    with pytest.raises(WarehouseError) as refused:
        Warehouse(spark, str(path))
    assert str(refused.value) == f"--warehouse {path} is a file. Give a folder or catalog.schema"


def test_a_table_of_an_earlier_version_is_read_and_widened(warehouse: Warehouse, rows: Rows) -> None:
    before = rows(USER_INTERESTS, {}).drop("level")
    before.write.format("delta").partitionBy("as_of").save(f"{warehouse.location}/user_interests")
    assert warehouse.read(USER_INTERESTS, MONDAY).select("user_id", "level").collect() == [("u1", None)]
    warehouse.append(USER_INTERESTS, rows(USER_INTERESTS, {"user_id": "u2", "level": 3}))
    assert {(row["user_id"], row["level"]) for row in warehouse.read(USER_INTERESTS).collect()} == {("u1", None), ("u2", 3)}
    comments = {field.name: field.metadata.get("comment") for field in warehouse.read(USER_INTERESTS).schema.fields}
    assert comments["level"] == "as in interests"


def test_a_table_with_other_columns_is_not_written(warehouse: Warehouse, rows: Rows, spark: SparkSession) -> None:
    other = spark.createDataFrame([(1, "x", "milk")], "item_id int, more string, text string")
    other.write.format("delta").save(f"{warehouse.location}/items")
    with pytest.raises(WarehouseError) as refused:
        warehouse.append(ITEMS, rows(ITEMS, {}))
    assert "the table items has other columns (category: found nothing, expected string, " in str(refused.value)
    assert "item_id: found int, expected string, more: found string, expected nothing" in str(refused.value)
    assert warehouse.read(ITEMS).count() == 1


def test_a_relative_folder_is_taken_from_the_working_folder(spark: SparkSession, rows: Rows, tmp_path: Path) -> None:
    relative = os.path.relpath(tmp_path / "warehouse")
    Warehouse(spark, relative).append(ITEMS, rows(ITEMS, {}))
    assertDataFrameEqual(Warehouse(spark, str(tmp_path / "warehouse")).read(ITEMS), rows(ITEMS, {}))


def test_a_text_file_is_written_and_overwritten(warehouse: Warehouse) -> None:
    for text in ("a longer text", "caf\u00e9 \U0001f36e"):
        warehouse.write_text(warehouse.report_path(), text)
    assert Path(warehouse.location, "report", "index.html").read_text(encoding="utf-8") == "caf\u00e9 \U0001f36e"


# A catalog


def test_a_schema_of_a_catalog_is_a_warehouse_too(catalog: Warehouse, rows: Rows) -> None:
    assert not catalog.exists(USER_TIERS)
    with pytest.raises(WarehouseError, match=r"^spark_catalog.some_schema has no table user_tiers: run the stage assign_tiers first$"):
        catalog.read(USER_TIERS)
    assert catalog.replace_day(USER_TIERS, rows(USER_TIERS, {}), MONDAY) == 1
    assert catalog.replace_day(USER_TIERS, rows(USER_TIERS, {"user_id": "u2"}, {"user_id": "u3"}), TUESDAY) == 2
    assert catalog.replace_day(USER_TIERS, rows(USER_TIERS, {"user_id": "u4"}), TUESDAY) == 1
    assertDataFrameEqual(catalog.read(USER_TIERS, MONDAY), rows(USER_TIERS, {}))
    assertDataFrameEqual(catalog.read(USER_TIERS, TUESDAY), rows(USER_TIERS, {"user_id": "u4", "as_of": TUESDAY}))
    with pytest.raises(Exception, match=r"(?i)CHECK constraint known_tier"):
        catalog.append(USER_TIERS, rows(USER_TIERS, {"tier": "favourite"}))


def test_a_catalog_stages_and_merges(catalog: Warehouse, rows: Rows) -> None:
    staged = catalog.stage("embed/texts", rows(TEXT_EMBEDDINGS, {}, {"text_hash": "h2"}))
    assert catalog.insert_missing(TEXT_EMBEDDINGS, staged) == 2
    assert catalog.insert_missing(TEXT_EMBEDDINGS, staged) == 0
    catalog.replace_changed(TEXT_EMBEDDINGS, catalog.stage("embed/texts", rows(TEXT_EMBEDDINGS, {"embedding": [1.0]})), within="true")
    assertDataFrameEqual(catalog.read(TEXT_EMBEDDINGS), rows(TEXT_EMBEDDINGS, {"embedding": [1.0]}))
    catalog.clear_stage("embed/")
    tables = catalog.spark.sql("SHOW TABLES IN some_schema").collect()
    assert [row["tableName"] for row in tables] == ["text_embeddings"]


def test_a_catalog_holds_no_report(catalog: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="a report is a file; give --warehouse a folder for it"):
        catalog.report_path()


def test_a_schema_that_does_not_exist_is_named(spark: SparkSession, rows: Rows) -> None:
    with pytest.raises(WarehouseError, match=r"--warehouse spark_catalog.no_such_schema: there is no such schema"):
        Warehouse(spark, "spark_catalog.no_such_schema")
