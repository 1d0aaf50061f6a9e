"""Declare every table of a warehouse once: columns, units, key, partition, constraints."""

from __future__ import annotations

from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DateType,
    DoubleType,
    FloatType,
    LongType,
    MapType,
    StringType,
    StructType,
    TimestampType,
)

from interest_tiers.storage.table import NamesUsers, Table
from interest_tiers.storage.table import optional_column as _optional
from interest_tiers.storage.table import required_column as _required

STRING, LONG, DOUBLE, DATE, TIME, BOOLEAN = (
    StringType(), LongType(), DoubleType(), DateType(), TimestampType(), BooleanType()
)  # fmt: skip
STRINGS, VECTOR = ArrayType(StringType()), ArrayType(FloatType())

_AS_OF = _required("as_of", DATE, "only interactions before this day were seen")
_USER = _required("user_id", STRING, "")
_INTEREST = _required("interest_id", STRING, "")
_CLUSTER = _required("cluster_id", STRING, "stays the same over days and refits, see cluster_models")

INTERACTIONS = Table(
    "interactions", "who did what to which item, and when; cleaned", "clean", ("interaction_id",),
    StructType([
        _required("interaction_id", STRING, "128-bit fingerprint of the source's row, or of the event where the config names its id"),
        _USER,
        _required("item_id", STRING, ""),
        _required("behaviour", STRING, "one of the configured behaviours"),
        _required("occurred_at", TIME, "UTC"),
        _required("event_date", DATE, "the day of occurred_at, UTC"),
        _optional("value", DOUBLE, "amount, price or rating, in the source's unit"),
        _optional("text", STRING, "what the user wrote"),
        _optional("given_value", DOUBLE, "the value before it was clipped; null where it was not"),
        _required("source", STRING, "source of the config"),
    ]),
    partition_by="event_date",
    constraints={"event_date_is_the_day_of_occurred_at": "event_date = CAST(occurred_at AS DATE)"},
)  # fmt: skip

INTERACTIONS_QUARANTINE = Table(
    "interactions_quarantine", "rows that could not be used, with every reason", "clean", ("row_hash",),
    StructType([
        _required("row_hash", STRING, "SHA-256 of source and raw"),
        _required("reasons", STRINGS, "every rule that the row breaks"),
        _required("raw", STRING, "the row as JSON"),
        _required("source", STRING, "source of the config"),
        _required("run_id", STRING, "the run that found it first"),
        _optional("event_date", DATE, "where the row's time could be read"),
        _required("is_noise", BOOLEAN, "quarantined only because of the other rows of its day; raw is then the cleaned row"),
    ]),
    constraints={"has_a_reason": "size(reasons) > 0"},
    names_users=NamesUsers("raw"),
)  # fmt: skip

DATA_QUALITY = Table(
    "data_quality", "quality measures of every run of clean, and whether they met the limits of the config", "clean",
    ("run_id", "source", "measure", "subject"),
    StructType([
        _required("run_id", STRING, ""),
        _required("measured_at", TIME, "UTC"),
        _required("source", STRING, "source of the config; all for all sources together"),
        _required("measure", STRING, ""),
        _required("subject", STRING, "column or reason that is measured; empty where there is none"),
        _required("value", DOUBLE, ""),
        _optional("limit", DOUBLE, "limit of the config; null where there is none"),
        _optional("passed", BOOLEAN, "whether the limit is met"),
        _optional("example", STRING, "a row with that reason, its letters and digits masked"),
    ]),
    constraints={"passed_goes_with_limit": "(passed IS NULL) = (limit IS NULL)"},
    is_shared=True,
)  # fmt: skip

ITEMS = Table(
    "items", "the item catalogue", "clean", ("item_id",),
    StructType([
        _required("item_id", STRING, ""),
        _optional("text", STRING, "normalised; null where the source has none"),
        _optional("text_hash", STRING, "SHA-256 of text"),
        _optional("category", STRING, "normalised; null where the source has none"),
        _optional("levels", STRINGS, "names in the hierarchy of the config, coarse to fine, normalised; null without a hierarchy"),
    ]),
    constraints={"hash_goes_with_text": "(text IS NULL) = (text_hash IS NULL)"},
    added=("levels",),
)  # fmt: skip

