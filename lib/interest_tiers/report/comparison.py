"""The back-test as tables of models by metrics, from rows of the table metrics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from interest_tiers.report.language import N_, Language
from interest_tiers.report.reliability import ReliabilityBin, read_reliability
from interest_tiers.slices import Slice

#: Rows of metrics that are read at most: a few dozen measures of a few models.
MEASURES_LIMIT = 5000

#: Display name of a metric, and the direction that is better; None where neither is. The part before ``@`` is looked up.
METRICS: Mapping[str, tuple[str, str | None]] = {
    "J": (N_("J"), "lower"),
    "macro_f1": (N_("Macro-F1"), "higher"),
    "recall_core": (N_("Recall, core"), "higher"),
    "recall_secondary": (N_("Recall, secondary"), "higher"),
    "recall_marginal": (N_("Recall, marginal"), "higher"),
    "calibration_error_core": (N_("Calibration error, core"), "lower"),
    "calibration_error_secondary": (N_("Calibration error, secondary"), "lower"),
    "calibration_error_marginal": (N_("Calibration error, marginal"), "lower"),
    "ndcg": (N_("NDCG"), "higher"),
    "recall": (N_("Recall"), "higher"),
    "precision": (N_("Precision"), "higher"),
    "map": (N_("MAP"), "higher"),
    "hit_rate": (N_("Hit rate"), "higher"),
    "coverage": (N_("Catalogue coverage"), "higher"),
    "interest_lift": (N_("Interest lift"), "higher"),
    "list_lift": (N_("List lift"), "higher"),
    "diversity": (N_("Diversity within lists"), "higher"),
    "miscalibration": (N_("Miscalibration to tiers"), "lower"),
    "novelty": (N_("Novelty"), None),
    "gini": (N_("Gini index of exposure"), None),
}

#: Display names of the models: ours first, baselines last.
MODELS = {
    "user_tiers": N_("Computed tiers"),
    "stored_user_tiers": N_("Stored tiers"),
    "recommender": N_("Recommender"),
    "without_ranker": N_("Recommender without a ranker"),
    "without_repeat": N_("Ranker without own use"),
    "without_co_use": N_("Ranker without co-use"),
    "without_text": N_("Ranker without texts"),
    "without_adoption": N_("Ranker without item statistics"),
    "without_interest": N_("Ranker without interests"),
    "without_user": N_("Ranker without user statistics"),
    "gradient_boosting": N_("Gradient boosting"),
    "rule_calibrated": N_("Calibrated rule"),
    "rule_calibrated_argmax": N_("Calibrated rule, likeliest tier"),
    "rule_recent_calibrated": N_("Calibrated rule, last horizon"),
    "rule_recent_calibrated_argmax": N_("Calibrated rule, last horizon, likeliest tier"),
    "rule": N_("Rule on past evidence"),
    "rule_recent": N_("Rule on the last horizon"),
    "class_prior": N_("Class prior"),
    "tifu_knn": N_("TIFU-KNN"),
    "up_cf": N_("UP-CF@r"),
    "own_popularity_0.5": N_("Own days + 0.5 x popularity"),
    "own_popularity_8": N_("Own days + 8 x popularity"),
    "own_frequency": N_("Own frequency"),
    "ease": N_("EASE"),
    "als": N_("ALS"),
    "pure_svd": N_("PureSVD"),
    "item_knn": N_("Item kNN"),
    "rp3beta": N_("RP3beta"),
    "adopters_14d": N_("New users of 14 days"),
    "popularity": N_("Popularity"),
    "clusters": N_("Clusters"),
    "cluster_popularity": N_("Popularity in the user's clusters"),
    "user_popularity": N_("Popularity by users"),
}
#: Models that need none of this project's.
BASELINES = (
    "gradient_boosting", "rule", "rule_recent", "class_prior", "tifu_knn", "up_cf", "own_popularity_0.5", "own_popularity_8",
    "own_frequency", "ease", "als", "pure_svd", "item_knn", "rp3beta", "adopters_14d", "popularity",
)  # fmt: skip

#: The name of a model that is ours with another setting, such as recommender_exploration_0.05.
VARIANT = re.compile(r"recommender_(?P<setting>[a-z_]+)_(?P<value>[0-9.]+)")

#: Display names of the settings that variants have.
SETTINGS = {
    "exploration": N_("exploration"),
    "diversity": N_("diversity"),
    "calibration": N_("calibration"),
    "diverse_exploration": N_("exploration in diverse lists"),
}

#: Groups of users whose lists are shown; the metrics also have those of clusters.
GROUPS = (N_("least active third"), N_("medium active third"), N_("most active third"))

#: Verdicts on a difference.
BETTER, WORSE, NO_DIFFERENCE = N_("better"), N_("worse"), N_("no difference shown")

#: Which direction is better, in words.
DIRECTIONS = {"lower": N_("lower is better"), "higher": N_("higher is better"), None: ""}

#: The metrics on which a sentence compares our first model with the best baseline.
JUDGED_BY = ("J", "macro_f1", "ndcg")

#: Names of measures that compare no models.
SINGLES = (
    N_("pairs"), N_("users"), N_("silhouette"), N_("silhouette chosen"), N_("null silhouette"), N_("excess silhouette"),
    N_("agreement of halves"), N_("smallest share"), N_("activity explained"), N_("tiers"), N_("level"),
)  # fmt: skip

#: Display names of slices; others are shown as ``key: value``.
CASES = {
    Slice(items="all"): N_("all items"),
    Slice(items="new"): N_("items new to the user"),
    Slice(users="clustered", items="new"): N_("items new to the user, by clusters alone"),
}


@dataclass(frozen=True)
class Measure:
    """A value with its 95 % bootstrap interval, where there is one."""

    value: float
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Difference:
    """The metric of a model minus that of the reference on the same users, with its 95 % bootstrap interval.

    verdict: better or worse than the reference where the interval excludes 0, else ``no difference shown``.
    """

    value: float
    lower: float
    upper: float
    verdict: str


@dataclass(frozen=True)
class Column:
    """One metric of a table."""

    metric: str
    name: str
    better: str | None  # lower, higher, or None where unknown


@dataclass(frozen=True)
class ModelMeasures:
    """One model of a table: a measure and a difference per column, None where there is none."""

    model: str
    name: str
    measures: tuple[Measure | None, ...]
    differences: tuple[Difference | None, ...]


@dataclass(frozen=True)
class Comparison:
    """Models by metrics on the same cases."""

    cases: str  # such as "all items"; empty for the tiers of a flat catalogue
    columns: tuple[Column, ...]
    models: tuple[ModelMeasures, ...]
    reference: str | None = None  # the model that the differences are from

    def measured(self, position: int) -> tuple[tuple[ModelMeasures, Measure], ...]:
        """List the models that have a value in a column, with that value."""
        found = ((model, model.measures[position]) for model in self.models)
        return tuple((model, measure) for model, measure in found if measure is not None)

    def keep(self, is_kept: Callable[[str], bool]) -> Comparison:
        """Keep the models whose key meets a condition."""
        return replace(self, models=tuple(model for model in self.models if is_kept(model.model)))

    def find(self, metric: str) -> int | None:
        """Find the position of a metric, such as ``ndcg@10``, or ``ndcg`` at any length; None where it was not measured."""
        found = (place for place, column in enumerate(self.columns) if metric in (column.metric, column.metric.partition("@")[0]))
        return next(found, None)

    def best(self, position: int) -> float | None:
        """Find the best value of a column; None where better is not known."""
        values = [measure.value for _, measure in self.measured(position)]
        better = self.columns[position].better
        if not values or better is None:
            return None
        return min(values) if better == "lower" else max(values)

    @property
    def reference_name(self) -> str:
        """Display name of the reference."""
        return "" if self.reference is None else _name_model(self.reference)

    @property
    def compared(self) -> tuple[int, ...]:
        """Positions of the columns that have differences."""
        return tuple(position for position in range(len(self.columns)) if any(model.differences[position] for model in self.models))

    @property
    def others(self) -> tuple[ModelMeasures, ...]:
        """The models that have differences."""
        return tuple(model for model in self.models if any(model.differences))

    def judge(self, language: Language) -> tuple[str, ...]:
        """Write a sentence per judged metric that our first model and a baseline have."""
        judged = [position for position, column in enumerate(self.columns) if column.metric.partition("@")[0] in JUDGED_BY]
        sentences = (self._judge(position, language) for position in judged)
        return tuple(sentence for sentence in sentences if sentence is not None)

    def _judge(self, position: int, language: Language) -> str | None:
        """Compare our first model with the best baseline; None where one of them is missing."""
        column, measured = self.columns[position], self.measured(position)
        ours = [pair for pair in measured if pair[0].model not in BASELINES]
        baselines = [pair for pair in measured if pair[0].model in BASELINES]
        if not ours or not baselines:
            return None
        best = min if column.better == "lower" else max
        (model, value), (baseline, rival) = ours[0], best(baselines, key=lambda pair: pair[1].value)
        relative = "" if rival.value == 0 else f" ({language.signed(100 * (value.value / rival.value - 1), 1)} %)"
        difference = baseline.differences[position] if model.model == self.reference else None
        judged = language.gettext(
            "%(metric)s (%(better)s): %(model)s %(value)s, best baseline, %(baseline)s, %(other)s%(relative)s.",
            metric=language.name_metric(column.name),
            better=language.translate(DIRECTIONS[column.better]),
            model=name_within_sentence(model, language),
            value=language.decimal(value.value),
            baseline=name_within_sentence(baseline, language),
            other=language.decimal(rival.value),
            relative=relative,
        )
        return judged if difference is None else f"{judged} {_describe_difference(difference, language)}"


@dataclass(frozen=True)
class Single:
    """A measure that compares no models: the number of judged cases, or a property of the clusters at the cutoff."""

    name: str
    cases: str
    value: float
    is_count: bool


@dataclass(frozen=True)
class ComparedModels:
    """What was predicted as of the cutoff, against what users did from the cutoff up to as_of."""

    cutoff: date
    horizon_days: int
    tiers: Comparison | None  # of a flat catalogue
    recommendations: tuple[Comparison, ...]
    singles: tuple[Single, ...]
    levels: tuple[Comparison, ...] = ()  # tiers of each level of a hierarchy, coarse to fine
    reliability: tuple[ReliabilityBin, ...] = ()  # of the tiers that the headline is about
    variants: tuple[Comparison, ...] = ()  # of recommendations: all that is in them, and ours with other settings
    groups: tuple[Comparison, ...] = ()  # of recommendations, by GROUPS

    @property
    def headline(self) -> Comparison | None:
        """The tiers that the chart and the verdict are about: those of the finest level."""
        return self.levels[-1] if self.levels else self.tiers


def describe_back_test(
    rows: Sequence[Mapping[str, Any]], as_of: date, horizon_days: int, levels: Sequence[str] = ()
) -> ComparedModels | None:
    """Sort the measures of evaluate into tables; None where there are none.

    rows: (metric, slice, value, lower, upper); metrics named ``n_...`` and slices without a model compare nothing
    levels: of a hierarchy, coarse to fine
    """
    if not rows:
        return None
    compared: dict[Slice, list[Mapping[str, Any]]] = {}
    singles: list[Single] = []
    for row in rows:
        where = Slice.parse(row["slice"])
        cases = replace(where, model=None, minus=None)
        if where.bin is not None:
            continue  # see read_reliability
        if where.users is not None and where.users.startswith("cluster "):
            continue
        if where.model is not None and not row["metric"].startswith("n_"):
            compared.setdefault(cases, []).append(row)
        else:
            singles.append(_describe_single(row, cases))
    of_levels = [compare(name_cases(Slice(level=level)), compared.pop(Slice(level=level), [])) for level in levels]
    of_levels = [comparison for comparison in of_levels if comparison.models]
    groups = [
        compare(name_cases(cases), compared.pop(cases))
        for cases in sorted(compared, key=lambda cases: (str(cases.items), GROUPS.index(cases.users) if cases.users in GROUPS else -1))
        if cases.users in GROUPS
    ]
    comparisons = sorted((compare(name_cases(cases), found) for cases, found in compared.items()), key=lambda c: c.cases)
    of_lists = [c for c in comparisons if c.cases]
    return ComparedModels(
        cutoff=as_of - timedelta(days=horizon_days),
        horizon_days=horizon_days,
        # Earlier versions also measured all levels together, which has no meaning.
        tiers=None if of_levels else next((c for c in comparisons if not c.cases), None),
        recommendations=tuple(c.keep(lambda model: VARIANT.fullmatch(model) is None) for c in of_lists),
        variants=tuple(of_lists),
        groups=tuple(groups),
        singles=tuple(dict.fromkeys(singles)),
        levels=tuple(of_levels),
        reliability=read_reliability(rows, levels[-1] if levels else None),
    )


def compare(cases: str, rows: Sequence[Mapping[str, Any]]) -> Comparison:
    """Arrange models by metrics, both in the order of MODELS and METRICS, then by name.

    rows: (metric, slice, value, lower, upper) of the same cases; a slice with ``minus`` has the difference from a reference
    """
    measures: dict[tuple[str, str], Measure] = {}
    differences: dict[tuple[str, str], Measure] = {}
    references = set()
    for row in rows:
        where, measure = Slice.parse(row["slice"]), Measure(row["value"], row["lower"], row["upper"])
        (measures if where.minus is None else differences)[str(where.model), row["metric"]] = measure
        references.update([] if where.minus is None else [where.minus])
    if len(references) > 1:
        raise ValueError(f"differences from {len(references)} models of the same cases: {', '.join(sorted(references))}")
    columns = tuple(describe_metric(metric) for metric in _sort_names((metric for _, metric in measures), METRICS))
    models = tuple(
        ModelMeasures(
            model,
            _name_model(model),
            tuple(measures.get((model, column.metric)) for column in columns),
            tuple(_judge_difference(column, differences.get((model, column.metric))) for column in columns),
        )
        for model in _sort_names((model for model, _ in measures), MODELS)
    )
    return Comparison(cases, columns, models, next(iter(references), None))


def describe_metric(metric: str) -> Column:
    """Look up the name and direction of a metric such as ``ndcg@10`` or ``J``."""
    base, at, k = metric.partition("@")
    name, better = METRICS.get(base, (_spell_out(base), None))
    return Column(metric, f"{name}{at}{k}", better)


def name_cases(cases: Slice) -> str:
    """Name a slice without a model: ``all items``, ``level: department``, or nothing for everything."""
    if cases.users in GROUPS and replace(cases, users=None) in CASES:
        return f"{CASES[replace(cases, users=None)]}: {cases.users}"
    return CASES.get(cases, str(cases).replace("=", ": ").replace(",", ", "))


def name_within_sentence(model: ModelMeasures, language: Language) -> str:
    """Name a model within a sentence."""
    name = language.translate(model.name)
    return name if name[1:2].isupper() else f"{name[:1].lower()}{name[1:]}"


def _judge_difference(column: Column, difference: Measure | None) -> Difference | None:
    """Decide by whether the interval excludes 0; None where there is no interval."""
    if difference is None or difference.lower is None or difference.upper is None:
        return None
    verdict = NO_DIFFERENCE
    if difference.lower > 0 or difference.upper < 0:
        is_higher = difference.lower > 0
        named = {"higher": (WORSE, BETTER), "lower": (BETTER, WORSE), None: (N_("lower"), N_("higher"))}
        verdict = named[column.better][is_higher]
    return Difference(difference.value, difference.lower, difference.upper, verdict)


def _describe_difference(difference: Difference, language: Language) -> str:
    """Describe a baseline's difference in a sentence."""
    sentences = {
        BETTER: N_("The baseline is better: paired difference %(value)s, 95 %% interval %(lower)s to %(upper)s."),
        WORSE: N_("The baseline is worse: paired difference %(value)s, 95 %% interval %(lower)s to %(upper)s."),
    }
    nothing = N_("No difference is shown: paired difference %(value)s, 95 %% interval %(lower)s to %(upper)s.")
    value, lower, upper = (language.signed(number) for number in (difference.value, difference.lower, difference.upper))
    return language.gettext(sentences.get(difference.verdict, nothing), value=value, lower=lower, upper=upper)


def _describe_single(row: Mapping[str, Any], cases: Slice) -> Single:
    """Leave the model out of a count: all models are judged on the same cases."""
    name = row["metric"]
    return Single(_spell_out(name.removeprefix("n_")), name_cases(cases), row["value"], name.startswith("n_"))


def _name_model(model: str) -> str:
    return MODELS.get(model, _spell_out(model))


def _spell_out(name: str) -> str:
    return name.replace("_", " ")


def _sort_names(names: Iterable[str], known: Mapping[str, Any]) -> list[str]:
    places = {name: place for place, name in enumerate(known)}
    return sorted(set(names), key=lambda name: (places.get(name.partition("@")[0], len(places)), name))
