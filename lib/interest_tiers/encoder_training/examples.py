"""Builds examples for fine-tuning: pairs of item texts that users touched together, and texts that users wrote.

Every example becomes a row of numbers: token ids, and the keys by which rows are sampled, ordered and compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, IntegerType

from interest_tiers.config import FineTuning
from interest_tiers.embedding.encoder import TextTokenizer
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.errors import ConfigError
from interest_tiers.spark.worker import once_per_worker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Most files of examples. It does not depend on the number of processes, so the processes do not change what is trained.
MAX_SHARDS = 16

#: Fewest examples per file on average, where there are enough.
SHARD_EXAMPLES = 256

#: Fills the last block of a shard; no token has this id.
NO_TOKEN = -1

MICROSECONDS_PER_HOUR = 3_600_000_000


def baskets(interactions: DataFrame, items: DataFrame, behaviours: Sequence[str], window_hours: int) -> DataFrame:
    """Collect the distinct item texts that a user touched within one window of window_hours, or at one moment.

    interactions: (user_id, item_id, behaviour, occurred_at)
    items:        (item_id, text_hash)
    behaviours:   those that count as touches
    window_hours: length of the windows, counted from 1970; 0 for one moment
    Returns:      (user_id, basket bigint, text_hash), one row per text of a basket
    """
    microseconds = F.unix_micros("occurred_at")
    stretch = microseconds if window_hours == 0 else F.floor(microseconds / (window_hours * MICROSECONDS_PER_HOUR))
    touched = interactions.where(F.col("behaviour").isin(list(behaviours))).select(
        "user_id", F.xxhash64("user_id", stretch).alias("basket"), "item_id"
    ).distinct()  # fmt: skip
    with_text = items.where("text_hash IS NOT NULL").select("item_id", "text_hash")
    return touched.join(with_text, "item_id").select("user_id", "basket", "text_hash").distinct()


def capped(baskets: DataFrame, max_texts: int, seed: int) -> DataFrame:
    """Keep at most max_texts texts of each basket, those with the smallest hashes.

    baskets: (user_id, basket bigint, text_hash)
    Returns: the same columns and place int, 1 for the first of a basket
    """
    in_basket = Window.partitionBy("user_id", "basket").orderBy(F.xxhash64(F.lit(seed), "basket", "text_hash"), "text_hash")
    return baskets.withColumn("place", F.row_number().over(in_basket)).where(F.col("place") <= max_texts)


def pairs(baskets: DataFrame, config: FineTuning) -> DataFrame:
    """Pair the texts of each basket.

    baskets: (user_id, basket bigint, text_hash)
    Returns: (anchor_hash, positive_hash, basket bigint, draw bigint), one row per pair; draw is a reproducible random order

    The texts of a basket are ordered by a hash, and each is paired with the next `partners` ones.
    So the work is linear in touches. A user with a million events contributes at most max_user_examples.
    """
    kept = capped(baskets, config.max_basket_texts, config.seed)
    in_basket = Window.partitionBy("user_id", "basket").orderBy("place")
    followers = F.array(*[F.lead("text_hash", ahead).over(in_basket) for ahead in range(1, config.partners + 1)])
    paired = (
        kept.select("user_id", "basket", F.col("text_hash").alias("anchor_hash"), followers.alias("followers"))
        .select("user_id", "basket", "anchor_hash", F.explode("followers").alias("positive_hash"))
        .where("positive_hash IS NOT NULL")
        .withColumn("draw", _draw(config.seed, "basket", "anchor_hash", "positive_hash"))
    )
    return _capped_per_user(paired, config.max_user_examples, "anchor_hash", "positive_hash").drop("user_id")


def written_texts(interactions: DataFrame, items: DataFrame, first_touches: DataFrame, config: FineTuning) -> DataFrame:
    """Collect what users wrote, at most max_user_examples texts of one user, and the texts of items.

    interactions:  (user_id, text)
    items:         (item_id, text)
    first_touches: (item_id), the items whose texts are included
    Returns:       (text, draw bigint), one row per distinct text
    """
    written = interactions.where("text IS NOT NULL").groupBy("text").agg(F.min("user_id").alias("user_id"))
    own = _capped_per_user(written.withColumn("draw", _draw(config.seed, "text")), config.max_user_examples, "text")
    of_items = items.where("text IS NOT NULL").join(first_touches, "item_id", "left_semi")
    of_items = of_items.select("text", _draw(config.seed, "text").alias("draw"))
    return own.select("text", "draw").unionByName(of_items).distinct()


def first_touched(interactions: DataFrame) -> DataFrame:
    """Find the day on which each item was first touched.

    interactions: (item_id, event_date)
    Returns:      (item_id, first_date), one row per item
    """
    return interactions.groupBy("item_id").agg(F.min("event_date").alias("first_date"))


def shard_count(n_examples: int, batch_size: int) -> int:
    """Compute the number of files: a power of two that divides the batch, since every file contributes equally to each batch.

    It does not depend on the number of processes. Where they outnumber the files, several read different rows of one file.
    """
    shards = 1
    while shards * 2 <= MAX_SHARDS and batch_size % (shards * 2) == 0 and n_examples >= shards * 2 * SHARD_EXAMPLES:
        shards *= 2
    return shards


def text_frequencies(pairs: DataFrame) -> DataFrame:
    """Count the pairs that have a text as their positive.

    pairs:   (positive_hash, ...)
    Returns: (positive_hash, n bigint), one row per text
    """
    return pairs.groupBy("positive_hash").agg(F.count(F.lit(1)).alias("n"))


def tokenised_pairs(pairs: DataFrame, frequencies: DataFrame, items: DataFrame, model: str, max_tokens: int, n_shards: int) -> DataFrame:
    """Tokenise pairs; each distinct text is tokenised once.

    pairs:       (anchor_hash, positive_hash, basket bigint, draw bigint), read several times, so already stored
    frequencies: (positive_hash, n bigint), of the training pairs (see text_frequencies)
    items:       (text_hash, text)
    Returns:     (shard int, draw bigint, anchor array<int>, positive array<int>, anchor_text bigint, positive_text bigint,
                 basket bigint, log_frequency float), one row per pair

    anchor_text, positive_text and basket are equal where the texts and baskets are. log_frequency is ln(1 + n) of the positive.
    """
    wanted = pairs.select(F.col("anchor_hash").alias("text_hash")).union(pairs.select("positive_hash")).distinct()
    texts = items.where("text IS NOT NULL").groupBy("text_hash").agg(F.min("text").alias("text")).join(wanted, "text_hash", "left_semi")
    tokens = texts.select("text_hash", _token_ids(model, read_model_folder(model).fingerprint, max_tokens)("text").alias("tokens"))
    anchors = tokens.select(F.col("text_hash").alias("anchor_hash"), F.col("tokens").alias("anchor"))
    positives = tokens.select(F.col("text_hash").alias("positive_hash"), F.col("tokens").alias("positive"))
    counted = pairs.join(frequencies, "positive_hash", "left")
    rows = counted.join(anchors, "anchor_hash").join(positives, "positive_hash").select(
        _shard(n_shards), "draw", "anchor", "positive", F.xxhash64("anchor_hash").alias("anchor_text"),
        F.xxhash64("positive_hash").alias("positive_text"), "basket",
        F.log1p(F.coalesce("n", F.lit(0))).cast("float").alias("log_frequency"),
    )  # fmt: skip
    return rows.repartition(n_shards, "shard").sortWithinPartitions("shard", "draw", "anchor_text", "positive_text")


def token_blocks(texts: DataFrame, model: str, block_tokens: int, n_shards: int) -> DataFrame:
    """Concatenate texts, an end-of-text token before each, and cut them into blocks of equal length.

    texts:   (text, draw bigint)
    Returns: (shard int, draw bigint, tokens array<int>), one row per block; draw is the number of the block in its shard

    NO_TOKEN pads the last block of a shard.
    """
    spread = texts.select(_shard(n_shards), "draw", "text").repartition(n_shards, "shard").sortWithinPartitions("shard", "draw", "text")

    # Part of the workers' cache key: another model may be put at the same path later.
    fingerprint = read_model_folder(model).fingerprint

    # A pandas function over an iterator because the tokenizer is Python and blocks run on from one batch to the next.
    def pack(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        tokenizer = _language_tokenizer(model, fingerprint)
        shard, rest, n_blocks = -1, np.zeros(0, dtype=np.int32), 0
        for batch in batches:
            for of_shard, rows in batch.groupby("shard", sort=True):
                number = int(of_shard)  # type: ignore[arg-type]
                if number != shard:
                    yield _blocks(shard, n_blocks, _filled(rest, block_tokens), block_tokens)
                    shard, rest, n_blocks = number, np.zeros(0, dtype=np.int32), 0
                ids = tokenizer(rows["text"].tolist(), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
                added = [np.array([tokenizer.eos_token_id, *of_text], dtype=np.int32) for of_text in ids]
                tokens = np.concatenate([rest, *added])
                whole = len(tokens) // block_tokens * block_tokens
                yield _blocks(shard, n_blocks, tokens[:whole], block_tokens)
                rest, n_blocks = tokens[whole:], n_blocks + whole // block_tokens
        yield _blocks(shard, n_blocks, _filled(rest, block_tokens), block_tokens)

    blocks = spread.mapInPandas(pack, "shard int, draw bigint, tokens array<int>")
    return blocks.sortWithinPartitions("shard", "draw")


def require_end_of_text(model: str) -> None:
    """Raise ConfigError for a model whose tokenizer has no token that ends a text."""
    if _language_tokenizer(model, read_model_folder(model).fingerprint).eos_token_id is None:
        raise ConfigError(f"embedding.model is {model!r}: its tokenizer has no eos_token, so that texts cannot follow one another")


def token_counts(blocks: DataFrame) -> DataFrame:
    """Count the tokens to predict.

    blocks:  (tokens array<int>), from token_blocks
    Returns: (token int, n bigint), one row per token that occurs
    """
    predicted = F.explode(F.slice("tokens", F.lit(2), F.size("tokens") - 1))
    return blocks.select(predicted.alias("token")).where(F.col("token") != NO_TOKEN).groupBy("token").agg(F.count(F.lit(1)).alias("n"))


def _draw(seed: int, *columns: str) -> Column:
    return F.xxhash64(F.lit(seed), *columns)


def _shard(n_shards: int) -> Column:
    return F.pmod(F.xxhash64("draw"), F.lit(n_shards)).cast("int").alias("shard")


def _capped_per_user(examples: DataFrame, max_examples: int, *ties: str) -> DataFrame:
    of_user = Window.partitionBy("user_id").orderBy("draw", *ties)
    return examples.withColumn("place", F.row_number().over(of_user)).where(F.col("place") <= max_examples).drop("place")


def _token_ids(model: str, fingerprint: str, max_tokens: int):  # type: ignore[no-untyped-def]
    # A pandas UDF because the tokenizer is Python.
    @F.pandas_udf(ArrayType(IntegerType()))  # type: ignore[call-overload]
    def token_ids(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        tokenizer = _worker_tokenizer(model, fingerprint, max_tokens)
        for batch in batches:
            yield pd.Series(tokenizer(batch.tolist()).ids)

    return token_ids


@once_per_worker
def _worker_tokenizer(model: str, fingerprint: str, max_tokens: int) -> TextTokenizer:
    return TextTokenizer(read_model_folder(model), max_tokens)


@once_per_worker
def _language_tokenizer(model: str, fingerprint: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(read_model_folder(model).path, trust_remote_code=False)


def _filled(rest: np.ndarray, block_tokens: int) -> np.ndarray:
    """Pad the rest of a shard to one block. A rest of a single token is dropped, since it has no token to predict."""
    if len(rest) < 2:
        return rest[:0]
    return np.pad(rest, (0, block_tokens - len(rest)), constant_values=NO_TOKEN)


def _blocks(shard: int, first: int, tokens: np.ndarray, block_tokens: int) -> pd.DataFrame:
    blocks = list(tokens.reshape(-1, block_tokens))
    return pd.DataFrame(
        {"shard": np.int32(shard), "draw": np.arange(first, first + len(blocks)), "tokens": pd.Series(blocks, dtype=object)}
    )
