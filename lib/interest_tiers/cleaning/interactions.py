"""Maps interaction rows to the contract's columns and finds every reason why a row cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import NumericType

from interest_tiers.cleaning.columns import (
    given_column,
    identifier,
    instant,
    is_blank,
    is_epoch,
    is_undecodable,
    is_unreadable,
    kind_of,
    number,
    plausible_in_another_unit,
    require_columns,
    require_sql,
    require_time_format,
    source_column,
)
from interest_tiers.cleaning.quarantine import (
    CANNOT_BE_READ,
    UNDECODABLE,
    WHOLE_TIMES,
    collect_reasons,
    group_key,
    is_good,
    row_fingerprint,
    whole_row,
)
from interest_tiers.cleaning.shaping import UNMATCHED, ambiguous_reasons, own_columns
from interest_tiers.config import (
    UNREADABLE,
    BehaviourWeight,
    ColumnRef,
    InteractionColumns,
    InteractionSource,
    OccurredAt,
    SqlColumn,
    ValueRange,
)
from interest_tiers.text import normalise

#: Columns for the number of copies of a row and for the row itself; names that no source would use.
COPIES, WHOLE_ROW = "__copies", "__row"

#: What copies of one event with an id agree in.
CONTENT = ("event_id", "user_id", "item_id", "behaviour", "occurred_at", "value", "text")

ITEM_DROPPED = "item: its category is dropped"
NOT_CONFIGURED = "behaviour: not configured"

#: By behaviour; None quarantines its rows.
Behaviours = Mapping[str, BehaviourWeight | None]


def assess_interactions(
    raw: DataFrame,
    source: InteractionSource,
    name: str,
    path: str,
    behaviours: Behaviours,
    values: Mapping[str, ValueRange],
    dropped_items: DataFrame,
    today: date,
) -> DataFrame:
    """Map every distinct row of a source and find what is wrong with it.

    raw:           the source's rows (see shaping.shape_rows)
    name, path:    of the source, in the quarantine and in messages
    values:        plausible values by behaviour
    dropped_items: (item_id)
    today:         the day of the run, UTC; later events are implausible
    Returns: (interaction_id, user_id, item_id, behaviour, occurred_at, event_date, value, given_value, text,
              reasons array<string>, raw, copies bigint, source, event_id, unmatched array<string>),
             one row per distinct source row; where the config names an event id, one per distinct CONTENT.
    interaction_id is row_fingerprint, of the row or of CONTENT. given_value is the value before clipping, null where it
    was not clipped. A good row has no reasons and a null raw; raw is JSON. copies counts the row in the source.
    unmatched has the paths of joins without a match.
    Raises ConfigError for a column, a time format or a rule that does not fit the source.
    """
    _require_fit(raw, source, path)
    own = own_columns(raw)
    mapped = _distinct(raw).select(
        row_fingerprint(name, raw.select(*map(source_column, own)).schema).alias("interaction_id"),
        whole_row(own).alias(WHOLE_ROW),
        F.col(COPIES).alias("copies"),
        *_mapped_columns(raw, source, today),
        (F.col(UNMATCHED) if UNMATCHED in raw.columns else F.lit(None).cast("array<string>")).alias("unmatched"),
        *[is_broken.alias(_rule_column(position)) for position, is_broken in enumerate(_rules(raw, source).values())],
    )
    if source.columns.event_id is not None:
        mapped = mapped.withColumn("interaction_id", _event_fingerprint(name, mapped))
    flagged = mapped.join(dropped_items.select("item_id", F.lit(True).alias("is_dropped")), "item_id", "left")
    broken_rules = [F.when(F.col(_rule_column(position)), F.lit(reason)) for position, reason in enumerate(_rules(raw, source))]
    assessed = flagged.withColumn("reasons", collect_reasons([*_own_reasons(source, behaviours, values, today), *broken_rules]))
    clipped = clip_value(values)
    rows = assessed.select(
        "interaction_id",
        "user_id",
        "item_id",
        "behaviour",
        "occurred_at",
        F.to_date("occurred_at").alias("event_date"),
        clipped.alias("value"),
        F.when(clipped != F.col("value"), F.col("value")).alias("given_value"),
        "text",
        "reasons",
        # Only bad rows are written as JSON: Spark would not push a projection up through the join of the dropped items.
        F.when(~is_good(), F.to_json(WHOLE_ROW, WHOLE_TIMES)).alias("raw"),
        "copies",
        F.lit(name).alias("source"),
        "event_id",
        "unmatched",
    )
    return rows if source.columns.event_id is None else _collapse_copies(rows)


def latest_day(how: OccurredAt, today: date) -> date:
    """Return the first day on which an event is implausible. No place on Earth is two days ahead of UTC."""
    return how.latest or today + timedelta(days=2)


def _require_fit(raw: DataFrame, source: InteractionSource, path: str) -> None:
    require_columns(raw, _wanted_columns(source.columns), path)
    require_time_format(raw, "interactions.columns.occurred_at.format", source.columns.occurred_at.format)
    for position, rule in enumerate(source.keep):
        require_sql(raw, f"interactions.keep[{position}]", rule, path)


def _event_fingerprint(name: str, mapped: DataFrame) -> Column:
    """Compute the fingerprint of what copies of an event agree in; of the row where it has no event id."""
    of_event = row_fingerprint(name, mapped.select(*CONTENT).schema)
    return F.when(F.col("event_id").isNotNull(), of_event).otherwise(F.col("interaction_id"))


def _collapse_copies(rows: DataFrame) -> DataFrame:
    """Collapse rows with one interaction_id: a good one stays, else the first by reasons and raw."""
    others = [c for c in rows.columns if c not in ("interaction_id", "copies")]
    first = F.struct("reasons", "raw", *[c for c in others if c not in ("reasons", "raw")])
    one = rows.groupBy("interaction_id").agg(F.min(first).alias("row"), F.sum("copies").alias("copies"))
    return one.select("interaction_id", "copies", "row.*").select(*rows.columns)


def _distinct(raw: DataFrame) -> DataFrame:
    """Group exact duplicates into one row with a count.

    The shuffle comes first, so that one large file is spread over all cores before any other work.
    Partial sums would save nothing, since nearly all rows differ.
    """
    keys = [group_key(f) for f in raw.schema.fields]
    grouped = raw.select(*keys)
    columns = [source_column(c) for c in raw.columns]
    counted = grouped.repartition(*columns).groupBy(*columns).agg(F.count(F.lit(1)).alias(COPIES))
    maps = {f.name for f in raw.schema.fields if f.dataType.typeName() == "map"}
    return counted.select(*[F.map_from_entries(source_column(c)).alias(c) if c in maps else source_column(c) for c in raw.columns], COPIES)


def _behaviour_ref(columns: InteractionColumns) -> ColumnRef | None:
    behaviour = columns.behaviour
    return SqlColumn(sql=behaviour.sql) if behaviour.sql is not None else behaviour.column


def _wanted_columns(columns: InteractionColumns) -> dict[str, ColumnRef]:
    wanted = {
        "user_id": columns.user_id,
        "item_id": columns.item_id,
        "occurred_at.sql" if columns.occurred_at.sql else "occurred_at.column": columns.occurred_at.ref,
        "behaviour.sql" if columns.behaviour.sql else "behaviour.column": _behaviour_ref(columns),
        "value": columns.value,
        "text": columns.text,
        "event_id": columns.event_id,
    }
    return {f"interactions.columns.{key}": ref for key, ref in wanted.items() if ref is not None}


def _mapped_columns(raw: DataFrame, source: InteractionSource, today: date) -> list[Column]:
    columns, missing = source.columns, source.missing
    nothing = F.lit(None).cast("string")

    def id_from(ref: ColumnRef) -> Column:
        return identifier(given_column(raw, ref), kind_of(raw, ref), missing)

    return [
        id_from(columns.user_id).alias("user_id"),
        id_from(columns.item_id).alias("item_id"),
        _behaviour(raw, columns).alias("behaviour"),
        *_time(raw, columns.occurred_at, today),
        *_value(raw, columns.value),
        (nothing if columns.text is None else normalise(given_column(raw, columns.text).cast("string"), missing)).alias("text"),
        (nothing if columns.event_id is None else id_from(columns.event_id)).alias("event_id"),
    ]


def _time(raw: DataFrame, how: OccurredAt, today: date) -> list[Column]:
    """Parse the time, and flag a number that is plausible in another unit."""
    if how.ref is None:
        return [F.lit(how.literal).cast("timestamp").alias("occurred_at"), F.lit(False).alias("is_another_unit")]
    at, kind = given_column(raw, how.ref), kind_of(raw, how.ref)
    another_unit = plausible_in_another_unit(at, how, latest_day(how, today)) if is_epoch(kind, how) else F.lit(False)
    return [instant(at, kind, how).alias("occurred_at"), another_unit.alias("is_another_unit")]


def _behaviour(raw: DataFrame, columns: InteractionColumns) -> Column:
    ref = _behaviour_ref(columns)
    return F.lit(columns.behaviour.literal) if ref is None else F.trim(given_column(raw, ref).cast("string"))


def _value(raw: DataFrame, ref: ColumnRef | None) -> list[Column]:
    """Parse the value, and flag one that is not a number; a missing value is allowed."""
    if ref is None:
        return [F.lit(None).cast("double").alias("value"), F.lit(False).alias("is_value_wrong")]
    given, kind = given_column(raw, ref), kind_of(raw, ref)
    value = number(given, kind)
    is_missing = F.isnan(given.cast("double")) if isinstance(kind, NumericType) else is_blank(given)
    is_wrong = value.isNull() & given.isNotNull() & ~is_missing
    return [value.alias("value"), is_wrong.alias("is_value_wrong")]


def _rules(raw: DataFrame, source: InteractionSource) -> dict[str, Column]:
    """Return the rules on the source's own columns: reason to condition."""
    rules = {f"keep: {rule}": ~F.coalesce(F.expr(rule), F.lit(False)) for rule in source.keep}
    unreadable = is_unreadable(raw)
    if UNREADABLE in raw.columns:
        rules[CANNOT_BE_READ] = unreadable
    if source.element is not None and source.element in raw.columns:
        rules[f"{source.element}: no element"] = source_column(source.element).isNull() & ~unreadable
    return rules | ambiguous_reasons(raw, source)


