"""Examples: what is known in one column, and how it is scaled."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.tiers import examples
from interest_tiers.tiers.examples import JUDGING, TRAINING, TUNING, PartSize, fit_scaling, measure_parts, part_of, weigh
from interest_tiers.tiers.features import pack

CUT = date(2024, 6, 1)


def test_columns_are_packed_in_the_order_of_their_names_and_what_is_undefined_is_not_a_number(spark: SparkSession) -> None:
    known = spark.createDataFrame(
        [("a", 2, 3.0, None, 0.1), ("b", 1, 1.0, -7.5, None)], "u string, level int, v double, g double, s double"
    )
    found = known.select("u", pack(["s", "v", "g", "level"]).alias("features"), pack([]).alias("nothing")).orderBy("u")
    assert found.dtypes == [("u", "string"), ("features", "array<float>"), ("nothing", "array<float>")]
    first, second = (np.array(row["features"]) for row in found.collect())
    np.testing.assert_array_equal(first, [np.float32(0.1), 3.0, np.nan, 2.0])
    np.testing.assert_array_equal(second, [np.nan, 1.0, -7.5, 1.0])


def test_the_scaling_is_that_of_numpy_on_what_is_known() -> None:
    random = np.random.default_rng(4)
    rows = random.normal(scale=[0.5, 30.0, 1000.0, 1.0, 1.0], size=(200, 5)).astype(np.float32)
    rows[random.random(200) < 0.3, 1] = np.nan
    rows[:, 3] = 6.1
    rows[:, 4] = np.nan
    found = fit_scaling(np.split(rows, [70, 90]), 5)
    scaled = np.sign(rows) * np.log1p(np.abs(rows.astype(float)))
    assert found.mean == pytest.approx([*np.nanmean(scaled[:, :4], axis=0), 0.0], abs=1e-9)
    assert found.deviation == pytest.approx([*np.nanstd(scaled[:, :3], axis=0), 1.0, 1.0], rel=1e-8)
    assert found.lowest == pytest.approx([*np.nanmin(scaled[:, :4], axis=0), 0.0], rel=1e-12)
    assert found.highest == pytest.approx([*np.nanmax(scaled[:, :4], axis=0), 0.0], rel=1e-12)
    assert found.missing == (1, 4)


def test_of_very_many_examples_the_first_give_the_scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "SCALING_ROWS", 100)
    found = fit_scaling((np.full((60, 1), np.float32(number)) for number in range(1000)), 1)
    expected = np.log1p([0.0] * 60 + [1.0] * 60)
    assert (found.mean[0], found.deviation[0]) == (pytest.approx(expected.mean()), pytest.approx(expected.std()))


def test_parts_and_weights_of_examples(spark: SparkSession) -> None:
    """Held-out users tune or judge at the latest cutoff alone; the rows of a user weigh 1 together at each cutoff and level."""
    earlier = CUT - timedelta(days=28)
    rows = [(cutoff, f"u{user}", 1, n) for cutoff in (CUT, earlier) for user in range(200) for n in range(1 + user % 3)]
    labels = weigh(spark.createDataFrame(rows, "cutoff date, user_id string, level int, n int"))
    part = part_of(F.col("cutoff"), F.col("user_id"), CUT)
    found = labels.withColumn("part", part)
    pandas = found.toPandas()
    assert set(pandas.loc[pandas["cutoff"] == earlier, "part"].dropna()) == {TRAINING}
    assert pandas.groupby("user_id")["part"].nunique().max() == 1
    assert pandas.groupby(["cutoff", "user_id"])["weight"].sum().to_numpy() == pytest.approx(1.0)
    sizes = measure_parts(found.where("part IS NOT NULL"))
    assert set(sizes) == {TRAINING, TUNING, JUDGING}
    for name, size in sizes.items():
        of_part = pandas[pandas["part"] == name]
        assert (size.rows, size.users) == (len(of_part), of_part["user_id"].nunique())
        assert size.mean_weight == pytest.approx(of_part["weight"].mean())
        assert size.users > 5


def test_a_part_without_rows_has_none(spark: SparkSession) -> None:
    empty = spark.createDataFrame([], "cutoff date, user_id string, level int, part string")
    assert measure_parts(empty) == dict.fromkeys((TRAINING, TUNING, JUDGING), PartSize())
