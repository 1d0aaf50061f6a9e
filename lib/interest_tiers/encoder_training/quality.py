"""Measures a fine-tuned language model and its base on what users touched and wrote after the cutoff."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import Embedding, FineTuning
from interest_tiers.embedding.texts import embed_texts
from interest_tiers.encoder_training import examples as fine_tuning
from interest_tiers.encoder_training import language_quality, retrieval_quality
from interest_tiers.slices import Slice
from interest_tiers.spark.materialise import Materialise
from interest_tiers.spark.sampling import sample_by_hash

#: The trained model among those that are compared.
FINE_TUNED = "fine_tuned"


@dataclass(frozen=True)
class Measure:
    """A metric of a slice: of one model, or of all."""

    metric: str
    slice: Slice
    value: float


@dataclass(frozen=True)
class QualityData:
    """What a model is measured on.

    before, after: interactions before the cutoff, and in the horizon after it
    items:         (item_id, text_hash, text, category)
    """

    before: DataFrame
    after: DataFrame
    items: DataFrame
    cutoff: date
    settings: FineTuning
    materialise: Materialise


def measure_retrieval(test: QualityData, models: Mapping[str, Embedding], behaviours: Sequence[str], n_tasks: int) -> list[Measure]:
    """Measure how often the vectors of a text find the other texts of its basket. models: by name; all are compared."""
    settings, materialise, items = test.settings, test.materialise, test.items
    touched_before = materialise("touched_before", fine_tuning.baskets(test.before, items, behaviours, settings.window_hours))
    known = touched_before.select("text_hash").distinct()
    texts = items.where("text IS NOT NULL").groupBy("text_hash").agg(F.min("text").alias("text")).join(known, "text_hash", "left_semi")
    every = materialise("known_texts", texts)
    candidates = materialise("candidates", sample_by_hash(every, "text_hash", settings.max_candidates, every.count()))
    touched = fine_tuning.baskets(test.after, items, behaviours, settings.window_hours)
    baskets = fine_tuning.capped(touched, settings.max_basket_texts, settings.seed)
    judged = materialise("judged", retrieval_quality.judged_baskets(baskets, candidates))
    n_judged = judged.count()
    if n_judged == 0:
        return []
    keyed = judged.withColumn("key", F.xxhash64("basket", "text_hash"))
    queries = materialise("queries", sample_by_hash(keyed, "key", settings.max_queries, n_judged))
    sought = materialise("sought", retrieval_quality.sought(queries, judged))
    metric, asked = f"recall@{retrieval_quality.NEAREST}", queries.select("text_hash").distinct()
    popular = retrieval_quality.popular_texts(touched_before, candidates, asked)
    measures = [
        Measure("n_queries", Slice("all"), queries.count()),
        Measure("n_basket_texts", Slice("all"), n_judged),
        Measure("n_candidates", Slice("all"), candidates.count()),
        Measure(metric, Slice(model="most_frequent"), retrieval_quality.recall(sought, popular)),
    ]
    for name, model in models.items():
        vectors = materialise(f"vectors_{name}", embed_texts(candidates, model, n_tasks))
        nearest = retrieval_quality.nearest_texts(vectors, asked, n_tasks)
        measures.append(Measure(metric, Slice(model=name), retrieval_quality.recall(sought, nearest)))
    return measures


def measure_language(
    test: QualityData, models: Mapping[str, Embedding], training: DataFrame, block_tokens: int, n_tasks: int
) -> list[Measure]:
    """Measure perplexity on new texts, and how well vectors tell the categories of new items. training: the rows that trained."""
    settings, materialise = test.settings, test.materialise
    first = materialise("first_touched_to", fine_tuning.first_touched(test.before.unionByName(test.after)))
    new_items = first.where(F.col("first_date") >= F.lit(test.cutoff))
    every = materialise("held_out_every", fine_tuning.written_texts(test.after, test.items, new_items, settings))
    n_every = every.count()
    if n_every == 0:
        return []
    held_out = sample_by_hash(every, "draw", settings.max_queries, n_every)
    n_shards = fine_tuning.shard_count(min(n_every, settings.max_queries), fine_tuning.MAX_SHARDS)
    blocks = materialise("held_out", fine_tuning.token_blocks(held_out, models["base"].model, block_tokens, n_shards))
    counts = materialise("held_out_counts", fine_tuning.token_counts(blocks))
    n_tokens = counts.agg(F.sum("n").alias("n")).first()
    assert n_tokens is not None  # an aggregate without keys has one row
    config = json.loads((Path(models[FINE_TUNED].model) / "config.json").read_text(encoding="utf-8"))
    unigram = language_quality.unigram_perplexity(fine_tuning.token_counts(training), counts, config["vocab_size"])
    return [
        Measure("n_held_out_texts", Slice("all"), held_out.count()),
        Measure("n_held_out_tokens", Slice("all"), n_tokens["n"]),
        *(Measure("perplexity", Slice(model=name), language_quality.perplexity(blocks, model.model)) for name, model in models.items()),
        Measure("perplexity", Slice(model="unigram"), unigram),
        *_measure_categories(test, models, first, n_tasks),
    ]


def _measure_categories(test: QualityData, models: Mapping[str, Embedding], first: DataFrame, n_tasks: int) -> list[Measure]:
    """Measure a classifier of categories, trained on items first touched before the cutoff, on those first touched after it."""
    materialise, bound = test.materialise, test.settings.max_queries
    known = test.items.where("text IS NOT NULL AND category IS NOT NULL").join(first, "item_id")
    windows = []
    for name, is_in in (("before", F.col("first_date") < F.lit(test.cutoff)), ("after", F.col("first_date") >= F.lit(test.cutoff))):
        rows = materialise(f"categories_{name}", known.where(is_in).select("item_id", "text_hash", "text", "category"))
        windows.append(materialise(f"classified_{name}", sample_by_hash(rows, "item_id", bound, rows.count())))
    before, after = windows
    rarest = before.groupBy("category").count().agg(F.min("count").alias("n"), F.count(F.lit(1)).alias("categories")).first()
    if rarest is None or rarest["categories"] < 2 or rarest["n"] < language_quality.FOLDS or after.isEmpty():
        return []
    texts = before.unionByName(after).groupBy("text_hash").agg(F.min("text").alias("text"))
    measures = [Measure("n_classified_items", Slice("all"), after.count())]
    for name, model in models.items():
        vectors = materialise(f"classified_vectors_{name}", embed_texts(texts, model, n_tasks))
        frames = [rows.join(vectors, "text_hash").orderBy("item_id").select("embedding", "category").toPandas() for rows in windows]
        found = language_quality.category_accuracy(frames[0], frames[1], test.settings.seed)
        measures.append(Measure("category_accuracy", Slice(model=name), found.plain))
        measures.append(Measure("category_balanced_accuracy", Slice(model=name), found.balanced))
    return [
        *measures,
        Measure("category_accuracy", Slice(model="most_frequent"), found.plain_by_chance),
        Measure("category_balanced_accuracy", Slice(model="most_frequent"), found.balanced_by_chance),
    ]