def _rule_column(position: int) -> str:
    return f"__is_rule_{position}_broken"


def _own_reasons(source: InteractionSource, behaviours: Behaviours, values: Mapping[str, ValueRange], today: date) -> list[Column]:
    """Return the reasons on mapped columns, each null where it does not apply."""
    return [
        F.when(F.col("user_id").isNull(), F.lit("user_id: missing")),
        F.when(F.col("item_id").isNull(), F.lit("item_id: missing")),
        *[F.when(is_undecodable(F.col(key)), F.lit(UNDECODABLE.format(key=key))) for key in ("user_id", "item_id")],
        *_time_reasons(source.columns.occurred_at, today),
        *_behaviour_reasons(behaviours),
        F.when(F.col("is_value_wrong"), F.lit("value: not a number")),
        *_value_reasons(values),
        F.when(F.col("is_dropped"), F.lit(ITEM_DROPPED)),
    ]


def _time_reasons(how: OccurredAt, today: date) -> list[Column]:
    at, latest = F.col("occurred_at"), latest_day(how, today)
    is_early, is_late = at < F.lit(how.earliest), at >= F.lit(latest)
    is_zero = at == F.lit("1970-01-01").cast("timestamp")
    unit = F.when(F.col("is_another_unit"), F.lit(f"occurred_at: implausible in {how.unit or 's'}, plausible in another unit"))
    early = F.coalesce(unit, F.lit(f"occurred_at: before {how.earliest}"))
    late = F.coalesce(unit, F.lit("occurred_at: in the future" if how.latest is None else f"occurred_at: not before {latest}"))
    return [
        F.when(at.isNull(), F.coalesce(unit, F.lit("occurred_at: not a time"))),
        F.when(is_early, F.when(is_zero, F.lit("occurred_at: epoch 0, which stands for no time")).otherwise(early)),
        F.when(is_late, late),
    ]


