"""Texts to vectors by Spark NLP, in the JVM, from the graph that export writes into a model folder."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pandas as pd
from py4j.java_gateway import JavaClass
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.config import Embedding
from interest_tiers.embedding.encoder import TextTokenizer
from interest_tiers.embedding.model_folder import SPARK_NLP, exported, read_model_folder
from interest_tiers.embedding.word_pieces import as_words
from interest_tiers.errors import ConfigError
from interest_tiers.spark.worker import once_per_worker

if TYPE_CHECKING:
    from sparknlp.annotator import BertSentenceEmbeddings

#: More texts of alike length at once are slower on a CPU, where memory is the limit.
TEXTS_PER_BATCH = 16


def embed_by_spark_nlp(texts: DataFrame, config: Embedding) -> DataFrame:
    """Embed texts in the order in which they come, TEXTS_PER_BATCH at a time.

    texts: text_hash, text. Returns text_hash, embedding array<float> (L2 norm 1), is_cut (longer than config.max_tokens).
    The session has Spark NLP; see require_jars.
    """
    from sparknlp.base import DocumentAssembler

    spark = texts.sparkSession
    limit = min(config.max_tokens, read_model_folder(config.model).max_tokens)
    model = _loaded(spark, spark.sparkContext.applicationId, config.model, limit)
    given = texts.select("text_hash", _tokenised(F.col("text"), config.model, limit).alias("tokenised"))
    given = given.select("text_hash", "tokenised.words", "tokenised.is_cut")
    documents = DocumentAssembler().setInputCol("words").setOutputCol("document").transform(given)
    return model.transform(documents).select("text_hash", F.element_at("vectors.embeddings", 1).alias("embedding"), "is_cut")


def require_jars(spark: SparkSession) -> None:
    """Raise ConfigError when the session has no Spark NLP."""
    assert spark._jvm is not None  # of a classic session
    if not isinstance(spark._jvm.com.johnsnowlabs.nlp.DocumentAssembler, JavaClass):
        raise ConfigError("embedding.backend is sparknlp, and this Spark session has not its jars: the top of conf/spark-nlp.conf says how")


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
        .setCaseSensitive(False)
    )


def _tokenised(text: Column, model: str, limit: int) -> Column:
    """words: what Spark NLP is given, see word_pieces.as_words. is_cut: whether the text has more than limit tokens."""

    # A pandas UDF because the tokenizer of the model, whose words and number of tokens count, is Python.
    @F.pandas_udf("words string, is_cut boolean")  # type: ignore[call-overload]
    def tokenised(texts: pd.Series) -> pd.DataFrame:
        tokenizer = _tokenizer(model, limit)
        given = texts.tolist()
        return pd.DataFrame({"words": as_words(tokenizer.prepared(given), tokenizer.rules), "is_cut": tokenizer(given).is_cut})

    as_struct: Any = tokenised
    column: Column = as_struct(text)
    return column


@once_per_worker
def _tokenizer(model: str, limit: int) -> TextTokenizer:
    """The tokenizer of this Python worker."""
    return TextTokenizer(read_model_folder(model), limit)