ITEM_VERSIONS = Table(
    "item_versions", "every version of an item in the items' source, with its number of rows", "clean",
    ("item_id", "text", "category", "levels"),
    StructType([
        _required("item_id", STRING, ""),
        _required("text", STRING, "normalised; empty where the row has none"),
        _required("category", STRING, "normalised; empty where the row has none"),
        _required("levels", STRINGS, "as in items; empty where the row has none"),
        _required("is_dropped", BOOLEAN, "the config drops its category"),
        _required("n_rows", LONG, "rows of the source with this version"),
        _required("run_id", STRING, "the run that wrote the table"),
    ]),
    constraints={"some_row_says_so": "n_rows >= 1"},
    added=("levels",),
)  # fmt: skip

SOURCE_FILES = Table(
    "source_files", "files whose rows are in the tables; clean does not read them again", "clean", ("source", "path"),
    StructType([
        _required("source", STRING, "source of the config"),
        _required("path", STRING, ""),
        _required("state", STRING, "size and time of its last change; version of a Delta table"),
        _required("rules", STRING, "fingerprint of the part of the config that decides how rows are cleaned"),
        _required("columns", STRING, "the columns of the source so far, as JSON"),
        _required("run_id", STRING, "the run that read it"),
    ]),
)  # fmt: skip

USERS = Table(
    "users", "every user of the interactions or of the users' source", "clean", ("user_id",),
    StructType([
        _USER,
        _required("attributes", MapType(STRING, STRING), "attributes from the users' source; empty where it has none"),
    ]),
)  # fmt: skip

TEXT_EMBEDDINGS = Table(
    "text_embeddings", "each distinct text once per model", "embed", ("text_hash", "model_id"),
    StructType([
        _required("text_hash", STRING, "SHA-256 of the normalised text"),
        _required("model_id", STRING, "model, token limit and a fingerprint of the weights"),
        _required("embedding", VECTOR, "L2 norm 1"),
        _optional("n_tokens", LONG, "tokens of the text that the model read; null in rows of earlier versions"),
        _optional("n_unknown", LONG, "tokens that the model does not know; where they are all, the vector says nothing of the text"),
        _optional("n_single", LONG, "tokens that are a single letter"),
    ]),
    partition_by="model_id",
    constraints={
        "embedding_is_not_empty": "size(embedding) > 0",
        # NaN is larger than any other number.
        "embedding_is_finite": "size(embedding) = 0 OR "
        "(array_max(embedding) < float('Infinity') AND array_min(embedding) > float('-Infinity'))",
    },
    added=("n_tokens", "n_unknown", "n_single"),
    is_shared=True,
)  # fmt: skip

ITEM_INTERESTS = Table(
    "item_interests", "the interest of each item", "build_interests", ("item_id", "as_of"),
    StructType([
        _required("item_id", STRING, "items without a category have no row; where interests are topics, items without a text"),
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
        _required("name", STRING, "the category, or the topic's most characteristic words; unique within one as_of and parent"),
        _required("kind", STRING, "category or topic"),
        _optional("embedding", VECTOR, "mean embedding of its items seen before as_of, or the centroid of the topic; L2 norm 1"),
        _required("n_items", LONG, "distinct items touched before as_of"),
        _required("n_users", LONG, "distinct users who touched them"),
        _required("top_terms", STRINGS, "most characteristic words of its items' texts"),
        _optional("level", LONG, "level in the hierarchy, 1 is the coarsest; 1 without a hierarchy"),
        _optional("parent_id", STRING, "its parent, one level above; null at the coarsest level and without a hierarchy"),
    ]),
    partition_by="as_of",
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
        _required("share", DOUBLE, "evidence over the user's total; 0 where that is 0; per level where there is a hierarchy"),
        _required("rank", LONG, "1 is the user's interest with the most evidence; per level where there is a hierarchy"),
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
    "user_tiers", "predicted tier of each interest of a user over the next horizon_days", "assign_tiers",
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
        _optional("low_evidence", BOOLEAN, "the user has events on fewer than tiers.min_days days; null in rows of earlier versions"),
    ]),
    partition_by="as_of",
    added=("low_evidence",),
    constraints={
        "known_tier": "tier IN ('core', 'secondary', 'marginal')",
        "known_method": "method IN ('model', 'rule')",
        "probabilities": "p_core BETWEEN 0 AND 1 AND p_secondary BETWEEN 0 AND 1 AND p_marginal BETWEEN 0 AND 1",
        "probabilities_sum_to_1": "abs(p_core + p_secondary + p_marginal - 1) < 0.000001",
    },
)  # fmt: skip

