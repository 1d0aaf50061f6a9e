"""Texts to vectors by Spark NLP, in the JVM, from the graph that export writes into a model folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import pandas as pd
from py4j.java_gateway import JavaClass
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.config import Embedding
from interest_tiers.embedding.encoder import TextTokenizer
from interest_tiers.embedding.model_folder import ModelFolder, read_model_folder
from interest_tiers.embedding.onnx_encoder import SPARK_NLP, exported
from interest_tiers.errors import ConfigError

if TYPE_CHECKING:
    from sparknlp.annotator import BertSentenceEmbeddings

#: More texts of alike length at once are slower on a CPU, where memory is the limit.
TEXTS_PER_BATCH = 16


def embed_by_spark_nlp(texts: DataFrame, config: Embedding) -> DataFrame:
    """Embed texts in the order in which they come, TEXTS_PER_BATCH at a time.

    texts: text_hash, text. Returns text_hash, embedding array<float> (L2 norm 1), is_cut (longer than config.max_tokens).
    Raises ConfigError when the session has no Spark NLP.
    """
    from sparknlp.base import DocumentAssembler

    spark = texts.sparkSession
    _require_jars(spark)
    folder = read_model_folder(config.model)
    limit = min(config.max_tokens, folder.max_tokens)
    model = _loaded(spark, spark.sparkContext.applicationId, config.model, limit)
    given = texts.select("text_hash", "text", _as_tokenised(F.col("text"), folder).alias("document_text"))
    documents = DocumentAssembler().setInputCol("document_text").setOutputCol("document").transform(given)
    vector = F.element_at("vectors.embeddings", 1)
    return model.transform(documents).select("text_hash", vector.alias("embedding"), _is_cut(config.model, limit)("text").alias("is_cut"))


def _require_jars(spark: SparkSession) -> None:
    assert spark._jvm is not None  # of a classic session
    if not isinstance(spark._jvm.com.johnsnowlabs.nlp.DocumentAssembler, JavaClass):
        raise ConfigError("embedding.backend is sparknlp, and this Spark session has not its jars: the top of conf/spark-nlp.conf says how")


def _as_tokenised(text: Column, folder: ModelFolder) -> Column:
    """The text as torch's tokenizer is given it, with blanks around what only Unicode calls punctuation: Spark NLP knows little of it."""
    prepared = F.concat(F.lit(folder.prompt), F.trim(F.lower(text) if folder.lower_case else text))
    return F.regexp_replace(prepared, r"([\p{P}&&[^\p{ASCII}]])", " $1 ")


@lru_cache(maxsize=1)
def _loaded(spark: SparkSession, application: str, model: str, limit: int) -> BertSentenceEmbeddings:
    """The model, loaded once in an application: Spark NLP gives every model's file the same name, and a second one would clash."""
    from sparknlp.annotator import BertSentenceEmbeddings

    folder = read_model_folder(model)
    graph = exported(folder, SPARK_NLP)
    loaded = BertSentenceEmbeddings.loadSavedModel(str(graph.resolve()), spark)
    return (
        loaded.setInputCols(["document"])
        .setOutputCol("vectors")
        .setDimension(folder.width)
        .setMaxSentenceLength(limit)
        .setBatchSize(TEXTS_PER_BATCH)
        .setCaseSensitive(not _lowers(folder))
    )


def _lowers(folder: ModelFolder) -> bool:
    normalizer = json.loads((folder.path / "tokenizer.json").read_text(encoding="utf-8")).get("normalizer") or {}
    return bool(normalizer.get("lowercase", False))


def _is_cut(model: str, limit: int) -> Callable[[str], Column]:
    # A pandas UDF because the tokenizer that counts is Python; a character may be several tokens, so it sees every text.
    @F.pandas_udf("boolean")  # type: ignore[call-overload]
    def is_cut(texts: pd.Series) -> pd.Series:
        return pd.Series(_tokenizer(model, limit)(texts.tolist()).is_cut)

    counted: Callable[[str], Column] = is_cut
    return counted


@lru_cache(maxsize=1)
def _tokenizer(model: str, limit: int) -> TextTokenizer:
    """The tokenizer of this Python worker."""
    return TextTokenizer(read_model_folder(model), limit)
