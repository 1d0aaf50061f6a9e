"""Every table declared once, and the only module that reads or writes storage.

A warehouse is a folder (``build/demo``, ``s3a://bucket/tiers``) or a ``catalog.schema``.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime

from delta.tables import DeltaTable, DeltaTableBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    FloatType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from interest_tiers.errors import WarehouseError
from interest_tiers.text import quoted_name

STRING, LONG, DOUBLE, DATE, TIME, BOOLEAN = (
    StringType(), LongType(), DoubleType(), DateType(), TimestampType(), BooleanType()
)  # fmt: skip
STRINGS, VECTOR = ArrayType(StringType()), ArrayType(FloatType())

#: Folders of a warehouse beside its tables.
STAGING, REPORT, CHECKPOINTS = "_staging", "report", "_checkpoints"

#: Of Parquet files for other readers than Spark.
ROW_GROUP_BYTES = 16 * 1024**2

#: How many names of foreign files a message lists.
NAMED_ENTRIES = 5

#: Table properties of Delta, and what holds where they are not set.
DATA_RETENTION, LOG_RETENTION, STATISTICS = (
    "delta.deletedFileRetentionDuration", "delta.logRetentionDuration", "delta.dataSkippingStatsColumns"
)  # fmt: skip
DEFAULT_RETENTION: Mapping[str, str] = {DATA_RETENTION: "interval 1 week", LOG_RETENTION: "interval 30 days"}

#: Table properties of this project: the retention to return to, and that the log was kept before its statistics left users out.
RETENTION_BEFORE, LOG_NAMES_USERS = "interest_tiers.retentionBefore", "interest_tiers.logNamesUsers"

#: Begins what stands in the log beside the commits that removed users.
REMOVES_USERS = "removes users"

#: A commit of this command is looked for among so many of the newest: others may have written since.
COMMITS_SEARCHED = 5


def _required(name: str, kind: DataType, comment: str) -> StructField:
    return StructField(name, kind, nullable=False, metadata={"comment": comment})


def _optional(name: str, kind: DataType, comment: str) -> StructField:
    return StructField(name, kind, nullable=True, metadata={"comment": comment})


@dataclass(frozen=True)
class NamesUsers:
    """A text of a table in which user ids may stand. within: SQL, the rows in which they may.

    To forget a user, a row that cannot do without its text goes, and a text that may be null becomes null.
    """

    column: str
    within: str = "true"


@dataclass(frozen=True)
class Table:
    """A table of the contract: what it holds, what is unique in it, what Delta refuses to store."""

    name: str
    description: str
    stage: str  # the stage that writes it
    key: tuple[str, ...]
    schema: StructType
    partition_by: str | None = None
    constraints: Mapping[str, str] = field(default_factory=dict)
    names_users: NamesUsers | None = None
    added: tuple[str, ...] = ()  # columns that tables made by earlier versions lack; they are null in their rows

    def added_since(self, found: StructType) -> list[StructField]:
        """The columns that were added since a table was made with the columns found."""
        return [column for column in self.schema.fields if column.name in self.added and column.name not in found.names]

    @property
    def has_as_of(self) -> bool:
        return "as_of" in self.schema.names

    @property
    def has_users(self) -> bool:
        """Whether its rows are rows of users."""
        return "user_id" in self.schema.names

    @property
    def properties(self) -> dict[str, str]:
        """The table properties that Delta keeps."""
        properties = {"delta.enableDeletionVectors": "false"}
        properties |= {f"delta.constraints.{name}": expression for name, expression in self.constraints.items()}
        if self.has_users or self.names_users is not None:
            properties[STATISTICS] = self._statistics
        return properties

    @property
    def _statistics(self) -> str:
        """The columns of which the log keeps the smallest and the largest value of each file.

        No texts: they would stand in the log after their rows have gone, and no file is ordered by one.
        """
        kinds = LongType | DoubleType | DateType | TimestampType
        return ",".join(f.name for f in self.schema.fields if isinstance(f.dataType, kinds) and f.name != self.partition_by)


@dataclass(frozen=True)
class Vacuumed:
    """What can still be read of a table's past after a vacuum. Times are UTC.

    unreadable_from: when, after another vacuum, no file holds a user forgotten so far; None when nobody was.
    log_unreadable_from: the same of the log, for a table made before its statistics left users out; else None.
    oldest_version: versions from here on can be read.
    """

    table: str
    unreadable_from: datetime | None
    log_unreadable_from: datetime | None
    oldest_version: int


_AS_OF = _required("as_of", DATE, "only interactions before this day were seen")
_USER = _required("user_id", STRING, "")
_INTEREST = _required("interest_id", STRING, "")
_CLUSTER = _required("cluster_id", STRING, "valid within one as_of")

INTERACTIONS = Table(
    "interactions", "who did what to which item, and when; cleaned", "clean", ("interaction_id",),
    StructType([
        _required("interaction_id", STRING, "128-bit fingerprint of the source's row"),
        _USER,
        _required("item_id", STRING, ""),
        _required("behaviour", STRING, "one of the configured behaviours"),
        _required("occurred_at", TIME, "UTC"),
        _required("event_date", DATE, "the day of occurred_at, UTC"),
        _optional("value", DOUBLE, "amount, price or rating, in the source's unit"),
        _optional("text", STRING, "what the user wrote"),
        _optional("given_value", DOUBLE, "the value before it was clipped; null where it was not"),
        _required("source", STRING, "which source of the config"),
    ]),
    partition_by="event_date",
    constraints={"event_date_is_the_day_of_occurred_at": "event_date = CAST(occurred_at AS DATE)"},
)  # fmt: skip

INTERACTIONS_QUARANTINE = Table(
    "interactions_quarantine", "rows that could not be used, whole, with every reason", "clean", ("row_hash",),
    StructType([
        _required("row_hash", STRING, "SHA-256 of source and raw"),
        _required("reasons", STRINGS, "every rule that the row breaks"),
        _required("raw", STRING, "the row as JSON"),
        _required("source", STRING, "which source of the config"),
        _required("run_id", STRING, "the run that found it first"),
        _optional("event_date", DATE, "where the row's time could be read"),
        _required("is_noise", BOOLEAN, "only the other rows of its day speak against it; raw is then the row as cleaned"),
    ]),
    constraints={"has_a_reason": "size(reasons) > 0"},
    names_users=NamesUsers("raw"),
)  # fmt: skip

DATA_QUALITY = Table(
    "data_quality", "what every run of clean found, and whether it met the limits of the config", "clean",
    ("run_id", "source", "measure", "subject"),
    StructType([
        _required("run_id", STRING, ""),
        _required("measured_at", TIME, "UTC"),
        _required("source", STRING, "which source of the config; all: of all together"),
        _required("measure", STRING, ""),
        _required("subject", STRING, "the column or the reason that is measured; empty where there is none"),
        _required("value", DOUBLE, ""),
        _optional("limit", DOUBLE, "what the config allows; null where it sets no limit"),
        _optional("passed", BOOLEAN, "whether the limit is met"),
        _optional("example", STRING, "a row with that reason, its letters and digits masked"),
    ]),
    constraints={"passed_goes_with_limit": "(passed IS NULL) = (limit IS NULL)"},
)  # fmt: skip

ITEMS = Table(
    "items", "the item catalogue", "clean", ("item_id",),
    StructType([
        _required("item_id", STRING, ""),
        _optional("text", STRING, "normalised; null where the source has none"),
        _optional("text_hash", STRING, "SHA-256 of text"),
        _optional("category", STRING, "as given by the source"),
        _optional("levels", STRINGS, "its names in the hierarchy of the config, coarse to fine, as given; null where there is none"),
    ]),
    constraints={"hash_goes_with_text": "(text IS NULL) = (text_hash IS NULL)"},
    added=("levels",),
)  # fmt: skip

ITEM_VERSIONS = Table(
    "item_versions", "how often the items' source says what of an item", "clean", ("item_id", "text", "category", "levels"),
    StructType([
        _required("item_id", STRING, ""),
        _required("text", STRING, "normalised; empty where the row has none"),
        _required("category", STRING, "as given by the source; empty where the row has none"),
        _required("levels", STRINGS, "as in items; empty where the row has none"),
        _required("is_dropped", BOOLEAN, "its category is to be dropped"),
        _required("n_rows", LONG, "rows of the source that say so"),
        _required("run_id", STRING, "the run that wrote the table"),
    ]),
    constraints={"some_row_says_so": "n_rows >= 1"},
    added=("levels",),
)  # fmt: skip

SOURCE_FILES = Table(
    "source_files", "the files whose rows are in the tables, so that no run reads them again", "clean", ("source", "path"),
    StructType([
        _required("source", STRING, "which source of the config"),
        _required("path", STRING, ""),
        _required("state", STRING, "size and time of its last change; version of a Delta table"),
        _required("rules", STRING, "fingerprint of the config's part that decides what becomes of a row"),
        _required("columns", STRING, "the columns of the source so far, as JSON"),
        _required("run_id", STRING, "the run that read it"),
    ]),
)  # fmt: skip

USERS = Table(
    "users", "every user of the interactions or of the users' source", "clean", ("user_id",),
    StructType([
        _USER,
        _required("attributes", MapType(STRING, STRING), "what the users' source says; empty where it says nothing"),
    ]),
)  # fmt: skip

TEXT_EMBEDDINGS = Table(
    "text_embeddings", "each distinct text once per model", "embed", ("text_hash", "model_id"),
    StructType([
        _required("text_hash", STRING, "SHA-256 of the normalised text"),
        _required("model_id", STRING, "model, token limit and a fingerprint of the weights"),
        _required("embedding", VECTOR, "L2 norm 1"),
    ]),
    partition_by="model_id",
    constraints={"embedding_is_not_empty": "size(embedding) > 0"},
)  # fmt: skip

ITEM_INTERESTS = Table(
    "item_interests", "the interest that each item speaks for", "build_interests", ("item_id", "as_of"),
    StructType([
        _required("item_id", STRING, "an item without a category, or without a text where interests are topics, is not here"),
        _AS_OF,
        _INTEREST,
    ]),
    partition_by="as_of",
)  # fmt: skip

INTERESTS = Table(
    "interests", "the catalogue of interests", "build_interests", ("interest_id", "as_of"),
    StructType([
        _INTEREST,
        _AS_OF,
        _required("name", STRING, "the category as given, or the topic's most characteristic words; unique within one as_of and parent"),
        _required("kind", STRING, "category or topic"),
        _optional("embedding", VECTOR, "mean of the embeddings of its items seen before as_of, or the centre of the topic; L2 norm 1"),
        _required("n_items", LONG, "distinct items touched before as_of"),
        _required("n_users", LONG, "distinct users with evidence"),
        _required("top_terms", STRINGS, "most characteristic words of its items' texts"),
        _optional("level", LONG, "place in the hierarchy, 1 is the coarsest; null where there is none"),
        _optional("parent_id", STRING, "the interest of the level above that holds it; null at the coarsest, and without a hierarchy"),
    ]),
    constraints={"known_kind": "kind IN ('category', 'topic')", "is_held": "n_users >= 1 AND n_items >= 1"},
    added=("level", "parent_id"),
)  # fmt: skip

USER_INTERESTS = Table(
    "user_interests", "evidence of every interest that a user touched, and its features", "build_interests",
    ("user_id", "interest_id", "as_of"),
    StructType([
        _USER,
        _INTEREST,
        _AS_OF,
        _required("evidence", DOUBLE, "sum over days of the day's weight, halved every half_life_days; never below 0"),
        _required("borrowed", DOUBLE, "the part of evidence that was borrowed from similar users; 0 where none was"),
        _required("share", DOUBLE, "evidence over the user's total, of the level where there is a hierarchy"),
        _required("rank", LONG, "1 is the interest with the most evidence of the user, of the level where there is a hierarchy"),
        _required("n_days", LONG, "days on which the user touched it; 0 where all of its evidence was borrowed"),
        _required("n_items", LONG, "distinct items"),
        _optional("recency_days", LONG, "days from the last touch to as_of, 1 is the day before; null where never touched"),
        _optional("tenure_days", LONG, "days from the first touch to as_of; null where never touched"),
        _required("n_interactions", LONG, ""),
        _required("n_days_recent", LONG, "days touched in the last horizon_days"),
        _required("n_days_previous", LONG, "days touched in the horizon_days before those"),
        _required("trend", DOUBLE, "log2((n_days_recent + 1) / (n_days_previous + 1))"),
        _optional("mean_gap_days", DOUBLE, "mean days between two touches; null with one day"),
        _required("total_value", DOUBLE, "sum of the values, in the source's unit"),
        _optional("level", LONG, "as in interests"),
    ]),
    partition_by="as_of",
    constraints={
        "evidence_is_not_negative": "evidence >= 0",
        "share_is_a_share": "share BETWEEN 0 AND 1",
        "rank_starts_at_1": "rank >= 1",
        "borrowed_is_a_part_of_evidence": "borrowed BETWEEN 0 AND evidence",
        "seen_before_as_of": "(recency_days >= 1 AND tenure_days >= recency_days) OR "
        "(n_days = 0 AND recency_days IS NULL AND tenure_days IS NULL)",
        "no_more_days_than_interactions": "n_days BETWEEN 1 AND n_interactions OR "
        "(n_days = 0 AND n_interactions = 0 AND n_items = 0 AND borrowed > 0)",
    },
    added=("level",),
)  # fmt: skip

USER_TIERS = Table(
    "user_tiers", "how much each interest will matter to the user in the coming horizon_days", "assign_tiers",
    ("user_id", "interest_id", "as_of"),
    StructType([
        _USER,
        _INTEREST,
        _AS_OF,
        _required("tier", STRING, "core, secondary or marginal"),
        _required("p_core", DOUBLE, "probability"),
        _required("p_secondary", DOUBLE, "probability"),
        _required("p_marginal", DOUBLE, "probability"),
        _required("method", STRING, "model or rule"),
        _required("model_version", STRING, ""),
    ]),
    partition_by="as_of",
    constraints={
        "known_tier": "tier IN ('core', 'secondary', 'marginal')",
        "known_method": "method IN ('model', 'rule')",
        "probabilities": "p_core BETWEEN 0 AND 1 AND p_secondary BETWEEN 0 AND 1 AND p_marginal BETWEEN 0 AND 1",
        "probabilities_sum_to_1": "abs(p_core + p_secondary + p_marginal - 1) < 0.000001",
    },
)  # fmt: skip

USER_VECTORS = Table(
    "user_vectors", "one point per user; users who are alike lie close by cosine", "cluster_users", ("user_id", "as_of"),
    StructType([
        _USER,
        _AS_OF,
        _required("vector", VECTOR, "principal components of the tier-weighted embeddings of the user's interests, centred, L2 norm 1"),
    ]),
    partition_by="as_of",
    constraints={"vector_is_not_empty": "size(vector) > 0"},
)  # fmt: skip

CLUSTERS = Table(
    "clusters", "groups of users who are alike", "cluster_users", ("cluster_id", "as_of"),
    StructType([
        _CLUSTER,
        _AS_OF,
        _required("name", STRING, "its most characteristic interests"),
        _required("size", LONG, "users whose primary cluster it is"),
        _required("centroid", VECTOR, "L2 norm 1"),
        _optional("silhouette", DOUBLE, "mean over its users, centroid form, cosine; null with one cluster"),
        _required("top_interests", STRINGS, "names, most characteristic first"),
        _required("model_version", STRING, ""),
    ]),
    constraints={"size_is_positive": "size >= 1", "silhouette_range": "silhouette IS NULL OR silhouette BETWEEN -1 AND 1"},
)  # fmt: skip

USER_CLUSTERS = Table(
    "user_clusters", "the clusters of every user: one primary, a few further", "cluster_users",
    ("user_id", "cluster_id", "as_of"),
    StructType([
        _USER,
        _CLUSTER,
        _AS_OF,
        _required("membership", DOUBLE, "sums to 1 per user"),
        _required("is_primary", BOOLEAN, "the nearest cluster; one per user"),
        _required("distance", DOUBLE, "cosine distance to the centroid, 0 to 2"),
        _optional("silhouette", DOUBLE, "(b - a) / max(a, b): a to this centroid, b to the nearest other; null with one cluster"),
        _required("model_version", STRING, ""),
    ]),
    partition_by="as_of",
    constraints={
        "membership_range": "membership > 0 AND membership <= 1.000001",
        "distance_range": "distance BETWEEN -0.00001 AND 2.00001",
        "silhouette_range": "silhouette IS NULL OR silhouette BETWEEN -1 AND 1",
    },
)  # fmt: skip

RECOMMENDATIONS = Table(
    "recommendations", "what to show each user next, and why", "recommend", ("user_id", "as_of", "rank"),
    StructType([
        _USER,
        _AS_OF,
        _required("rank", LONG, "1 is shown first"),
        _required("item_id", STRING, ""),
        _required("score", DOUBLE, "the user's own evidence of the item, in decayed days, plus what alike users add"),
        _required("interest_id", STRING, "the item's interest"),
        _required("tier", STRING, "tier of that interest for the user"),
        _optional("cluster_id", STRING, "the user's cluster that speaks most for the item; null for the user's habit alone"),
        _required("reason", STRING, "for a person to read"),
    ]),
    partition_by="as_of",
    constraints={"rank_starts_at_1": "rank >= 1", "known_tier": "tier IN ('core', 'secondary', 'marginal')"},
)  # fmt: skip

METRICS = Table(
    "metrics", "what was measured", "evaluate", ("as_of", "stage", "metric", "slice"),
    StructType([
        _required("run_id", STRING, "the run that measured this value first"),
        _AS_OF,
        _required("stage", STRING, "the stage that was measured"),
        _required("metric", STRING, ""),
        _required("slice", STRING, "what was measured of what: model=…, items=…, k=…"),
        _required("value", DOUBLE, ""),
        _optional("lower", DOUBLE, "bound of the 95 % bootstrap interval"),
        _optional("upper", DOUBLE, "bound of the 95 % bootstrap interval"),
    ]),
    constraints={"interval": "lower IS NULL OR lower <= upper"},
)  # fmt: skip

RUNS = Table(
    "runs", "one row per stage that ran, whether it ended well or not", "every", ("run_id", "stage"),
    StructType([
        _required("run_id", STRING, "one per command"),
        _required("stage", STRING, ""),
        _optional("as_of", DATE, ""),
        _required("status", STRING, "done, refused or failed"),
        _required("started_at", TIME, "UTC"),
        _required("ended_at", TIME, "UTC"),
        _optional("rows_in", LONG, ""),
        _optional("rows_out", LONG, ""),
        _required("config_sha256", STRING, "fingerprint of every value of the config"),
        _required("code_version", STRING, ""),
        _required("input_versions", MapType(STRING, LONG), "Delta version of every table read"),
        _optional("message", STRING, "counts by name, or what went wrong"),
    ]),
    constraints={"known_status": "status IN ('done', 'refused', 'failed')"},
    # What a stage that ended well says is counts; an error may quote the data.
    names_users=NamesUsers("message", within="status <> 'done'"),
)  # fmt: skip

FORGOTTEN_USERS = Table(
    "forgotten_users", "who was to be forgotten, so that sources that still hold them bring nobody back", "forget_users", ("user_hash",),
    StructType([
        _required("user_hash", STRING, "SHA-256 of the user id"),
        _required("forgotten_at", TIME, "UTC, the first time"),
    ]),
)  # fmt: skip

TABLES = (
    INTERACTIONS, INTERACTIONS_QUARANTINE, DATA_QUALITY, ITEM_VERSIONS, ITEMS, USERS, SOURCE_FILES, TEXT_EMBEDDINGS,
    ITEM_INTERESTS, INTERESTS, USER_INTERESTS,
    USER_TIERS, USER_VECTORS, CLUSTERS, USER_CLUSTERS, RECOMMENDATIONS, METRICS, RUNS, FORGOTTEN_USERS,
)  # fmt: skip


class Warehouse:
    """The tables of one warehouse. Every write is one Delta commit: it happens whole or not at all."""

    def __init__(self, spark: SparkSession, location: str) -> None:
        """location: a folder or ``catalog.schema``.

        Raises WarehouseError for a folder that is a file or holds something else, or a schema that is not there.
        """
        self.spark = spark
        self.location = location.rstrip("/")
        self._is_catalog = re.fullmatch(r"\w+\.\w+", location) is not None
        self._ready: set[str] = set()
        self._days: set[tuple[str, date]] = set()
        self._staged: set[str] = set()
        if self._is_catalog:
            if not spark.catalog.databaseExists(self.location):
                raise WarehouseError(
                    f"--warehouse {location}: there is no such schema; make it with CREATE SCHEMA, or write ./{location} for a folder"
                )
            return
        target = self._hadoop_path(self.location)
        # Delta takes no relative path; which file system a bare path means is Hadoop's to say.
        self._root = str(target.getFileSystem(self._hadoop_conf()).makeQualified(target).toString())
        if self._is_file(self._root):
            raise WarehouseError(f"--warehouse {location}: a file stands there; give a folder or catalog.schema")
        self._require_own_folder()

    def exists(self, table: Table) -> bool:
        """Whether the table is there. Raises WarehouseError for a folder of its name that is not a Delta table."""
        if self._is_catalog:
            return self.spark.catalog.tableExists(self._identifier(table.name))
        path = self._path(table.name)
        if DeltaTable.isDeltaTable(self.spark, path):
            return True
        if self._has_files(path):
            raise WarehouseError(
                f"{path} is not a Delta table (it has files but no _delta_log). Give another --warehouse, or move that folder away"
            )
        return False

    def read(self, table: Table, as_of: date | None = None) -> DataFrame:
        """The rows of a table as seen at as_of.

        Tables with a column as_of: the rows of that day. Interactions: those with event_date < as_of.
        Without as_of: all rows. Raises WarehouseError when the table, or that day of it, has not been made.
        """
        if not self.exists(table):
            raise WarehouseError(f"{self.location} has no table {table.name}: run the stage {table.stage} first")
        rows = self._read_all(table)
        # Until it is written to, a table made by an earlier version lacks them.
        rows = rows.withColumns({c.name: F.lit(None).cast(c.dataType) for c in table.added_since(rows.schema)})
        if as_of is None:
            return rows
        if not table.has_as_of:
            return rows.where(F.col("event_date") < F.lit(as_of)) if "event_date" in table.schema.names else rows
        day = rows.where(F.col("as_of") == F.lit(as_of))
        # One command reads the same day many times over.
        if (table.name, as_of) not in self._days:
            if day.isEmpty():
                raise WarehouseError(f"{table.name} has no rows for as_of {as_of}: run the stage {table.stage} with --as-of {as_of} first")
            self._days.add((table.name, as_of))
        return day

    def version(self, table: Table) -> int:
        """The current Delta version of a table."""
        row = self._delta(table).history(1).select("version").first()
        assert row is not None  # a Delta table has at least the commit that made it
        return int(row["version"])

    def replace(self, table: Table, rows: DataFrame) -> int:
        """Replace the whole table; returns the number of rows written."""
        return self._overwrite(table, rows, condition=None)

    def replace_day(self, table: Table, rows: DataFrame, as_of: date) -> int:
        """Replace the rows of one day and leave the others as they are; returns the number of rows written."""
        dated = rows.withColumn("as_of", F.lit(as_of))
        return self._overwrite(table, dated, condition=f"as_of = DATE'{as_of.isoformat()}'")

    def replace_event_dates(self, table: Table, rows: DataFrame, days: Sequence[date]) -> None:
        """Replace the rows of these days and leave the others as they are. Rows must be stored already (see stage)."""
        listed = ", ".join(f"DATE'{day.isoformat()}'" for day in days)
        self._ensure(table)
        self._save(table, self._shaped(table, rows), mode="overwrite", condition=f"event_date IN ({listed})")

    def append(self, table: Table, rows: DataFrame) -> None:
        """Add rows."""
        self._ensure(table)
        self._save(table, self._shaped(table, rows), mode="append")

    def insert_missing(self, table: Table, rows: DataFrame) -> int:
        """Add the rows whose key is not there yet; returns how many. Rows must be stored already (see stage)."""
        self._ensure(table)
        with self._marked("") as mark:
            self._merge(table, rows).whenNotMatchedInsertAll().execute()
        return self._count_of(table, mark, "numTargetRowsInserted")

    def replace_changed(self, table: Table, rows: DataFrame, within: str, ignoring: Sequence[str] = ()) -> None:
        """Make the rows that satisfy ``within`` equal to ``rows``; a row whose values are the same is not touched.

        within: SQL on the table, each column prefixed by ``target.``. ignoring: columns that alone make no
        change, such as the run that measured a value. Rows must be stored already (see stage).
        """
        self._ensure(table)
        self._forget_days(table)
        compared = [c for c in table.schema.names if c not in {*table.key, *ignoring}]
        changed = " OR ".join(f"NOT (target.`{c}` <=> source.`{c}`)" for c in compared)
        (
            self._merge(table, rows)
            .whenMatchedUpdateAll(condition=changed)
            .whenNotMatchedInsertAll()
            .whenNotMatchedBySourceDelete(condition=within)
            .execute()
        )

    def delete_users(self, table: Table, users: DataFrame) -> int:
        """Remove the rows of these users; returns how many. users: user_id string, each once and stored already (see stage)."""
        return self._remove(table, users, ["user_id"])

    def delete_keys(self, table: Table, keys: DataFrame) -> int:
        """Remove rows of users by their keys; returns how many. keys: the key of the table, each once and stored already (see stage)."""
        return self._remove(table, keys, table.key)

    def delete_unused(self, table: Table, keys: DataFrame) -> int:
        """Remove rows that nothing refers to; returns how many. keys: as in delete_keys."""
        return self._remove(table, keys, table.key, beginning="")

    def compact(self, table: Table, above_files: int) -> int:
        """Join the small files of a table that has more files than this, within its partitions; returns how many files went."""
        detail = self._delta(table).detail().select("numFiles").first()
        assert detail is not None  # a Delta table describes itself in one row
        if detail["numFiles"] <= above_files:
            return 0
        joined = self._delta(table).optimize().executeCompaction().select("metrics.numFilesRemoved").first()
        return 0 if joined is None else int(joined[0])

    def empty(self, table: Table, keys: DataFrame, column: str) -> int:
        """Make a column null in the rows with these keys; returns how many. keys: as in delete_keys."""
        with self._marked(REMOVES_USERS) as mark:
            self._matched(table, keys, table.key).whenMatchedUpdate(set={column: F.lit(None)}).execute()
        return self._count_of(table, mark, "numTargetRowsUpdated")

    def delete_files_of_users(self) -> None:
        """Remove the files beside the tables that name users: the report, and what a killed command wrote aside.

        Models hold weights and no user; a model that keeps rows of users belongs here too.
        """
        if self._is_catalog:
            for row in self.spark.sql(f"SHOW TABLES IN {self.location} LIKE '_staging_*'").collect():
                self.spark.sql(f"DROP TABLE IF EXISTS {self._identifier(row['tableName'])}")
        else:
            for folder in (STAGING, REPORT):
                path = self._hadoop_path(self._path(folder))
                path.getFileSystem(self._hadoop_conf()).delete(path, True)
        self._staged.clear()

    def keep_users_out_of_log(self, table: Table) -> None:
        """Let a table made by an earlier version keep no more texts in its log, and remember that it has some."""
        if self._properties(table).get(STATISTICS) != table.properties[STATISTICS]:
            self._set_properties(table, {STATISTICS: table.properties[STATISTICS], LOG_NAMES_USERS: "true"})

    def vacuum(self, table: Table, forgotten_at: datetime | None, retention_hours: int | None = None) -> Vacuumed:
        """Remove the files that belong to no version younger than the table's retention.

        forgotten_at: when a user was entered as forgotten last. retention_hours: becomes the table's own retention, and
        what it was before comes back afterwards, also when an earlier run was killed in between.
        """
        properties = self._own_retention(table)
        with self._shortened(table, properties, retention_hours) as retention:
            cutoff = self._time(f"current_timestamp() - {retention}")
            self._delta(table).vacuum()
            oldest, removed_at = self._past(table, cutoff)
        # Whoever was entered as forgotten had left the current version of every table by then, or was removed later.
        last = max((time for time in (removed_at, forgotten_at) if time is not None), default=None)
        if last is None:
            return Vacuumed(table.name, None, None, oldest)
        log_until = None
        if LOG_NAMES_USERS in properties:
            # Delta removes whole days of its log.
            log_until = self._time(f"{_instant(last)} + {_interval(properties, LOG_RETENTION)} + interval 1 day")
        return Vacuumed(table.name, self._time(f"{_instant(last)} + {retention}"), log_until, oldest)

    def stage(self, name: str, rows: DataFrame) -> DataFrame:
        """Write rows aside and read them back, so that what follows neither computes them again nor sees them change."""
        self._staged.add(name)
        if self._is_catalog:
            identifier = self._staging_identifier(name)
            self.spark.sql(f"DROP TABLE IF EXISTS {identifier}")
            rows.write.format("delta").saveAsTable(identifier)
            return self.spark.read.table(identifier)
        path = self._path(f"{STAGING}/{name}")
        rows.write.mode("overwrite").parquet(path)
        return self.spark.read.schema(rows.schema).parquet(path)

    def clear_stage(self, prefix: str = "") -> None:
        """Remove what ``stage`` wrote under names that begin so; by default all of it."""
        for name in sorted(name for name in self._staged if name.startswith(prefix)):
            if self._is_catalog:
                self.spark.sql(f"DROP TABLE IF EXISTS {self._staging_identifier(name)}")
            else:
                path = self._hadoop_path(self._path(f"{STAGING}/{name}"))
                path.getFileSystem(self._hadoop_conf()).delete(path, True)
            self._staged.remove(name)

    def checkpoint_path(self) -> str:
        """Where streams remember what they have seen. Raises WarehouseError for a catalog, which holds no files."""
        if self._is_catalog:
            raise WarehouseError(f"--warehouse {self.location} holds no files: give --checkpoints a folder for what the stream remembers")
        return f"{self._root}/{CHECKPOINTS}"

    def report_path(self) -> str:
        """Where the report of this warehouse stands. Raises WarehouseError for a catalog, which holds no files."""
        if self._is_catalog:
            raise WarehouseError(f"--warehouse {self.location}: a report is a file; give --warehouse a folder for it")
        return f"{self.location}/{REPORT}/index.html"

    def write_parquet(self, path: str, rows: DataFrame, partition_by: str | None = None) -> None:
        """Write rows to Parquet in a folder of any file system that Spark knows, for other readers, which hold a row group each."""
        writer = rows.write.mode("overwrite").option("parquet.block.size", ROW_GROUP_BYTES)
        (writer if partition_by is None else writer.partitionBy(partition_by)).parquet(path)

    def write_text(self, path: str, text: str) -> None:
        """Write a text file to any file system that Spark knows."""
        target = self._hadoop_path(path)
        stream = target.getFileSystem(self._hadoop_conf()).create(target, True)
        try:
            stream.write(bytearray(text.encode("utf-8")))
        finally:
            stream.close()

    def _overwrite(self, table: Table, rows: DataFrame, condition: str | None) -> int:
        self._ensure(table)
        self._forget_days(table)
        with self._marked("") as mark:
            self._save(table, self._shaped(table, rows), mode="overwrite", condition=condition)
        return self._count_of(table, mark, "numOutputRows")

    def _forget_days(self, table: Table) -> None:
        """Whether a day of a table has rows is to be asked again."""
        self._days = {(name, day) for name, day in self._days if name != table.name}

    def _save(self, table: Table, rows: DataFrame, mode: str, condition: str | None = None) -> None:
        if table.partition_by and not table.has_as_of:
            # One file per partition rather than one per partition and task; a large one is split.
            rows = self.spark.sql(f"SELECT /*+ REBALANCE(`{table.partition_by}`) */ * FROM {{rows}}", rows=rows)
        if self._is_catalog:
            self._save_in_catalog(table, rows, mode, condition)
            return
        writer = rows.write.format("delta").mode(mode)
        if condition is not None:
            writer = writer.option("replaceWhere", condition)
        writer.save(self._path(table.name))

    def _save_in_catalog(self, table: Table, rows: DataFrame, mode: str, condition: str | None) -> None:
        # Not saveAsTable: to overwrite, it replaces the table itself, which Delta 3.3 does not support on Spark 3.5.6 or later.
        writer = rows.writeTo(self._identifier(table.name))
        if mode == "append":
            writer.append()
        else:
            writer.overwrite(F.expr(condition or "true"))

    def _shaped(self, table: Table, rows: DataFrame) -> DataFrame:
        return rows.select(*[F.col(c.name).cast(c.dataType).alias(c.name) for c in table.schema.fields])

    def _remove(self, table: Table, rows: DataFrame, columns: Sequence[str], beginning: str = REMOVES_USERS) -> int:
        self._forget_days(table)
        with self._marked(beginning) as mark:
            self._matched(table, rows, columns).whenMatchedDelete().execute()
        return self._count_of(table, mark, "numTargetRowsDeleted")

    def _matched(self, table: Table, rows: DataFrame, columns: Sequence[str]):  # type: ignore[no-untyped-def]
        same = " AND ".join(f"target.`{c}` = source.`{c}`" for c in columns)
        return self._delta(table).alias("target").merge(rows.alias("source"), same)

    @contextmanager
    def _marked(self, beginning: str) -> Iterator[str]:
        """Commits made meanwhile carry a mark that no other commit has; it begins as asked for."""
        key, mark = "spark.databricks.delta.commitInfo.userMetadata", f"{beginning} {uuid.uuid4().hex}".strip()
        self.spark.conf.set(key, mark)
        try:
            yield mark
        finally:
            self.spark.conf.unset(key)

    @contextmanager
    def _shortened(self, table: Table, properties: Mapping[str, str], hours: int | None) -> Iterator[str]:
        """The retention of a table as an SQL interval, while it is so many hours."""
        if hours is None:
            yield _interval(properties, DATA_RETENTION)
            return
        interval = f"interval {hours} hours"
        self._set_properties(table, {DATA_RETENTION: interval, RETENTION_BEFORE: properties.get(DATA_RETENTION, "")})
        try:
            yield interval
        finally:
            self._own_retention(table)

    def _own_retention(self, table: Table) -> dict[str, str]:
        """Give a table back the retention that it had before it was shortened; returns its properties."""
        properties = self._properties(table)
        before = properties.pop(RETENTION_BEFORE, None)
        if before is None:
            return properties
        if before:
            properties[DATA_RETENTION] = before
            self._set_properties(table, {DATA_RETENTION: before})
            self._unset_properties(table, [RETENTION_BEFORE])
        else:
            del properties[DATA_RETENTION]
            self._unset_properties(table, [DATA_RETENTION, RETENTION_BEFORE])
        return properties

    def _past(self, table: Table, cutoff: datetime) -> tuple[int, datetime | None]:
        """The oldest version that has all its files, those removed before the cutoff being gone; and when users were removed last."""
        removed = F.col("userMetadata").startswith(REMOVES_USERS) & (F.expr("operationMetrics['numTargetFilesRemoved']").cast("bigint") > 0)
        kept = F.max(F.when(F.col("timestamp") <= F.lit(cutoff), F.col("version")))
        past = self._delta(table).history().select(
            F.coalesce(kept, F.min("version")).alias("oldest"), F.max(F.when(removed, F.col("timestamp"))).alias("removed_at")
        ).first()  # fmt: skip
        assert past is not None  # an aggregate without keys has one row
        return int(past["oldest"]), past["removed_at"]

    def _time(self, expression: str) -> datetime:
        row = self.spark.range(1).select(F.expr(expression).alias("time")).first()
        assert row is not None
        return row["time"]

    def _properties(self, table: Table) -> dict[str, str]:
        rows = self.spark.sql(f"SHOW TBLPROPERTIES {self._sql_name(table)}").collect()
        return {row["key"]: row["value"] for row in rows}

    def _set_properties(self, table: Table, properties: Mapping[str, str]) -> None:
        pairs = ", ".join(f"'{key}' = '{value}'" for key, value in properties.items())
        self.spark.sql(f"ALTER TABLE {self._sql_name(table)} SET TBLPROPERTIES ({pairs})")

    def _unset_properties(self, table: Table, keys: Sequence[str]) -> None:
        names = ", ".join(f"'{key}'" for key in keys)
        self.spark.sql(f"ALTER TABLE {self._sql_name(table)} UNSET TBLPROPERTIES IF EXISTS ({names})")

    def _sql_name(self, table: Table) -> str:
        if self._is_catalog:
            return self._identifier(table.name)
        return f"delta.{quoted_name(self._path(table.name))}"

    def _merge(self, table: Table, rows: DataFrame):  # type: ignore[no-untyped-def]
        shaped = self._shaped(table, rows)
        repeated = shaped.groupBy(*table.key).count().where("count > 1").first()
        if repeated is not None:
            raise WarehouseError(f"{table.name}: two rows to merge have the same key {repeated.asDict()}")
        return self._matched(table, shaped, table.key)

    def _ensure(self, table: Table) -> None:
        """Make the table if it is not there; refuse one of another shape, but for columns that later versions added."""
        if table.name in self._ready:
            return
        if self.exists(table):
            self._require_same_columns(table)
            self._widen(table)
        else:
            self._create(table)
        self._ready.add(table.name)

    def _create(self, table: Table) -> None:
        builder: DeltaTableBuilder = DeltaTable.createIfNotExists(self.spark)
        builder = builder.tableName(self._delta_identifier(table.name)) if self._is_catalog else builder.location(self._path(table.name))
        builder = builder.addColumns(table.schema).comment(table.description)
        for name, value in table.properties.items():
            builder = builder.property(name, value)
        if table.partition_by:
            builder = builder.partitionedBy(table.partition_by)
        builder.execute()

    def _widen(self, table: Table) -> None:
        """Add the columns that earlier versions did not have: null in the rows so far."""
        added = table.added_since(self._read_all(table).schema)
        if added:
            columns = ", ".join(f"`{c.name}` {c.dataType.simpleString()} COMMENT '{c.metadata['comment']}'" for c in added)
            self.spark.sql(f"ALTER TABLE {self._sql_name(table)} ADD COLUMNS ({columns})")

    def _require_same_columns(self, table: Table) -> None:
        schema = self._read_all(table).schema
        found, added = {f.name: f.dataType.simpleString() for f in schema.fields}, table.added_since(schema)
        expected = {f.name: f.dataType.simpleString() for f in table.schema.fields if f not in added}
        if found != expected:
            differing = sorted(k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k))
            details = ", ".join(f"{c}: found {found.get(c, 'nothing')}, expected {expected.get(c, 'nothing')}" for c in differing)
            raise WarehouseError(f"{self.location}: the table {table.name} has other columns ({details}). Give another --warehouse")

    def _read_all(self, table: Table) -> DataFrame:
        if self._is_catalog:
            return self.spark.read.table(self._identifier(table.name))
        return self.spark.read.format("delta").load(self._path(table.name))

    def _delta(self, table: Table) -> DeltaTable:
        if self._is_catalog:
            return DeltaTable.forName(self.spark, self._delta_identifier(table.name))
        return DeltaTable.forPath(self.spark, self._path(table.name))

    def _count_of(self, table: Table, mark: str, metric: str) -> int:
        """A count of the commit with a mark, from Delta's own record rather than from another scan.

        A write that changes nothing makes no commit; its count is 0.
        """
        commits = self._delta(table).history(COMMITS_SEARCHED).where(F.col("userMetadata") == mark)
        made = commits.select(F.col("operationMetrics")[metric].alias("count")).first()
        return 0 if made is None else int(made["count"] or 0)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _identifier(self, name: str) -> str:
        catalog, schema = self.location.split(".")
        return f"`{catalog}`.`{schema}`.`{name}`"

    def _delta_identifier(self, name: str) -> str:
        """The name for Delta's own functions, which take no catalog for a table of the session's catalog."""
        return self._identifier(name).removeprefix("`spark_catalog`.")

    def _staging_identifier(self, name: str) -> str:
        return self._identifier("_staging_" + re.sub(r"\W", "_", name))

    def _hadoop_path(self, path: str):  # type: ignore[no-untyped-def]
        return self.spark._jvm.org.apache.hadoop.fs.Path(path)  # type: ignore[union-attr]

    def _hadoop_conf(self):  # type: ignore[no-untyped-def]
        return self.spark._jsparkSession.sessionState().newHadoopConf()

    def _require_own_folder(self) -> None:
        """Refuse, before any work, a folder that is no warehouse, or whose tables are not Delta."""
        root = self._hadoop_path(self._root)
        system = root.getFileSystem(self._hadoop_conf())
        if not system.exists(root):
            return
        names = sorted(str(entry.getPath().getName()) for entry in system.listStatus(root))
        # A config may lie beside the tables.
        visible = [name for name in names if not name.startswith(".") and not name.endswith((".yaml", ".yml"))]
        known = {table.name: table for table in TABLES}
        if visible and not any(name in known or name in (STAGING, REPORT, CHECKPOINTS) for name in visible):
            raise WarehouseError(
                f"--warehouse {self.location}: not a warehouse; it holds {', '.join(visible[:NAMED_ENTRIES])} and no Delta table of this "
                "project. Give an empty folder, or one that is not there yet"
            )
        for name in visible:
            if name in known:
                self.exists(known[name])

    def _is_file(self, path: str) -> bool:
        target = self._hadoop_path(path)
        system = target.getFileSystem(self._hadoop_conf())
        return bool(system.exists(target)) and not system.getFileStatus(target).isDirectory()

    def _has_files(self, path: str) -> bool:
        target = self._hadoop_path(path)
        system = target.getFileSystem(self._hadoop_conf())
        return bool(system.exists(target)) and len(system.listStatus(target)) > 0


def _interval(properties: Mapping[str, str], key: str) -> str:
    """A duration among a table's properties as an SQL interval."""
    text = properties.get(key, DEFAULT_RETENTION[key])
    return text if text.lower().startswith("interval") else f"interval {text}"


def _instant(time: datetime) -> str:
    """A time that Spark gave, in SQL. Not as text: it has no zone, and the driver's may be another than the session's."""
    return f"timestamp_micros({round(time.timestamp() * 1_000_000)})"
