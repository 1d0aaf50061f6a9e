"""The back-test's measures, sorted into tables of models by metrics."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from interest_tiers.report.comparison import Column, Measure, Single, describe_back_test, describe_metric, parse_slice

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
    measure("n_users", "items=new,model=tiers_and_clusters", 1480),
    measure("n_users", "tiers", 2246),
    measure("ndcg@10", "items=all,model=own_frequency", 0.5, 0.02),
    measure("ndcg@10", "items=all,model=tiers_and_clusters", 0.55, 0.02),
    measure("ndcg@10", "items=new,model=popularity", 0.08, 0.01),
    measure("ndcg@10", "items=new,model=tiers_and_clusters", 0.12, 0.01),
    measure("silhouette", "k=8", 0.25),
    measure("novelty@10", "items=new,model=popularity", 3.0),
]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("items=all,model=rule", {"items": "all", "model": "rule"}),
        (" k = 8 ", {"k": "8"}),
        ("overall", {"overall": ""}),
        ("formula=a=b", {"formula": "a=b"}),
        ("", {}),
    ],
)
def test_slices_are_parsed(text: str, parts: dict[str, str]) -> None:
    assert parse_slice(text) == parts


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


def test_the_cut_lies_the_horizon_before_the_day() -> None:
    back_test = describe_back_test(ROWS, DAY, horizon_days=91)
    assert back_test is not None
    assert (back_test.cut, back_test.horizon_days) == (date(2017, 10, 2), 91)


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
        ("all items", ["Tiers and clusters", "Own frequency"]),
        ("items new to the user", ["Tiers and clusters", "Popularity"]),
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
    assert back_test.tiers.verdicts == ("J (lower is better): calibrated rule 0.376, best baseline, class prior, 0.421 (−10.7 %).",)
    assert all_items.verdicts == (
        "NDCG@10 (higher is better): tiers and clusters 0.550, best baseline, own frequency, 0.500 (+10.0 %); "
        "the 95 % intervals do not overlap.",
    )
    assert new_items.verdicts[0].endswith("0.080 (+50.0 %); the 95 % intervals do not overlap.")
