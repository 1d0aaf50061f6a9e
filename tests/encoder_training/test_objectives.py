"""Losses beside those of sentence-transformers, numpy and transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from interest_tiers.config import FineTuning
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.encoder_training.objectives import Contrastive, NextToken, contrastive_loss, false_negatives, loaded_model
from interest_tiers.errors import ConfigError
from tests.embedding.folders import bert_of_words, small_gpt, small_language_model

WORDS = [f"w{n}" for n in range(40)]
TEMPERATURE = 0.05


def pair_rows(anchors: list[list[int]], positives: list[list[int]], baskets: list[int] | None = None) -> pa.Table:
    """Pairs of token ids; a text is known by its first word's token, which stands after [CLS]."""
    tokens = pa.list_(pa.int32())
    return pa.table(
        {
            "anchor": pa.array(anchors, tokens),
            "positive": pa.array(positives, tokens),
            "anchor_text": [ids[1] for ids in anchors],
            "positive_text": [ids[1] for ids in positives],
            "basket": range(len(anchors)) if baskets is None else baskets,
            "log_frequency": pa.array(np.log1p(range(len(anchors))), pa.float32()),
        }
    )


def token_ids(words: list[int]) -> list[int]:
    return [2, *(5 + word for word in words), 3]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return bert_of_words(tmp_path_factory.mktemp("models") / "bert", WORDS)


def unit(random: np.random.Generator, rows: int, width: int) -> np.ndarray:
    vectors = random.normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_loss_is_that_of_sentence_transformers(bert: str) -> None:
    """Texts of several lengths, no false negatives among them, one model for both; how frequent texts are does not count."""
    losses = pytest.importorskip("sentence_transformers.losses")
    model = pytest.importorskip("sentence_transformers").SentenceTransformer(bert, device="cpu").eval()
    anchors, positives = [[0, 1], [2], [3, 4, 5, 6]], [[7], [8, 9], [10, 11]]
    texts = [[" ".join(WORDS[word] for word in text) for text in side] for side in (anchors, positives)]
    reference = losses.MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    expected = reference([model.tokenize(side) for side in texts], labels=None).item()
    ours = Contrastive(read_model_folder(bert), FineTuning(temperature=TEMPERATURE), "cpu")
    ours.network.eval()
    rows = pair_rows([token_ids(text) for text in anchors], [token_ids(text) for text in positives])
    differentiated, loss = ours.training_loss(ours.network, rows)
    assert loss == differentiated.item() == pytest.approx(expected, abs=1e-5)
    with torch.inference_mode():
        total, n = ours.validation_loss(ours.network, rows)
    assert (total / n, n) == (pytest.approx(expected, abs=1e-5), 3)


def test_the_loss_is_infonce_without_what_is_left_out() -> None:
    random = np.random.default_rng(5)
    anchors, positives = unit(random, 4, 6), unit(random, 4, 6)
    left_out = np.zeros((4, 4), dtype=bool)
    left_out[0, 2] = left_out[3, 0] = True
    discount = np.array([0.0, 1.0, 2.0, 0.5], dtype=np.float32)
    scores = np.where(left_out, -np.inf, anchors @ positives.T / 0.5 - discount)
    expected = np.mean([np.log(np.exp(scores[i]).sum()) - scores[i, i] for i in range(4)])
    found = contrastive_loss(*map(torch.tensor, (anchors, positives, left_out)), temperature=0.5, discount=torch.tensor(discount))
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_the_correction_makes_negatives_as_frequent_as_each_other(bert: str) -> None:
    """Four pairs that score alike, three positives three times as frequent: e, e/3, e/3, e/3, so -ln 1/2 once and -ln 1/6 three times."""
    settings = FineTuning(frequency_correction=1.0, temperature=1.0)
    ours = Contrastive(read_model_folder(bert), settings, "cpu")
    vectors = torch.tensor([[1.0, 0.0]] * 4)
    columns = [torch.tensor(values) for values in ([1, 2, 3, 4], [5, 6, 7, 8], [1, 2, 3, 4])]
    frequencies = torch.tensor([0.0, *[float(np.log(3))] * 3])
    loss = ours._loss(vectors, vectors, [*columns, frequencies])
    assert loss.item() == pytest.approx((np.log(2) + 3 * np.log(6)) / 4)


def test_the_same_text_and_texts_of_the_basket_are_no_negatives() -> None:
    """Pairs ab, ca, de and fb, the third and the fourth of one basket."""
    a, b, c, d, e, f = range(6)
    anchor, positive, basket = torch.tensor([a, c, d, f]), torch.tensor([b, a, e, b]), torch.tensor([1, 2, 3, 3])
    assert false_negatives(anchor, positive, basket).int().tolist() == [
        [0, 1, 0, 1],  # a: is the text itself, b: is what it is to find
        [0, 0, 0, 0],
        [0, 0, 0, 1],
        [1, 0, 1, 0],
    ]


def test_the_loss_of_the_next_token_is_that_of_transformers(tmp_path: Path) -> None:
    folder = read_model_folder(small_language_model(tmp_path / "gpt", ["milk and bread"] * 9))
    ours = NextToken(folder, FineTuning(objective="next_token"), "cpu")
    ours.network.eval()
    rows = pa.table({"tokens": pa.array([[0, 70, 71, 72, 73], [0, 74, 75, -1, -1]], pa.list_(pa.int32()))})
    with torch.inference_mode():
        reference = [
            ours.model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss.item() * (len(ids) - 1)
            for ids in ([0, 70, 71, 72, 73], [0, 74, 75])
        ]
        total, n = ours.validation_loss(ours.network, rows)
    assert (total, n) == (pytest.approx(sum(reference), abs=1e-4), 6)
    differentiated, loss = ours.training_loss(ours.network, rows)
    assert loss == pytest.approx(sum(reference) / 6, abs=1e-5)
    assert differentiated.item() == pytest.approx(loss, abs=1e-5)


def test_a_model_without_what_foretells_tokens_is_refused(tmp_path: Path) -> None:
    """A GPT-2 uses its token vectors for that, and a folder of them alone suffices; a LLaMA saved without its head lacks it."""
    (tmp_path / "gpt").mkdir()
    loaded_model(read_model_folder(small_gpt(tmp_path / "gpt", "mean")), "next_token")
    from transformers import LlamaConfig, LlamaModel

    (tmp_path / "llama").mkdir()
    small_gpt(tmp_path / "llama", "mean")
    config = LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=32
    )
    LlamaModel(config).save_pretrained(tmp_path / "llama")
    with pytest.raises(ConfigError, match=r"has no weights for the next token \(lm_head.weight\)"):
        loaded_model(read_model_folder(str(tmp_path / "llama")), "next_token")
