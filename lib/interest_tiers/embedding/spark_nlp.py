"""Embeds texts by Spark NLP in the JVM, with the graph that export_encoder writes into a model folder."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pandas as pd
from py4j.java_gateway import JavaClass
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.config import Embedding
from interest_tiers.embedding.encoder import TextTokenizer
from interest_tiers.embedding.model_folder import SPARK_NLP, find_export, read_model_folder
from interest_tiers.embedding.word_pieces import split_words
from interest_tiers.errors import ConfigError
from interest_tiers.spark.worker import once_per_worker

if TYPE_CHECKING:
    from sparknlp.annotator import BertSentenceEmbeddings

#: Larger batches are slower on a CPU, where memory is the limit.
TEXTS_PER_BATCH = 16


def embed_by_spark_nlp(texts: DataFrame, config: Embedding) -> DataFrame:
    """Embed texts in their order, TEXTS_PER_BATCH at a time. The session must have Spark NLP, see require_jars.

    texts:   (text_hash, text)
    Returns: see texts.embed_texts
    """
    from sparknlp.base import DocumentAssembler

    spark = texts.sparkSession
    folder = read_model_folder(config.model)
    limit, fingerprint = min(config.max_tokens, folder.max_tokens), folder.fingerprint
    model = _load_model(spark, spark.sparkContext.applicationId, config.model, limit, fingerprint)
    tokenised = texts.select("text_hash", _tokenise(F.col("text"), config.model, limit, fingerprint).alias("tokenised"))
    words = tokenised.select("text_hash", "tokenised.*")
    documents = DocumentAssembler().setInputCol("words").setOutputCol("document").transform(words)
    vector = F.element_at("vectors.embeddings", 1).alias("embedding")
    return model.transform(documents).select("text_hash", vector, "is_cut", "n_tokens", "n_unknown", "n_single")


def require_jars(spark: SparkSession) -> None:
    """Raise ConfigError when the session has no Spark NLP."""
    assert spark._jvm is not None  # of a classic session
    if not isinstance(spark._jvm.com.johnsnowlabs.nlp.DocumentAssembler, JavaClass):
        raise ConfigError("embedding.backend is sparknlp, and this Spark session has not its jars: the top of conf/spark-nlp.conf says how")


@lru_cache(maxsize=1)
def _load_model(spark: SparkSession, application: str, model: str, limit: int, fingerprint: str) -> BertSentenceEmbeddings:
    """Load the model once per application: Spark NLP names the file of every model alike, and a second one would clash."""
    from sparknlp.annotator import BertSentenceEmbeddings

    folder = read_model_folder(model)
    graph = find_export(folder, SPARK_NLP)
    loaded = BertSentenceEmbeddings.loadSavedModel(str(graph.resolve()), spark)
    return (
        loaded.setInputCols(["document"])
        .setOutputCol("vectors")
        .setDimension(folder.width)
        .setMaxSentenceLength(limit)
        .setBatchSize(TEXTS_PER_BATCH)
        .setCaseSensitive(False)
    )


def _tokenise(text: Column, model: str, limit: int, fingerprint: str) -> Column:
    """Tokenise texts for Spark NLP.

    Returns: struct (words string: see word_pieces.split_words, is_cut boolean: the text has more than limit tokens,
             n_tokens, n_unknown, n_single bigint: see encoder.TokenCounts)
    """

    # A pandas UDF because the model's own tokenizer, which decides words and token counts, is a Python object.
    @F.pandas_udf("words string, is_cut boolean, n_tokens bigint, n_unknown bigint, n_single bigint")  # type: ignore[call-overload]
    def tokenised(texts: pd.Series) -> pd.DataFrame:
        tokenizer = _load_tokenizer(model, limit, fingerprint)
        listed = texts.tolist()
        tokens = tokenizer(listed)
        words = split_words(tokenizer.prepared(listed), tokenizer.rules)
        return pd.DataFrame({"words": words, "is_cut": tokens.is_cut, **vars(tokenizer.count(tokens))})

    as_struct: Any = tokenised
    column: Column = as_struct(text)
    return column


@once_per_worker
def _load_tokenizer(model: str, limit: int, fingerprint: str) -> TextTokenizer:
    """Load the tokenizer of this Python worker. fingerprint: part of the cache key, because a folder can change."""
    return TextTokenizer(read_model_folder(model), limit)
