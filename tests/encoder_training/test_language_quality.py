"""Perplexity beside transformers, a unigram model by hand, and categories that vectors tell apart or do not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pyspark.sql import SparkSession
from transformers import AutoModelForCausalLM

from interest_tiers.encoder_training.examples import NO_TOKEN, token_counts
from interest_tiers.encoder_training.language_quality import category_accuracy, perplexity, unigram_perplexity
from tests.embedding.folders import small_language_model


def test_perplexity_is_that_of_the_losses_of_transformers(spark: SparkSession, tmp_path: Path) -> None:
    model = small_language_model(tmp_path / "gpt", ["milk and bread"] * 9)
    blocks = [[0, 70 + n % 5, 71, 80, 90] for n in range(20)] + [[0, 74, NO_TOKEN, NO_TOKEN, NO_TOKEN]]
    network = AutoModelForCausalLM.from_pretrained(model).eval()
    total, n = 0.0, 0
    for block in blocks:
        ids = torch.tensor([[token for token in block if token != NO_TOKEN]])
        with torch.inference_mode():
            total += network(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        n += ids.shape[1] - 1
    found = perplexity(spark.createDataFrame([(block,) for block in blocks], "tokens array<int>"), model)
    assert found == pytest.approx(math.exp(total / n), rel=1e-4)


def test_a_unigram_model_knows_how_often_each_token_stood_in_training(spark: SparkSession) -> None:
    """Training: 6 three times, 7 once, of four tokens: (3 + 1) / 8, (1 + 1) / 8, and 1 / 8 for 9, which was never seen."""
    training = spark.createDataFrame([([5, 6, 6, 6, 7],)], "tokens array<int>")
    held_out = spark.createDataFrame([([5, 6, 7, 9],)], "tokens array<int>")
    expected = math.exp(-(math.log(4 / 8) + math.log(2 / 8) + math.log(1 / 8)) / 3)
    assert unigram_perplexity(token_counts(training), token_counts(held_out), vocabulary=4) == pytest.approx(expected)


@pytest.mark.parametrize(("shift", "plain", "balanced"), [(6.0, 1.0, 1.0), (0.0, 0.5, 0.5)])
def test_categories_are_told_apart_where_vectors_differ(shift: float, plain: float, balanced: float) -> None:
    """Three of four rows are of one category when training, half when judging; categories lie six deviations apart, or not at all."""
    random = np.random.default_rng(1)

    def rows(n_first: int, n_second: int) -> pd.DataFrame:
        labels = ["a"] * n_first + ["b"] * n_second
        vectors = [list(random.normal(size=3) + shift * (label == "b")) for label in labels]
        return pd.DataFrame({"embedding": vectors, "category": labels})

    found = category_accuracy(rows(150, 50), rows(200, 200), seed=1)
    assert found.plain == pytest.approx(plain, abs=0.05)
    assert found.balanced == pytest.approx(balanced, abs=0.1)
    assert found.plain_by_chance == found.balanced_by_chance == 0.5


def test_chance_is_the_most_frequent_category_of_training() -> None:
    """Judged on 6 a, 2 b and 2 c: plain chance 0.6, balanced (1 + 0 + 0) / 3."""
    random = np.random.default_rng(1)
    training, held_out = (
        pd.DataFrame({"embedding": list(random.normal(size=(len(labels), 2))), "category": list(labels)})
        for labels in ("a" * 9 + "b" * 3 + "c" * 3, "a" * 6 + "b" * 2 + "c" * 2)
    )
    found = category_accuracy(training, held_out, seed=1)
    assert (found.plain_by_chance, found.balanced_by_chance) == (0.6, pytest.approx(1 / 3))
