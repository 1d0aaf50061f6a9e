"""build_interests: the catalogue of interests, and every user's evidence in them."""

import sys
from datetime import date

from pyspark.ml.feature import StopWordsRemover
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from interest_tiers.embedding.encoder import model_id
from interest_tiers.interests.catalogue import interest_catalogue, mean_embeddings, touched_texts
from interest_tiers.interests.features import user_interests
from interest_tiers.jobs.job import StageContext, StageResult, stage_main
from interest_tiers.tables import INTERACTIONS, INTERESTS, ITEMS, TEXT_EMBEDDINGS, USER_INTERESTS


def run(context: StageContext) -> StageResult:
    """Sum up what every user did before as_of, per interest, and describe the interests."""
    warehouse, as_of = context.warehouse, context.as_of
    days, items = context.item_days(), context.read(ITEMS)
    stop_words = StopWordsRemover.loadDefaultStopWords("english")
    catalogue = interest_catalogue(days, items, text_embeddings(context), stop_words)
    n_interests = warehouse.replace_day(INTERESTS, catalogue, as_of)
    n_pairs = warehouse.replace_day(USER_INTERESTS, pairs_as_of(context, days, as_of), as_of)
    n_interactions = context.read(INTERACTIONS, as_of).count()
    n_used = days.agg(F.sum("n_interactions").alias("n")).first()
    assert n_used is not None  # an aggregate without keys has one row
    unused = n_interactions - (n_used["n"] or 0)
    return StageResult(n_interactions, n_pairs, f"{n_interests:,} interests; {unused:,} interactions with items of no category")


def text_embeddings(context: StageContext) -> DataFrame:
    """The vectors of the configured model: text_hash, embedding."""
    config = context.config.embedding
    model = model_id(config.model, config.max_tokens)
    return context.read(TEXT_EMBEDDINGS).where(F.col("model_id") == model).select("text_hash", "embedding")


def embeddings_as_of(context: StageContext, days: DataFrame) -> DataFrame:
    """The embeddings of the interests as of any day, from the items touched on days before it: interest_id, embedding."""
    return mean_embeddings(touched_texts(days, context.read(ITEMS)), text_embeddings(context))


def pairs_as_of(context: StageContext, days: DataFrame, as_of: date) -> DataFrame:
    """The rows of user_interests as of any day, from days before it."""
    config = context.config
    return user_interests(days, as_of, config.interests.half_life_days, config.tiers.horizon_days)


main = stage_main("build_interests", run)

if __name__ == "__main__":
    sys.exit(main())
