"""The back-test as tables of models by metrics, from rows of the table metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

#: Rows of metrics that are read at most: a few dozen measures of a few models.
MEASURES_LIMIT = 1000

#: How a metric is called and which direction is better; the part before ``@`` counts.
METRICS = {
    "J": ("J", "lower"),
    "macro_f1": ("Macro-F1", "higher"),
    "accuracy": ("Accuracy", "higher"),
    "calibration_error": ("Calibration error", "lower"),
    "recall_core": ("Recall, core", "higher"),
    "recall_secondary": ("Recall, secondary", "higher"),
    "recall_marginal": ("Recall, marginal", "higher"),
    "calibration_error_core": ("Calibration error, core", "lower"),
    "calibration_error_secondary": ("Calibration error, secondary", "lower"),
    "calibration_error_marginal": ("Calibration error, marginal", "lower"),
    "ndcg": ("NDCG", "higher"),
    "recall": ("Recall", "higher"),
    "precision": ("Precision", "higher"),
    "coverage": ("Catalogue coverage", "higher"),
    "diversity": ("Diversity within a list", "higher"),
}

#: How a model is called, ours first, baselines last.
MODELS = {
    "user_tiers": "What user_tiers holds",
    "tiers_and_clusters": "Tiers and clusters",
    "without_clusters": "Tiers without clusters",
    "gradient_boosting": "Gradient boosting",
    "rule_calibrated": "Calibrated rule",
    "rule_calibrated_argmax": "Calibrated rule, likeliest tier",
    "rule_recent_calibrated": "Calibrated rule, last horizon",
    "rule_recent_calibrated_argmax": "Calibrated rule, last horizon, likeliest tier",
    "rule": "Rule on past evidence",
    "rule_recent": "Rule on the last horizon",
    "class_prior": "Class prior",
    "own_frequency": "Own frequency",
    "popularity": "Popularity",
}
#: What needs none of this project's models.
BASELINES = ("gradient_boosting", "rule", "rule_recent", "class_prior", "own_frequency", "popularity")

#: The metrics on which our first model is held against the best baseline in words.
JUDGED_BY = ("J", "macro_f1", "ndcg")

#: How the cases of a slice are called; others stand as ``key: value``.
CASES = {"items: all": "all items", "items: new": "items new to the user"}


@dataclass(frozen=True)
class Measure:
    """A value with its 95 % bootstrap interval, where there is one."""

    value: float
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Column:
    """One metric of a table."""

    metric: str
    name: str
    better: str | None  # lower, higher, or None where unknown


@dataclass(frozen=True)
class ModelMeasures:
    """One model of a table: a measure per column, None where there is none."""

    model: str
    name: str
    measures: tuple[Measure | None, ...]


@dataclass(frozen=True)
class Comparison:
    """Models by metrics on the same cases."""

    cases: str  # such as "all items"; empty for the tiers
    columns: tuple[Column, ...]
    models: tuple[ModelMeasures, ...]

    def measured(self, position: int) -> tuple[tuple[ModelMeasures, Measure], ...]:
        """The models that have a value in a column, and that value."""
        found = ((model, model.measures[position]) for model in self.models)
        return tuple((model, measure) for model, measure in found if measure is not None)

    def best(self, position: int) -> float | None:
        """The best value of a column, None where better is not known."""
        values = [measure.value for _, measure in self.measured(position)]
        better = self.columns[position].better
        if not values or better is None:
            return None
        return min(values) if better == "lower" else max(values)

    @property
    def verdicts(self) -> tuple[str, ...]:
        """A sentence per judged metric that our first model and a baseline have."""
        judged = [position for position, column in enumerate(self.columns) if column.metric.partition("@")[0] in JUDGED_BY]
        sentences = (_judge(self.columns[position], self.measured(position)) for position in judged)
        return tuple(sentence for sentence in sentences if sentence is not None)


@dataclass(frozen=True)
class Single:
    """A measure that compares no models: how many cases were judged, or something about the clusters at the cut."""

    name: str
    cases: str
    value: float
    is_count: bool


@dataclass(frozen=True)
class BackTest:
    """What was made as of the cut, against what users did from the cut up to as_of."""

    cut: date
    horizon_days: int
    tiers: Comparison | None
    recommendations: tuple[Comparison, ...]
    singles: tuple[Single, ...]
    levels: tuple[Comparison, ...] = ()  # tiers of each level of a hierarchy, coarse to fine


def describe_back_test(rows: Sequence[Mapping[str, Any]], as_of: date, horizon_days: int, levels: Sequence[str] = ()) -> BackTest | None:
    """Sort the measures of evaluate into tables; None where there are none.

    rows: (metric, slice, value, lower, upper). A slice names the model and may narrow the cases
    (``items=new,model=popularity``); metrics named ``n_…`` and slices without a model compare nothing.
    levels: of a hierarchy, coarse to fine.
    """
    if not rows:
        return None
    compared: dict[str, list[Mapping[str, Any]]] = {}
    singles: list[Mapping[str, Any]] = []
    for row in rows:
        if _compares_models(row):
            compared.setdefault(_cases_of(row["slice"]), []).append(row)
        else:
            singles.append(row)
    of_levels = [cases for cases in (_cases_of(f"level={level}") for level in levels) if cases in compared]
    level_comparisons = tuple(compare(cases, compared.pop(cases)) for cases in of_levels)
    comparisons = [compare(cases, compared[cases]) for cases in sorted(compared)]
    return BackTest(
        cut=as_of - timedelta(days=horizon_days),
        horizon_days=horizon_days,
        tiers=next((c for c in comparisons if not c.cases), None),
        recommendations=tuple(c for c in comparisons if c.cases),
        singles=tuple(dict.fromkeys(_describe_single(row) for row in singles)),
        levels=level_comparisons,
    )


def compare(cases: str, rows: Sequence[Mapping[str, Any]]) -> Comparison:
    """Models by metrics; both in the order of MODELS and METRICS, then by name."""
    found = {(parse_slice(r["slice"])["model"], r["metric"]): Measure(r["value"], r["lower"], r["upper"]) for r in rows}
    columns = tuple(describe_metric(metric) for metric in _in_order((metric for _, metric in found), METRICS))
    models = tuple(
        ModelMeasures(model, MODELS.get(model, _in_words(model)), tuple(found.get((model, c.metric)) for c in columns))
        for model in _in_order((model for model, _ in found), MODELS)
    )
    return Comparison(cases, columns, models)


def describe_metric(metric: str) -> Column:
    """The name and direction of a metric such as ``ndcg@10`` or ``J``."""
    base, at, k = metric.partition("@")
    name, better = METRICS.get(base, (_in_words(base), None))
    return Column(metric, f"{name}{at}{k}", better)


def parse_slice(text: str) -> dict[str, str]:
    """``items=all,model=rule`` as a dictionary; a part without ``=`` has an empty value."""
    parts = (part.strip().partition("=") for part in text.split(",") if part.strip())
    return {key.strip(): value.strip() for key, _, value in parts}


def _compares_models(row: Mapping[str, Any]) -> bool:
    return "model" in parse_slice(row["slice"]) and not row["metric"].startswith("n_")


def _describe_single(row: Mapping[str, Any]) -> Single:
    """All models are judged on the same cases, so a count leaves the model out."""
    name = row["metric"]
    return Single(_in_words(name.removeprefix("n_")), _cases_of(row["slice"]), row["value"], name.startswith("n_"))


def _cases_of(text: str) -> str:
    parts = {key: value for key, value in parse_slice(text).items() if key != "model"}
    cases = ", ".join(f"{key}: {value}" if value else key for key, value in sorted(parts.items()))
    return CASES.get(cases, cases)


def _in_words(name: str) -> str:
    return name.replace("_", " ")


def _in_order(names: Iterable[str], known: Mapping[str, Any]) -> list[str]:
    places = {name: place for place, name in enumerate(known)}
    return sorted(set(names), key=lambda name: (places.get(name.partition("@")[0], len(places)), name))


def _judge(column: Column, measured: Sequence[tuple[ModelMeasures, Measure]]) -> str | None:
    """Our first model against the best baseline, None where one of them is missing."""
    ours = [pair for pair in measured if pair[0].model not in BASELINES]
    baselines = [pair for pair in measured if pair[0].model in BASELINES]
    if not ours or not baselines:
        return None
    best = min if column.better == "lower" else max
    (model, value), (baseline, rival) = ours[0], best(baselines, key=lambda pair: pair[1].value)
    difference = "" if rival.value == 0 else f" ({_signed_percent(value.value / rival.value - 1)})"
    return (
        f"{column.name} ({column.better} is better): {_uncapitalised(model.name)} {value.value:.3f}, "
        f"best baseline, {_uncapitalised(baseline.name)}, {rival.value:.3f}{difference}{_overlap(value, rival)}."
    )


def _signed_percent(share: float) -> str:
    return f"{100 * share:+.1f} %".replace("-", "\N{MINUS SIGN}")


def _uncapitalised(name: str) -> str:
    return f"{name[:1].lower()}{name[1:]}"


def _overlap(one: Measure, other: Measure) -> str:
    if one.lower is None or one.upper is None or other.lower is None or other.upper is None:
        return ""
    apart = one.lower > other.upper or other.lower > one.upper
    return "; the 95 % intervals do not overlap" if apart else "; the 95 % intervals overlap"
