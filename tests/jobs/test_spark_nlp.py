"""The stage embed by Spark NLP, in a session that has its jars."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml
from filelock import FileLock

from interest_tiers.config import Embedding
from interest_tiers.embedding.encoder import SentenceEncoder
from interest_tiers.embedding.export import export_encoder
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.storage.schemas import ITEMS, TEXT_EMBEDDINGS
from interest_tiers.storage.warehouse import Warehouse
from tests.embedding.folders import small_bert
from tests.embedding.test_encoder import AWKWARD, cosines
from tests.jobs.shop import REPOSITORY, require_success, run_command, shop_config, submit

MAX_TOKENS = 64

#: What Spark NLP's own tokenizer makes other words of: marks beyond the Latin ones, words of some lengths, letters of two surrogates.
MARKS_AND_LENGTHS = [
    "Smells wonderful\u2026real \u201ccoffee\u201d \u2013 it\u2019s", "\ud55c\uad6d\uc5b4 \uc6b0\uc720 " * 8,
    unicodedata.normalize("NFD", "\u304c\u304e\u3050 \u30d1\u30d4\u30d7"), unicodedata.normalize("NFD", "\u00c5ngstr\u00f6m na\u00efve"),
    "\u062d\u064e\u0644\u0650\u064a\u0628 \u0643\u064e\u0627\u0645\u0650\u0644", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0926\u0942\u0927 \u0939\u093f\u0928\u094d\u0926\u0940", "\u0e19\u0e49\u0e33\u0e19\u0e21", "\U00020000\U0002a6d6 \u725b\u4e73",
    "\U0001d4d6\U0001d4f8\U0001d4f8\U0001d4ed", "a\u00adb\u200bc\ufeffd\x00e\x07f\u0085g",
    *("milk " + "a" * n for n in (99, 100, 101, 150, 200, 201)),
]  # fmt: skip

#: Where letters, marks, signs and control characters stand in Unicode, of many languages.
RANGES = [
    (0x01, 0x20), (0x20, 0x7F), (0x20, 0x7F), (0x80, 0x180), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0x980), (0xE00, 0xE80),
    (0x1100, 0x1200), (0x1E00, 0x1F00), (0x2000, 0x2070), (0x2190, 0x2200), (0x3000, 0x3100), (0x4E00, 0x4F00), (0xAC00, 0xAD00),
    (0xFB00, 0xFFF0),
    (0x1D400, 0x1D500), (0x1F300, 0x1F700), (0x20000, 0x20100),
]  # fmt: skip


def drawn_texts(n: int) -> list[str]:
    """Texts of up to six words, each of letters of one or two of RANGES; the same every time."""
    random = np.random.default_rng(5)

    def word() -> str:
        ranges = [RANGES[place] for place in random.integers(len(RANGES), size=2)]
        return "".join(chr(random.integers(*ranges[place])) for place in random.integers(2, size=random.integers(1, 9)))

    return [" ".join(word() for _ in range(random.integers(1, 7))) for _ in range(n)]


#: Who writes the name of a special token is taken at their word by torch's tokenizer, and not by Spark NLP.
TEXTS = [text for text in dict.fromkeys([*AWKWARD, *MARKS_AND_LENGTHS, *drawn_texts(400)]) if "[PAD]" not in text]


def test_spark_nlp_gives_every_text_the_vector_of_torch(tmp_path: Path, warehouse: Warehouse, shared_folder: Path) -> None:
    model = str(tmp_path / "exported")
    export_encoder(small_bert(tmp_path / "bert"), Path(model))
    properties = tmp_path / "spark.conf"
    settings = [(REPOSITORY / "conf" / name).read_text(encoding="utf-8") for name in ("spark-defaults.conf", "spark-nlp.conf")]
    properties.write_text("\n".join(settings), encoding="utf-8")

    with FileLock(shared_folder / "jars.lock"):
        ended = submit("embed", *arguments_of(tmp_path, warehouse, model), properties=str(properties))
    assert f"{len(TEXTS):>12,} rows in {len(TEXTS):>12,} rows out" in require_success(ended)

    found = {row["text_hash"]: row["embedding"] for row in warehouse.read(TEXT_EMBEDDINGS).collect()}
    expected = SentenceEncoder(model, MAX_TOKENS, "cpu", threads=1, precision="fp32").encode(TEXTS, 1024)
    vectors = np.array([found[f"{place:09d}"] for place in range(len(TEXTS))])
    found_cosines = cosines(vectors, expected.vectors)
    assert found_cosines.min() > 0.9999, TEXTS[int(found_cosines.argmin())].encode("unicode_escape")
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    assert (
        f"{sum(expected.is_cut)} longer than {MAX_TOKENS} tokens; model {model_id(Embedding(model=model, max_tokens=MAX_TOKENS))} in fp32"
        in ended.stdout
    )
    counts = {row["text_hash"]: row for row in warehouse.read(TEXT_EMBEDDINGS).collect()}
    for name in ("n_tokens", "n_unknown", "n_single"):
        assert [counts[f"{place:09d}"][name] for place in range(len(TEXTS))] == getattr(expected.counts, name).tolist()
    assert sum(expected.is_cut) > 0


def test_a_session_without_its_jars_says_how_to_get_them(tmp_path: Path, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(tmp_path / "exported")
    export_encoder(small_bert(tmp_path / "bert"), Path(model))
    assert run_command("embed", arguments_of(tmp_path, warehouse, model)) == 2
    assert "this Spark session has not its jars: the top of conf/spark-nlp.conf says how" in capsys.readouterr().err


def arguments_of(folder: Path, warehouse: Warehouse, model: str) -> list[str]:
    """The arguments of embed for a warehouse whose items have TEXTS."""
    items = [(f"{place}", text, f"{place:09d}", None, None) for place, text in enumerate(TEXTS)]
    warehouse.replace(ITEMS, warehouse.spark.createDataFrame(items, ITEMS.schema))
    config = folder / "shop.yaml"
    embedding = {"backend": "sparknlp", "model": model, "max_tokens": MAX_TOKENS}
    config.write_text(yaml.safe_dump(shop_config(folder) | {"embedding": embedding}), encoding="utf-8")
    return ["--config", str(config), "--warehouse", warehouse.location]