def _behaviour_reasons(behaviours: Behaviours) -> list[Column]:
    refused = [behaviour for behaviour, weight in behaviours.items() if weight is None]
    behaviour = F.col("behaviour")
    reasons = [F.when(~F.coalesce(behaviour.isin(*behaviours), F.lit(False)), F.lit(NOT_CONFIGURED))]
    return [*reasons, *(F.when(behaviour == name, F.lit(f"behaviour: {name} is quarantined")) for name in refused)]


def _value_reasons(values: Mapping[str, ValueRange]) -> list[Column]:
    reasons = []
    for behaviour, bounds in values.items():
        if bounds.action != "quarantine":
            continue
        is_of = F.col("behaviour") == behaviour
        if bounds.min is not None:
            reasons.append(F.when(is_of & (F.col("value") < bounds.min), F.lit(f"value: below {bounds.min:g}")))
        if bounds.max is not None:
            reasons.append(F.when(is_of & (F.col("value") > bounds.max), F.lit(f"value: above {bounds.max:g}")))
    return reasons


def clip_value(values: Mapping[str, ValueRange]) -> Column:
    """Clip the column value to the bounds of its behaviour, where the config says so."""
    value = clipped = F.col("value")
    for behaviour, bounds in values.items():
        if bounds.action == "clip":
            low = value if bounds.min is None else F.greatest(value, F.lit(bounds.min))
            within = low if bounds.max is None else F.least(low, F.lit(bounds.max))
            # greatest and least skip nulls
            clipped = F.when((F.col("behaviour") == behaviour) & value.isNotNull(), within).otherwise(clipped)
    return clipped
