"""Cleans and aggregates in three ways: by the library's functions, by hand in Spark SQL, and in DuckDB's SQL.

The query computes user_interests from raw purchases. It drops exact duplicates, rows without quantity, and items of dropped categories.
It casts ids to text, and checks times and values. Then it aggregates days of items, days of interests and interests of users.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from interest_tiers.cleaning.interactions import assess_interactions
from interest_tiers.cleaning.items import assess_items, build_catalogue, count_item_versions
from interest_tiers.cleaning.quarantine import is_good
from interest_tiers.config import Config, load_config
from interest_tiers.interests.evidence import interests_by_category, item_days
from interest_tiers.interests.features import user_interests

CONFIG = Path(__file__).parents[1] / "conf" / "complete_journey.yaml"
AS_OF = date(2018, 1, 2)


def items_of(spark: SparkSession, products: Path) -> DataFrame:
    """Build the catalogue.

    Returns: (item_id, category, is_dropped boolean), one row per item
    """
    source = load_config(CONFIG).items
    assessed = assess_items(spark.read.parquet(str(products)), source, str(products))
    return build_catalogue(count_item_versions(assessed)).select("item_id", "category", "is_dropped")


def by_library(spark: SparkSession, transactions: Path, items: Path) -> DataFrame:
    """Run the library's cleaning and evidence in one query; returns the columns of user_interests except as_of."""
    config = load_config(CONFIG)
    known = spark.read.parquet(str(items))
    good = clean_rows(config, spark.read.parquet(str(transactions)), known.where("is_dropped"))
    days = item_days(good, interests_by_category(known.where("NOT is_dropped")), config.weights)
    return user_interests(days, AS_OF, config.interests.half_life_days, config.tiers.horizon_days)


def clean_rows(config: Config, raw: DataFrame, dropped: DataFrame) -> DataFrame:
    """Clean with the library, and keep the good rows.

    raw:     the columns of the package
    dropped: (item_id, ...), items of dropped categories
    """
    source = config.interactions[0]
    assessed = assess_interactions(raw, source, "interactions", source.path, config.behaviours, config.values, dropped, AS_OF)
    return assessed.where(is_good())


def by_hand(spark: SparkSession, transactions: Path, items: Path) -> DataFrame:
    """Run the query that an expert would write for this data set alone in Spark SQL."""
    spark.read.parquet(str(transactions)).createOrReplaceTempView("transactions")
    spark.read.parquet(str(items)).createOrReplaceTempView("items")
    return spark.sql(SPARK_SQL)


_QUERY = """
WITH good AS (
  SELECT DISTINCT *
  FROM transactions
  WHERE quantity > 0
    AND household_id IS NOT NULL AND product_id IS NOT NULL
    AND transaction_timestamp >= TIMESTAMP '1990-01-01' AND transaction_timestamp < TIMESTAMP '2018-01-04'
    AND (sales_value IS NULL OR NOT isnan(sales_value) AND abs(sales_value) < CAST('Infinity' AS DOUBLE))
), bought AS (
  SELECT household_id, product_id, CAST(transaction_timestamp AS DATE) AS event_date, CAST(1.0 AS DOUBLE) AS weight,
    CAST(floor(coalesce(sales_value, 0) * 1000000{d} + 0.5{d}) AS BIGINT) AS micros
  FROM good
), item_days AS (
  SELECT household_id, product_id, event_date, max(weight) AS weight, count(*) AS n, CAST(sum(micros) AS BIGINT) AS micros
  FROM bought GROUP BY household_id, product_id, event_date
), of_interests AS (
  SELECT CAST(household_id AS {text}) AS user_id, 'category:' || category AS interest_id, item_id, event_date, weight, n, micros
  FROM item_days JOIN items ON item_id = CAST(product_id AS {text})
  WHERE NOT is_dropped AND category IS NOT NULL
), days_and_items AS (
  SELECT user_id, interest_id, event_date, item_id, max(weight) AS weight, CAST(sum(n) AS BIGINT) AS n,
    CAST(sum(micros) AS BIGINT) AS micros
  FROM of_interests GROUP BY GROUPING SETS ((user_id, interest_id, event_date), (user_id, interest_id, item_id))
), pairs AS (
  SELECT user_id, interest_id,
    CAST(sum(CAST(floor(weight * power(2.0{d}, -{age} / 90.0{d}) * 1000000000{d} + 0.5{d}) AS BIGINT)) AS BIGINT) / 1e9{d} AS evidence,
    count(event_date) AS n_days, count(item_id) AS n_items,
    CAST(min({age}) AS BIGINT) AS recency_days, CAST(max({age}) AS BIGINT) AS tenure_days,
    CAST(sum(CASE WHEN event_date IS NOT NULL THEN n END) AS BIGINT) AS n_interactions,
    count(CASE WHEN event_date >= DATE '2017-10-03' THEN 1 END) AS n_days_recent,
    count(CASE WHEN event_date >= DATE '2017-07-04' AND event_date < DATE '2017-10-03' THEN 1 END) AS n_days_previous,
    CAST(sum(CASE WHEN event_date IS NOT NULL THEN micros END) AS BIGINT) / 1e6{d} AS total_value
  FROM days_and_items GROUP BY user_id, interest_id
), ranked AS (
  SELECT *,
    row_number() OVER (PARTITION BY user_id ORDER BY evidence DESC, interest_id) AS place,
    sum(evidence) OVER (PARTITION BY user_id ORDER BY evidence DESC, interest_id
                        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS total,
    count(*) OVER (PARTITION BY user_id) AS n_interests
  FROM pairs
)
SELECT user_id, interest_id, evidence, CASE WHEN total > 0 THEN evidence / total ELSE 1.0{d} / n_interests END AS share,
  CAST(place AS BIGINT) AS rank, n_days, n_items, recency_days, tenure_days, n_interactions, n_days_recent, n_days_previous,
  log2((n_days_recent + 1) / (n_days_previous + 1)) AS trend,
  CASE WHEN n_days > 1 THEN (tenure_days - recency_days) / (n_days - 1) END AS mean_gap_days,
  total_value
FROM ranked
"""

SPARK_SQL = _QUERY.format(text="STRING", d="D", age="datediff(DATE '2018-01-02', event_date)")
DUCKDB_SQL = _QUERY.format(text="VARCHAR", d="::DOUBLE", age="(DATE '2018-01-02' - event_date)")
