"""What no stage may do: gather the rows of one user in memory, or let chance or the partitioning decide."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.cleaning.interactions import assess_interactions
from interest_tiers.cleaning.noise import TOO_MANY_EVENTS, settle_days
from interest_tiers.config import BehaviourWeight, Bots, InteractionSource, Noise, Recommend, ValueRange
from interest_tiers.interests.evidence import item_days
from interest_tiers.interests.features import user_interests
from interest_tiers.recommend.composition import prepare_ranking, rank_items
from interest_tiers.recommend.knowledge import sum_use

REPOSITORY = Path(__file__).parents[1]
AS_OF = date(2024, 3, 1)
WEIGHTS = {"view": BehaviourWeight(weight=0.5), "purchase": BehaviourWeight(weight=1.0)}
SOURCE = InteractionSource.model_validate(
    {
        "path": "events.csv",
        "columns": {"user_id": "user", "item_id": "item", "occurred_at": "at", "behaviour": "did", "value": "paid"},
    }
)
NOISE = Noise(repeat_seconds=60, bots=Bots(deviations=4, min_events=30, max_one_second_steps=6, action="cap"))
VALUES = {"purchase": ValueRange(deviations=6, action="clip")}

#: Nodes of a plan that hold all rows of a group at once.
GATHERS = (
    "collect_list", "collect_set", "FlatMapGroupsInPandas", "FlatMapCoGroupsInPandas", "AggregateInPandas", "WindowInPandas",
    "MapGroups", "percentile(", "mode(",
)  # fmt: skip

#: Functions whose result hangs on chance, on the partitions or on the order in which rows arrive.
LEFT_TO_CHANCE = {
    "rand", "randn", "uuid", "shuffle", "monotonically_increasing_id", "spark_partition_id", "sample", "sampleBy", "randomSplit",
    "first_value", "last_value", "any_value", "last", "zipWithIndex", "zipWithUniqueId",
}  # fmt: skip


def events(spark: SparkSession, n_rows: int = 400) -> DataFrame:
    """Rows with copies, repeats within a minute, rows that tie in everything but their item, and a crawler."""
    rows = []
    for n in range(n_rows):
        user, item = f"u{n % 3}", f"i{n % 4}"
        did = "purchase" if n % 3 else "view"
        rows.append((user, item, f"2024-02-{1 + n % 5:02d} {n % 3:02d}:00:{n % 40:02d}", did, f"{n % 7}.1"))
    rows += [("crawler", f"i{n}", f"2024-02-01 {n // 60:02d}:{n % 60:02d}:00", "view", None) for n in range(90)]
    return spark.createDataFrame(rows + rows[:50], "user string, item string, at string, did string, paid string")


def interests(spark: SparkSession) -> DataFrame:
    rows = [(f"i{n}", f"category:{n % 4}") for n in range(90)]
    return spark.createDataFrame(rows, "item_id string, interest_id string")


def cleaned(raw: DataFrame) -> DataFrame:
    none_dropped = raw.sparkSession.createDataFrame([], "item_id string")
    assessed = assess_interactions(raw, SOURCE, "events", "events.csv", WEIGHTS, {}, none_dropped, AS_OF)
    return settle_days(assessed.where(F.size("reasons") == 0).drop("reasons", "raw"), NOISE, VALUES)


def pairs(settled: DataFrame) -> DataFrame:
    kept = settled.where(F.size("reasons") == 0)
    return user_interests(item_days(kept, interests(settled.sparkSession), WEIGHTS), AS_OF, 30.0, 7)


def plan_of(frame: DataFrame) -> str:
    return frame._jdf.queryExecution().optimizedPlan().toString() + frame._jdf.queryExecution().executedPlan().toString()


def test_memory_does_not_grow_with_the_events_of_one_user(spark: SparkSession) -> None:
    """From raw rows to user_interests there are sums, windows that stream, and nothing that gathers a group."""
    plan = plan_of(pairs(cleaned(events(spark, 9))))
    assert "Aggregate" in plan
    assert [word for word in GATHERS if word in plan] == []
    # The search finds what is to be found.
    gathered = events(spark, 9).groupBy("user").agg(F.collect_list("item").alias("items"))
    assert [word for word in GATHERS if word in plan_of(gathered)] == ["collect_list"]


def test_clean_and_its_sums_keep_the_same_survivors_for_any_partitioning(spark: SparkSession) -> None:
    """Copies, repeats within a minute, the capped rows of a crawler, clipped values, and what is summed from them."""
    raw = events(spark)
    expected, other = (cleaned(given).cache() for given in (raw.coalesce(1), raw.orderBy(F.desc("at")).repartition(7, "item")))
    found = expected.collect()
    assert {reason for row in found for reason in row["reasons"]} == {"repeat: of the same event within 60 s", TOO_MANY_EVENTS}
    assert len(found) == 490  # the copies are one row with the row that they copy
    assert sorted(other.select(*expected.columns).collect(), key=str) == sorted(found, key=str)
    assert sorted(pairs(other).collect()) == sorted(pairs(expected).collect())  # to the last digit
    other.unpersist()
    expected.unpersist()


def test_a_user_who_saw_the_whole_catalogue_gets_an_empty_list_of_new_items(spark: SparkSession) -> None:
    touched = [("u1", "i1"), ("u1", "i2"), ("u2", "i2"), ("u2", "i3"), *[("crawler", f"i{n}") for n in range(1, 6)]]
    yesterday = AS_OF - timedelta(days=1)
    rows = [(user, "category:1", item, yesterday, 1.0, 1) for user, item in touched]
    days = spark.createDataFrame(
        rows, "user_id string, interest_id string, item_id string, event_date date, weight double, n_interactions bigint"
    )
    vectors = spark.createDataFrame([], "item_id string, text_hash string, embedding array<float>")

    ready = prepare_ranking(sum_use(days, AS_OF, lambda name, rows: rows), vectors, Recommend(k=5))
    ranked = rank_items(ready, None, Recommend(k=5), repeats=False).orderBy("user_id", "rank").collect()
    lists = {user: [row["item_id"] for row in ranked if row["user_id"] == user] for user in ("u1", "u2", "crawler")}
    # i3 goes with what u1 had by two users, i4 and i5 by the crawler alone.
    assert lists == {"u1": ["i3", "i4", "i5"], "u2": ["i1", "i4", "i5"], "crawler": []}


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            yield node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id, node


def of_numpy_or_random(call: ast.Call) -> bool:
    """Whether a call is of a generator that was given a seed, such as random.shuffle, and not of Spark."""
    return isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) and call.func.value.id in ("random", "np", "rng")


#: Finds the last line of a block of a file: the lines of a block are read in their order, also by a retried task.
ORDERS_LINES = {("csv_files.py", "monotonically_increasing_id")}

SOURCES = sorted([*(REPOSITORY / "lib").rglob("*.py"), *(REPOSITORY / "jobs").glob("*.py")])


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_nothing_is_left_to_chance_or_to_the_partitioning(file: Path) -> None:
    """A retried task must give the rows that it gave before: rows are spread by their columns, never in turn or by chance."""
    for name, call in calls(file):
        place = f"{file.name}:{call.lineno}"
        is_order = (file.name, name) in ORDERS_LINES
        assert name not in LEFT_TO_CHANCE or of_numpy_or_random(call) or is_order, f"{place} calls {name}"
        if name == "repartition":
            by_column = [a for a in call.args if not (isinstance(a, ast.Constant) and isinstance(a.value, int))]
            counts_alone = len(call.args) == 1 and isinstance(call.args[0], ast.Name | ast.Call | ast.BinOp)
            assert by_column and not counts_alone, f"{place} spreads rows in turn"
    sql = [
        n.value for n in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]
    assert not [text for text in sql if any(f"{word}()" in text.lower() for word in LEFT_TO_CHANCE)]
