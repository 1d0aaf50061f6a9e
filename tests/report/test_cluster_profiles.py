"""What sets clusters apart, and what became of them, counted by hand."""

from __future__ import annotations

from datetime import date

import pytest
from pyspark.sql import SparkSession

from interest_tiers.report.cluster_profiles import ClusterChange, ProfileBar, build_profiles, read_history


def test_lift_is_the_share_in_the_cluster_over_the_share_of_all(spark: SparkSession) -> None:
    """u1 and u2 are in a with shares .8 and .4 of milk, u3 is in b with .3 of it: .6 in a, .5 in all."""
    frame = spark.createDataFrame
    clusters = frame(
        [("a", "Milk", 2, ["MILK", "TEA"]), ("b", "Beer", 1, ["BEER", "UNKNOWN"]), ("c", "None", 0, [])],
        "cluster_id string, name string, size long, top_interests array<string>",
    )
    owners = frame(
        [("u1", "a", True), ("u2", "a", True), ("u2", "b", False), ("u3", "b", True)],
        "user_id string, cluster_id string, is_primary boolean",
    )
    pairs = [("u1", "1", 0.8), ("u1", "2", 0.2), ("u2", "1", 0.4), ("u2", "9", 0.6), ("u3", "1", 0.3), ("u3", "3", 0.7)]
    held = frame(pairs, "user_id string, interest_id string, share double")
    names = frame([("1", "MILK"), ("2", "TEA"), ("3", "BEER"), ("9", "SOAP")], "interest_id string, name string")
    milk, beer, nobody = build_profiles(clusters, owners, held, names)
    assert milk.bars == (
        ProfileBar("MILK", pytest.approx(0.6), pytest.approx(0.6 / 0.5)),
        ProfileBar("TEA", pytest.approx(0.1), pytest.approx(0.1 / (0.2 / 3))),
    )
    assert beer.bars == (ProfileBar("BEER", pytest.approx(0.7), pytest.approx(3)),)
    assert (nobody.name, nobody.bars) == ("None", ())


def test_changes_bear_the_latest_names_and_births_come_first(spark: SparkSession) -> None:
    frame = spark.createDataFrame
    changes = [
        ("c01", "kept", None, 40),
        ("c02", "died", None, 0),
        ("c03", "merged", "c01", 7),
        ("c04", "split", "c01", 9),
        ("c05", "born", None, 0),
    ]
    models = frame(
        [("m1", date(2017, 12, 1), [("c09", "born", None, 0)]), ("m2", date(2018, 1, 1), changes)],
        "model_version string, fitted_as_of date, changes array<struct<cluster_id:string,change:string,other_id:string,shared:long>>",
    )
    names = frame(
        [("c01", "Old milk", date(2017, 12, 1)), ("c01", "Milk", date(2018, 1, 2)), ("c02", "Wine", date(2017, 12, 1))],
        "cluster_id string, name string, as_of date",
    )
    today = frame([("c01", "m2"), ("c04", "m2")], "cluster_id string, model_version string")
    history = read_history(models, today, names)
    assert history is not None
    assert history.fitted_as_of == date(2018, 1, 1)
    assert history.changes == (
        ClusterChange("born", "c05", "", 0),
        ClusterChange("split", "c04", "Milk", 9),
        ClusterChange("merged", "c03", "Milk", 7),
        ClusterChange("died", "Wine", "", 0),
        ClusterChange("kept", "Milk", "", 40),
    )
    assert (history.kept, len(history.others)) == (1, 4)
    assert read_history(models, frame([("c01", "m3")], "cluster_id string, model_version string"), names) is None
