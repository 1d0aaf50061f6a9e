"""Examples: what is known in one column, and how it is scaled."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from interest_tiers.spark.sampling import sample_by_hash
from interest_tiers.tiers import examples
from interest_tiers.tiers.examples import fit_scaling
from interest_tiers.tiers.features import in_one_column


def test_features_come_in_the_order_of_their_names_and_what_is_undefined_is_not_a_number(spark: SparkSession) -> None:
    known = spark.createDataFrame(
        [("a", "i", 2, "core", "marginal", 3.0, None, 0.1), ("b", "i", 1, "marginal", "marginal", 1.0, -7.5, None)],
        "user_id string, interest_id string, level int, rule_tier string, rule_recent_tier string, "
        "user_visits double, gap double, share double",
    )
    found = in_one_column(known, ["share", "user_visits", "gap", "level"]).orderBy("user_id")
    assert found.dtypes == [
        *[(name, "string") for name in ("user_id", "interest_id")], ("level", "int"),
        *[(name, "string") for name in ("rule_tier", "rule_recent_tier")], ("user_visits", "double"), ("features", "array<float>"),
    ]  # fmt: skip
    first, second = (np.array(row["features"]) for row in found.collect())
    np.testing.assert_array_equal(first, [np.float32(0.1), 3.0, np.nan, 2.0])
    np.testing.assert_array_equal(second, [np.nan, 1.0, -7.5, 1.0])


def test_the_scaling_is_that_of_numpy_on_what_is_known(spark: SparkSession) -> None:
    random = np.random.default_rng(4)
    rows = random.normal(scale=[0.5, 30.0, 1000.0, 1.0, 1.0], size=(200, 5)).astype(np.float32)
    rows[random.random(200) < 0.3, 1] = np.nan
    rows[:, 3] = 6.1
    rows[:, 4] = np.nan
    found = fit_scaling(spark.createDataFrame([(row.tolist(),) for row in rows], "features array<float>").repartition(3), 5)
    scaled = np.sign(rows) * np.log1p(np.abs(rows.astype(float)))
    assert found.mean == pytest.approx([*np.nanmean(scaled[:, :4], axis=0), 0.0], abs=1e-9)
    assert found.deviation == pytest.approx([*np.nanstd(scaled[:, :3], axis=0), 1.0, 1.0], rel=1e-8)
    assert found.lowest == pytest.approx([*np.nanmin(scaled[:, :4], axis=0), 0.0], rel=1e-12)
    assert found.highest == pytest.approx([*np.nanmax(scaled[:, :4], axis=0), 0.0], rel=1e-12)
    assert found.missing == (1, 4)


def test_of_very_many_examples_some_users_give_the_scaling(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "SCALING_ROWS", 100)
    rows = spark.range(400).select(F.col("id").cast("string").alias("user_id"), F.array(F.col("id").cast("float")).alias("features"))
    drawn = [float(row["user_id"]) for row in sample_by_hash(rows, "user_id", 100, 400).collect()]
    assert 60 < len(drawn) < 140
    found = fit_scaling(rows, 1)
    assert found.mean[0] == pytest.approx(np.log1p(drawn).mean(), rel=1e-9)
    assert found.deviation[0] == pytest.approx(np.log1p(drawn).std(), rel=1e-9)
