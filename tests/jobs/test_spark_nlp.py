"""The stage embed by Spark NLP, in a session that has its jars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from filelock import FileLock

from interest_tiers.config import Embedding
from interest_tiers.embedding.encoder import SentenceEncoder
from interest_tiers.embedding.export import export_encoder
from interest_tiers.embedding.model_folder import model_id
from interest_tiers.jobs import embed
from interest_tiers.tables import ITEMS, TEXT_EMBEDDINGS, Warehouse
from tests.embedding.folders import small_bert
from tests.embedding.test_encoder import AWKWARD, cosines
from tests.jobs.shop import REPOSITORY, require_success, shop_config, submit

MAX_TOKENS = 64

#: Who writes the name of a special token is taken at their word by torch's tokenizer, and not by Spark NLP.
TEXTS = [
    text
    for text in dict.fromkeys(
        [*AWKWARD, "Smells wonderful\u2026real \u201ccoffee\u201d \u2013 it\u2019s", "\ud55c\uad6d\uc5b4 \uc6b0\uc720 " * 8]
    )
    if "[PAD]" not in text
]


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
    assert cosines(vectors, expected.vectors).min() > 0.9999
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    assert (
        f"{sum(expected.is_cut)} longer than {MAX_TOKENS} tokens; model {model_id(Embedding(model=model, max_tokens=MAX_TOKENS))}"
        in ended.stdout
    )
    assert sum(expected.is_cut) > 0


def test_a_session_without_its_jars_says_how_to_get_them(tmp_path: Path, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(tmp_path / "exported")
    export_encoder(small_bert(tmp_path / "bert"), Path(model))
    assert embed.main(arguments_of(tmp_path, warehouse, model)) == 2
    assert "this Spark session has not its jars: the top of conf/spark-nlp.conf says how" in capsys.readouterr().err


def arguments_of(folder: Path, warehouse: Warehouse, model: str) -> list[str]:
    """The arguments of embed for a warehouse whose items have TEXTS."""
    items = [(f"{place}", text, f"{place:09d}", None) for place, text in enumerate(TEXTS)]
    warehouse.replace(ITEMS, warehouse.spark.createDataFrame(items, ITEMS.schema))
    config = folder / "shop.yaml"
    embedding = {"backend": "sparknlp", "model": model, "max_tokens": MAX_TOKENS}
    config.write_text(yaml.safe_dump(shop_config(folder) | {"embedding": embedding}), encoding="utf-8")
    return ["--config", str(config), "--warehouse", warehouse.location]