USER_VECTORS = Table(
    "user_vectors", "one vector per user; similar users have a high cosine", "cluster_users", ("user_id", "as_of"),
    StructType([
        _USER,
        _AS_OF,
        _required("vector", VECTOR, "components of the space of the model: what the user does beside what all users do; L2 norm 1"),
    ]),
    partition_by="as_of",
    constraints={"vector_is_not_empty": "size(vector) > 0"},
)  # fmt: skip

CLUSTERS = Table(
    "clusters", "groups of similar users", "cluster_users", ("cluster_id", "as_of"),
    StructType([
        _CLUSTER,
        _AS_OF,
        _required("name", STRING, "its most characteristic interests"),
        _required("size", LONG, "users whose primary cluster it is"),
        _required("centroid", VECTOR, "L2 norm 1"),
        _optional("silhouette", DOUBLE, "mean over its users, centroid form, cosine; null with one cluster"),
        _required("top_interests", STRINGS, "names, most characteristic first"),
        _required("model_version", STRING, "see cluster_models"),
        _optional("previous_size", LONG, "size on the latest earlier day; null where nobody was in it, and in rows of earlier versions"),
        _optional("top_items", STRINGS, "texts of items, or ids where there are none, most characteristic first"),
        _optional("top_attributes", ArrayType(StructType([_optional("name", STRING, ""), _optional("value", STRING, ""), _optional(
            "share", DOUBLE, "of the cluster's users who have the attribute"), _optional("lift", DOUBLE, "share over that of all users"),
        ])), "attributes of users that set the cluster apart, the most characteristic first; null in rows of earlier versions"),
    ]),
    partition_by="as_of",
    added=("previous_size", "top_items", "top_attributes"),
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
        _required("is_primary", BOOLEAN, "the nearest cluster, or that of the day before where no other is nearer by much; one per user"),
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

CLUSTER_MODELS = Table(
    "cluster_models", "fitted clusterings: a model serves until the next refit, which keeps the ids of its clusters", "cluster_users",
    ("model_version",),
    StructType([
        _required("model_version", STRING, "its day, and a fingerprint of its settings and of the evidence that it was fitted to"),
        _required("fitted_as_of", DATE, "only interactions before this day were seen"),
        _required("settings", STRING, "fingerprint of the settings; a model serves under the same settings alone"),
        _required("k", LONG, "number of clusters"),
        _required("cluster_ids", STRINGS, ""),
        _required("sizes", ArrayType(LONG), "users of every cluster at the fit"),
        _required("mean_distance", DOUBLE, "of users to the centroid of their primary cluster at the fit"),
        _required("last_number", LONG, "the largest number that a cluster has had"),
        _required("trials", ArrayType(StructType([
            _optional("k", LONG, "number of clusters"),
            _optional("silhouette", DOUBLE, "mean over a sample of users, cosine"),
            _optional("null_silhouette", DOUBLE, "of a Gaussian of the same covariance, scaled and clustered alike"),
            _optional("agreement", DOUBLE, "adjusted Rand index of the clusters of two halves of the users"),
            _optional("smallest", DOUBLE, "share of users in the smallest cluster"),
        ])), "every k that was tried"),
        _required("changes", ArrayType(StructType([
            _optional("cluster_id", STRING, "the old id of a cluster that ended, else the new one"),
            _optional("change", STRING, "kept, born, split, died or merged"),
            _optional("other_id", STRING, "the cluster that it split from or merged into"),
            _optional("shared", LONG, "users in both; 0 for born and died"),
        ])), "what the fit did to the clusters of the model before; empty for the first"),
        _required("parts", ArrayType(StructType([
            _optional("part", STRING, "centroids, or a part of the space of the vectors"),
            _optional("id", STRING, "cluster, interest, item or number of the row"),
            _optional("values", ArrayType(DOUBLE), ""),
        ])), "the arrays of the model, row by row"),
    ]),
    is_shared=True,
)  # fmt: skip

RECOMMENDATIONS = Table(
    "recommendations", "what to show each user next, and why", "recommend", ("user_id", "as_of", "rank"),
    StructType([
        _USER,
        _AS_OF,
        _required("rank", LONG, "1 is shown first"),
        _required("item_id", STRING, ""),
        _required("score", DOUBLE, "probability of use within the horizon, or the score without a model; see docs/method.md"),
        _required("interest_id", STRING, "the item's interest"),
        _required("tier", STRING, "tier of that interest for the user; marginal where the user has not had it"),
        _optional("cluster_id", STRING, "the user's primary cluster where its users had the item far more than others; null elsewhere"),
        _required("reason", STRING, "explanation for a reader"),
    ]),
    partition_by="as_of",
    constraints={"rank_starts_at_1": "rank >= 1", "known_tier": "tier IN ('core', 'secondary', 'marginal')"},
)  # fmt: skip

METRICS = Table(
    "metrics", "metrics of each stage and as_of", "evaluate", ("as_of", "stage", "metric", "slice"),
    StructType([
        _required("run_id", STRING, "the run that measured this value first"),
        _AS_OF,
        _required("stage", STRING, "the stage that was measured"),
        _required("metric", STRING, ""),
        _required("slice", STRING, "model, items, k and the like, as name=value"),
        _required("value", DOUBLE, ""),
        _optional("lower", DOUBLE, "bound of the 95 % bootstrap interval"),
        _optional("upper", DOUBLE, "bound of the 95 % bootstrap interval"),
    ]),
    partition_by="as_of",
    constraints={"interval": "lower IS NULL OR lower <= upper"},
)  # fmt: skip

RUNS = Table(
    "runs", "one row per stage that ran, successful or not", "every", ("run_id", "stage"),
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
        _optional("message", STRING, "counts by name, or the error"),
    ]),
    constraints={"known_status": "status IN ('done', 'refused', 'failed')"},
    # The message of a successful stage holds counts only; an error may quote the data.
    names_users=NamesUsers("message", within="status <> 'done'"),
    is_shared=True,
)  # fmt: skip

FORGOTTEN_USERS = Table(
    "forgotten_users", "users to forget: sources that still hold them must not bring them back", "forget_users", ("user_hash",),
    StructType([
        _required("user_hash", STRING, "SHA-256 of the user id"),
        _required("forgotten_at", TIME, "UTC, the first time"),
    ]),
    is_shared=True,
)  # fmt: skip

TABLES = (
    INTERACTIONS, INTERACTIONS_QUARANTINE, DATA_QUALITY, ITEM_VERSIONS, ITEMS, USERS, SOURCE_FILES, TEXT_EMBEDDINGS,
    ITEM_INTERESTS, INTERESTS, USER_INTERESTS,
    USER_TIERS, USER_VECTORS, CLUSTER_MODELS, CLUSTERS, USER_CLUSTERS, RECOMMENDATIONS, METRICS, RUNS, FORGOTTEN_USERS,
)  # fmt: skip
