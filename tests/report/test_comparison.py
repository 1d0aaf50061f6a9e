"""The back-test's measures, sorted into tables of models by metrics."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from interest_tiers.config import Recommend
from interest_tiers.evaluation.backtest import COMPUTED_LISTS, name_contenders
from interest_tiers.recommend.ranker import Ranker
from interest_tiers.recommend.training import Kind
from interest_tiers.report.comparison import (
    SETTINGS,
    VARIANT,
    Column,
    Difference,
    Measure,
    Single,
    compare,
    describe_back_test,
    describe_metric,
)
from interest_tiers.report.language import Language

DAY = date(2018, 1, 1)


def measure(metric: str, where: str, value: float, half_width: float | None = None) -> dict[str, Any]:
    bounds = (None, None) if half_width is None else (value - half_width, value + half_width)
    return {"metric": metric, "slice": where, "value": value, "lower": bounds[0], "upper": bounds[1]}


ROWS = [
    measure("J", "model=class_prior", 0.421),
    measure("J", "model=rule", 0.851, 0.01),
    measure("J", "model=rule_calibrated", 0.376),
    measure("macro_f1", "model=rule_calibrated", 0.45),
    measure("n_users", "items=new,model=popularity", 1480),
    measure("n_users", "items=new,model=recommender", 1480),
    measure("n_users", "tiers", 2246),
    measure("ndcg@10", "items=all,model=own_frequency", 0.5, 0.02),
    measure("ndcg@10", "items=all,model=recommender", 0.55, 0.02),
    measure("ndcg@10", "items=new,model=popularity", 0.08, 0.01),
    measure("ndcg@10", "items=new,model=recommender", 0.12, 0.01),
    measure("silhouette", "k=8", 0.25),
    measure("novelty@10", "items=new,model=popularity", 3.0),
]


@pytest.mark.parametrize(
    ("metric", "column"),
    [
        ("J", Column("J", "J", "lower")),
        ("ndcg@20", Column("ndcg@20", "NDCG@20", "higher")),
        ("recall@5", Column("recall@5", "Recall@5", "higher")),
        ("recall_core", Column("recall_core", "Recall, core", "higher")),
        ("some_new_thing@3", Column("some_new_thing@3", "some new thing@3", None)),
    ],
)
def test_metrics_are_named_and_directed(metric: str, column: Column) -> None:
    assert describe_metric(metric) == column


def test_the_cutoff_lies_the_horizon_before_the_day() -> None:
    back_test = describe_back_test(ROWS, DAY, horizon_days=91)
    assert back_test is not None
    assert (back_test.cutoff, back_test.horizon_days) == (date(2017, 10, 2), 91)


def test_without_measures_there_is_no_back_test() -> None:
    assert describe_back_test([], DAY, horizon_days=91) is None


def test_models_and_metrics_stand_in_a_fixed_order_with_gaps() -> None:
    back_test = describe_back_test(ROWS, DAY, horizon_days=91)
    assert back_test is not None and back_test.tiers is not None
    assert [c.metric for c in back_test.tiers.columns] == ["J", "macro_f1"]
    assert [(m.model, m.measures) for m in back_test.tiers.models] == [
        ("rule_calibrated", (Measure(0.376), Measure(0.45))),
        ("rule", (Measure(0.851, 0.841, 0.861), None)),
        ("class_prior", (Measure(0.421), None)),
    ]


def test_recommendations_are_compared_per_kind_of_item() -> None:
    back_test = describe_back_test(ROWS, DAY, horizon_days=91)
    assert back_test is not None
    assert [(c.cases, [m.name for m in c.models]) for c in back_test.recommendations] == [
        ("all items", ["Recommender", "Own frequency"]),
        ("items new to the user", ["Recommender", "Popularity"]),
    ]


def test_what_compares_no_models_stands_once() -> None:
    back_test = describe_back_test(ROWS, DAY, horizon_days=91)
    assert back_test is not None
    assert back_test.singles == (
        Single("users", "items new to the user", 1480, is_count=True),
        Single("users", "tiers", 2246, is_count=True),
        Single("silhouette", "k: 8", 0.25, is_count=False),
    )


def test_the_best_of_a_column_goes_by_its_direction() -> None:
    back_test = describe_back_test(ROWS, DAY, horizon_days=91)
    assert back_test is not None and back_test.tiers is not None
    new_items = back_test.recommendations[1]
    assert back_test.tiers.best(0) == 0.376
    assert new_items.best(0) == 0.12
    assert new_items.best(1) is None  # nobody said which direction of novelty is better


def test_verdicts_hold_us_against_the_best_baseline() -> None:
    back_test = describe_back_test(ROWS, DAY, horizon_days=91)
    assert back_test is not None and back_test.tiers is not None
    all_items, new_items = back_test.recommendations
    assert back_test.tiers.judge(Language()) == (
        "J (lower is better): calibrated rule 0.376, best baseline, class prior, 0.421 (−10.7 %).",
    )
    assert all_items.judge(Language()) == ("NDCG@10 (higher is better): recommender 0.550, best baseline, own frequency, 0.500 (+10.0 %).",)
    assert new_items.judge(Language())[0].endswith("0.080 (+50.0 %).")


def difference(metric: str, where: str, value: float, lower: float | None, upper: float | None) -> dict[str, Any]:
    return {"metric": metric, "slice": where, "value": value, "lower": lower, "upper": upper}


#: Intervals of the models by themselves overlap everywhere.
PAIRED = [
    *(measure("J", f"model={model}", value, 0.05) for model, value in (("user_tiers", 0.30), ("rule", 0.31), ("class_prior", 0.32))),
    *(measure("macro_f1", f"model={model}", value, 0.05) for model, value in (("user_tiers", 0.50), ("rule", 0.51), ("class_prior", 0.48))),
    measure("novelty", "model=rule", 1.0, 0.5),
    difference("J", "model=rule,minus=user_tiers", 0.01, 0.002, 0.018),
    difference("J", "model=class_prior,minus=user_tiers", 0.02, -0.001, 0.041),
    difference("macro_f1", "model=rule,minus=user_tiers", 0.01, 0.0, 0.02),
    difference("macro_f1", "model=class_prior,minus=user_tiers", -0.02, -0.03, -0.01),
    difference("novelty", "model=rule,minus=user_tiers", 0.5, 0.4, 0.6),
]


def test_a_paired_difference_is_better_or_worse_where_its_interval_excludes_zero() -> None:
    comparison = compare("", PAIRED)
    assert (comparison.reference, comparison.reference_name) == ("user_tiers", "Computed tiers")
    assert [model.model for model in comparison.others] == ["rule", "class_prior"]
    assert comparison.compared == (0, 1, 2)
    ours, rule, prior = comparison.models
    assert ours.differences == (None, None, None)
    assert rule.differences == (
        Difference(0.01, 0.002, 0.018, "worse"),  # J: lower is better
        Difference(0.01, 0.0, 0.02, "no difference shown"),  # it includes 0
        Difference(0.5, 0.4, 0.6, "higher"),  # nobody knows which direction is better
    )
    assert prior.differences[:2] == (Difference(0.02, -0.001, 0.041, "no difference shown"), Difference(-0.02, -0.03, -0.01, "worse"))


def test_verdicts_are_by_the_paired_difference_and_not_by_overlap() -> None:
    assert compare("", PAIRED).judge(Language()) == (
        "J (lower is better): computed tiers 0.300, best baseline, rule on past evidence, 0.310 (−3.2 %). "
        "The baseline is worse: paired difference +0.010, 95 % interval +0.002 to +0.018.",
        "Macro-F1 (higher is better): computed tiers 0.500, best baseline, rule on past evidence, 0.510 (−2.0 %). "
        "No difference is shown: paired difference +0.010, 95 % interval +0.000 to +0.020.",
    )


def test_a_baseline_can_be_better() -> None:
    rows = [
        measure("ndcg@5", "items=all,model=recommender", 0.2), measure("ndcg@5", "items=all,model=popularity", 0.3),
        difference("ndcg@5", "items=all,model=popularity,minus=recommender", 0.1, 0.05, 0.15),
    ]  # fmt: skip
    assert (
        compare("all items", rows)
        .judge(Language())[0]
        .endswith("The baseline is better: paired difference +0.100, 95 % interval +0.050 to +0.150.")
    )


def test_a_difference_without_an_interval_shows_nothing() -> None:
    comparison = compare("", [*PAIRED[:3], difference("J", "model=rule,minus=user_tiers", 0.01, None, None)])
    assert (comparison.others, comparison.compared) == ((), ())


def test_differences_from_two_references_are_refused() -> None:
    with pytest.raises(ValueError, match="differences from 2 models of the same cases: rule, user_tiers"):
        compare("", [*PAIRED, difference("J", "model=class_prior,minus=rule", 0.01, 0.0, 0.1)])


def test_a_hierarchy_is_judged_by_its_finest_level_and_never_as_a_whole() -> None:
    """The rows without a level are of an earlier version."""
    rows = [
        measure("J", "model=user_tiers", 0.9),
        *(measure("J", f"level={level},model=user_tiers", value) for level, value in (("department", 0.6), ("kind", 0.2))),
        difference("J", "level=kind,model=rule,minus=user_tiers", 0.1, 0.05, 0.15),
        measure("J", "level=kind,model=rule", 0.3),
    ]
    back_test = describe_back_test(rows, DAY, 91, levels=["department", "kind"])
    assert back_test is not None and back_test.headline is not None
    assert (back_test.tiers, [c.cases for c in back_test.levels]) == (None, ["level: department", "level: kind"])
    assert back_test.headline is back_test.levels[1]
    assert [m.measures[0] for m in back_test.headline.models] == [Measure(0.2), Measure(0.3)]
    assert back_test.headline.others[0].differences == (Difference(0.1, 0.05, 0.15, "worse"),)
    assert back_test.recommendations == ()


def test_variants_and_groups_stand_apart_from_the_tables_of_models() -> None:
    rows = [
        *ROWS,
        measure("ndcg@10", "items=all,model=recommender_exploration_0.05", 0.53, 0.02),
        measure("ndcg@10", "users=most active third,items=all,model=recommender", 0.6, 0.02),
        measure("ndcg@10", "users=least active third,items=all,model=recommender", 0.3, 0.02),
        measure("ndcg@10", "users=cluster c01,items=all,model=recommender", 0.5, 0.02),
    ]
    back_test = describe_back_test(rows, DAY, horizon_days=91)
    assert back_test is not None
    assert {c.cases: [m.model for m in c.models] for c in back_test.recommendations} == {
        "all items": ["recommender", "own_frequency"], "items new to the user": ["recommender", "popularity"],
    }  # fmt: skip
    assert [m.model for m in back_test.variants[0].models] == ["recommender", "own_frequency", "recommender_exploration_0.05"]
    assert [c.cases for c in back_test.groups] == ["all items: least active third", "all items: most active third"]
    assert Language("zh").name_cases(back_test.groups[0].cases).endswith("最不活跃的三分之一")


def test_the_report_knows_every_setting_that_the_back_test_tries() -> None:
    no_ranker: dict[Kind, Ranker | None] = {"all": None, "new": None}
    names = {one.model for one in name_contenders({COMPUTED_LISTS: no_ranker}, Recommend())} - {COMPUTED_LISTS}
    found = [VARIANT.fullmatch(name) for name in names]
    assert {match["setting"] for match in found if match is not None} == SETTINGS.keys()
    assert None not in found
