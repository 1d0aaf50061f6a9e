"""Waves of pending texts: each text once, with the counts that the stage reports."""

from __future__ import annotations

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.config import Embedding
from interest_tiers.embedding import composition, texts
from interest_tiers.embedding.composition import embed_pending_texts
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.errors import InterestTiersError


def test_each_pending_text_has_a_vector_in_one_wave_and_none_afterwards(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake model: the vector is the length of the text, and texts longer than 7 letters are cut."""

    def embed(rows: DataFrame, config: Embedding, n_tasks: int) -> DataFrame:
        assert n_tasks == 2
        length = F.length("text").cast("float")
        vectors = rows.select("text_hash", F.array(length).alias("embedding"), (length > 7).alias("is_cut"))
        return vectors.withColumns({name: F.lit(number) for number, name in enumerate(texts.COUNTS)})

    monkeypatch.setattr(composition, "embed_texts", embed)
    monkeypatch.setattr(texts, "TEXTS_PER_TASK", 3)
    given = [(f"h{n}", f"title {n}") for n in range(12)]
    names: list[str] = []

    def materialise(name: str, rows: DataFrame) -> DataFrame:
        names.append(name)
        return spark.createDataFrame(rows.collect(), rows.schema)

    frame, model = spark.createDataFrame([*given, given[0]], "text_hash string, text string"), model_id(Embedding())
    embedded = spark.createDataFrame([("h0", model), ("h1", "other")], "text_hash string, model_id string")
    found = list(embed_pending_texts(frame, embedded, Embedding(), materialise, parallelism=2))
    rows = [(row["text_hash"], row["model_id"], row["embedding"]) for wave in found for row in wave.vectors.collect()]
    assert sorted(rows) == sorted((text_hash, model, [float(len(text))]) for text_hash, text in given[1:])
    assert (len(found), sum(wave.n_texts for wave in found), sum(wave.n_cut for wave in found)) == (2, 11, 2)  # title 10, title 11
    assert names == ["pending", "vectors", "vectors"]
    done = spark.createDataFrame([(text_hash, model) for text_hash, _ in given], embedded.schema)
    assert list(embed_pending_texts(frame, done, Embedding(), materialise, parallelism=2)) == []


def test_a_vector_that_is_not_finite_is_named_and_not_among_the_vectors(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"h1": 1.0, "h2": float("nan"), "h3": float("inf"), "h4": float("-inf"), "h5": -1.0}

    def embed(rows: DataFrame, config: Embedding, n_tasks: int) -> DataFrame:
        made = [(row["text_hash"], [0.0, values[row["text_hash"]]], False, 1, 0, 0) for row in rows.collect()]
        return spark.createDataFrame(made, texts.EMBEDDED)

    monkeypatch.setattr(composition, "embed_texts", embed)

    def waves(*hashes: str) -> list[composition.EmbeddedWave]:
        frame = spark.createDataFrame([(name, name) for name in hashes], "text_hash string, text string")
        return list(embed_pending_texts(frame, None, Embedding(), lambda name, rows: rows, parallelism=1))

    [wave] = waves(*values)
    assert (wave.n_texts, wave.n_broken, wave.broken) == (5, 3, ("h2", "h3", "h4"))
    assert sorted(row["text_hash"] for row in wave.vectors.collect()) == ["h1", "h5"]
    with pytest.raises(InterestTiersError, match=r"the vectors of all 2 texts have NaN or infinity\. Set embedding.precision to fp32"):
        waves("h2", "h4")
