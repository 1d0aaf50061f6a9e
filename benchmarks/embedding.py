"""Measures texts per second and accuracy of every way to embed: the stage embed by backend and precision, and its alternatives.

Each measurement is a process of its own on two cores. It warms up with 200 texts, which are not timed.
Then it alternates between 200 texts, for the fixed cost of a job, and all texts. The fastest run of each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from benchmarks.measure import CORES
from interest_tiers.config import Embedding
from interest_tiers.spark import session

PROJECT = Path(__file__).parents[1]
MODEL = Embedding().model

#: Token limit that the model's own configuration gives to sentence-transformers.
MAX_TOKENS = 256
FEW_TEXTS = 200
CALIBRATION_TEXTS = 400

#: Runs of which the fastest counts; no further run starts after this many seconds.
RUNS, RUNS_SECONDS = 5, 40.0

#: Table of the cleaned warehouse that the texts of a data set are in.
DATA_SETS = {"complete_journey": "items", "online_retail": "items", "amazon_reviews": "interactions"}

REFERENCE, PLAIN_SPARK_NLP = "sentence-transformers", "Spark NLP, E5, batch 1"

#: Ways of the stage embed: backend and precision.
STAGE = {
    "embed auto": ("torch", "auto"),
    "embed fp32": ("torch", "fp32"),
    "embed bf16": ("torch", "bf16"),
    "embed openvino": ("openvino", "auto"),
    "embed openvino int8": ("openvino", "int8"),
    "embed sparknlp": ("sparknlp", "fp32"),
}
WAYS = (REFERENCE, *STAGE, PLAIN_SPARK_NLP)

#: Spark settings that Spark NLP needs besides those of a plain session.
SPARK_NLP_SETTINGS = PROJECT / "conf" / "spark-nlp.conf"


@dataclass(frozen=True)
class Measurement:
    """One way to embed one data set.

    tokens:       with special tokens
    seconds:      wall clock of all texts
    few_seconds:  wall clock of FEW_TEXTS
    mean_cosine, least_cosine: with the vectors of sentence-transformers
    """

    way: str
    texts: int
    tokens: int
    seconds: float
    few_seconds: float
    mean_cosine: float
    least_cosine: float

    @property
    def seconds_of_a_further_text(self) -> float:
        """Seconds per text, without the fixed cost of a job."""
        return (self.seconds - self.few_seconds) / (self.texts - FEW_TEXTS)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    folder = arguments.folder.resolve()
    if arguments.measure:
        way, texts = arguments.measure
        print(json.dumps(asdict(measure(way, Path(texts), folder))))
        return 0
    if arguments.prepare:
        write_texts(arguments.prepare, folder, arguments.location)
        return 0
    limits = {dtype: round(gigaflops(dtype), 1) for dtype in ("float32", "bfloat16")}
    print(f"matrix products on {CORES} cores, GFLOP/s: " + ", ".join(f"{dtype} {value}" for dtype, value in limits.items()))
    print(f"{'texts':<20}{'way':<24}{'texts/s':>9}{'times':>7}{'further':>9}{'GFLOP/s':>9}{'mean cosine':>13}{'least':>9}", flush=True)
    located = {given.partition("=")[0] for given in arguments.location}
    for name in DATA_SETS:
        if name != "complete_journey" and name not in located:
            print(f"{name:<20}not measured: no --location {name}=FOLDER")
            continue
        _run(["--prepare", name, *(f"--location={given}" for given in arguments.location)], folder)
        _measure_all(folder / f"texts-{name}.parquet", name, folder, arguments.ways)
    return 0


def _measure_all(texts: Path, name: str, folder: Path, ways: Sequence[str]) -> None:
    slowest = None
    for way in ways:
        found = Measurement(**json.loads(_run(["--measure", way, str(texts)], folder).splitlines()[-1]))
        slowest = slowest or found
        speed = found.texts / found.seconds
        times = slowest.seconds / found.seconds
        further = slowest.seconds_of_a_further_text / found.seconds_of_a_further_text
        gflops = flops_per_token() * found.tokens / found.seconds / 1e9
        numbers = f"{speed:>9,.0f}{times:>7.1f}{further:>9.1f}{gflops:>9.0f}{found.mean_cosine:>13.5f}{found.least_cosine:>9.5f}"
        print(f"{name:<20}{way:<24}{numbers}", flush=True)


def _run(arguments: Sequence[str], folder: Path) -> str:
    command = [sys.executable, "-m", "benchmarks.embedding", "--folder", str(folder), *arguments]
    with (folder / "embedding.log").open("a") as errors:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=PROJECT, check=True).stdout  # noqa: S603 our own module


def write_texts(name: str, folder: Path, locations: Sequence[str]) -> None:
    """Write the distinct texts of a data set to texts-NAME.parquet (text), in random order, unless the file exists; cleans first."""
    from interest_tiers.stages.command_line import main as run_command
    from interest_tiers.storage.schemas import INTERACTIONS, ITEMS
    from interest_tiers.storage.warehouse import Warehouse

    target = folder / f"texts-{name}.parquet"
    if target.exists():
        return
    config, warehouse = PROJECT / "conf" / f"{name}.yaml", folder / f"warehouse-{name}"
    own = [f"--set=locations.{given}" for given in locations if given.startswith(f"{name}=")]
    if run_command(["clean", "--config", str(config), "--warehouse", str(warehouse), *own]) != 0:
        raise SystemExit(f"{name} could not be cleaned")
    spark = session.build_session("benchmark texts")
    rows = Warehouse(spark, str(warehouse)).read(ITEMS if DATA_SETS[name] == "items" else INTERACTIONS)
    texts = [row["text"] for row in rows.where("text IS NOT NULL").select("text").distinct().orderBy("text").collect()]
    order = np.random.default_rng(1).permutation(len(texts))
    pq.write_table(pa.table({"text": [texts[place] for place in order]}), target)


def measure(way: str, file: Path, folder: Path) -> Measurement:
    """Embed the texts of a file in one way, and compare its vectors with those of sentence-transformers.

    The vectors of sentence-transformers must be stored already, by measuring REFERENCE.
    """
    texts = pq.read_table(file)["text"].to_pylist()
    embed = _embedder(way, file, folder)
    embed(texts[:FEW_TEXTS])
    few_runs: list[float] = []
    runs: list[float] = []
    while len(runs) < RUNS and sum(runs) < RUNS_SECONDS:
        few_runs.append(timed(embed, texts[:FEW_TEXTS])[0])
        seconds, vectors = timed(embed, texts)
        runs.append(seconds)
    stored = file.with_suffix(".npy")
    if way == REFERENCE:
        np.save(stored, vectors)
    cosines = (vectors * np.load(stored)).sum(axis=1) / np.linalg.norm(vectors, axis=1)
    speeds = len(texts), n_tokens(texts), round(min(runs), 3), round(min(few_runs), 3)
    return Measurement(way, *speeds, float(cosines.mean()), float(cosines.min()))


def timed(embed: Callable[[list[str]], np.ndarray], texts: list[str]) -> tuple[float, np.ndarray]:
    """Measure the seconds of a run; returns them with its vectors."""
    start = time.perf_counter()
    vectors = embed(texts)
    return time.perf_counter() - start, vectors


def by_sentence_transformers() -> Callable[[list[str]], np.ndarray]:
    """Embed by SentenceTransformer.encode with its defaults, in batches of 32."""
    import torch
    from sentence_transformers import SentenceTransformer

    from interest_tiers.embedding.model_folder import read_model_folder

    torch.set_num_threads(CORES)
    model = SentenceTransformer(str(read_model_folder(MODEL).path), device="cpu")
    return lambda texts: model.encode(texts, normalize_embeddings=True)


def by_embed(config: Embedding, folder: Path) -> Callable[[list[str]], np.ndarray]:
    """Embed as the stage embed does: from Parquet to Parquet on Spark."""
    from interest_tiers.embedding.texts import embed_texts

    return _on_spark(lambda texts: embed_texts(texts, config, CORES).select("text_hash", "embedding"), _session(config.backend), folder)


def by_plain_spark_nlp(file: Path, folder: Path) -> Callable[[list[str]], np.ndarray]:
    """Embed as Spark NLP's documentation does: E5Embeddings, which pools tokens, one text per batch, with default threads."""
    from pyspark.sql import functions as F
    from sparknlp.annotator import E5Embeddings
    from sparknlp.base import DocumentAssembler

    spark = _session("sparknlp", without="spark.jsl.settings.")
    model = E5Embeddings.loadSavedModel(str(token_graph(file, folder)), spark).setInputCols(["document"]).setOutputCol("vectors")
    model = model.setBatchSize(1).setMaxSentenceLength(MAX_TOKENS)
    assembler = DocumentAssembler().setInputCol("text").setOutputCol("document")
    vector = F.element_at("vectors.embeddings", 1).alias("embedding")
    return _on_spark(
        lambda texts: model.transform(assembler.transform(texts.repartition(CORES))).select("text_hash", vector), spark, folder
    )


def _embedder(way: str, file: Path, folder: Path) -> Callable[[list[str]], np.ndarray]:
    if way == REFERENCE:
        return by_sentence_transformers()
    if way == PLAIN_SPARK_NLP:
        return by_plain_spark_nlp(file, folder)
    backend, precision = STAGE[way]
    model = MODEL if backend == "torch" else str(exported_model(file, folder))
    return by_embed(Embedding(backend=backend, model=model, max_tokens=MAX_TOKENS, precision=precision), folder)


def exported_model(file: Path, folder: Path) -> Path:
    """Export the packaged model with its graphs once, calibrated on the first texts of a file, which are in random order."""
    from interest_tiers.embedding.export import export_encoder

    target = folder / "exported" / file.stem / MODEL
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        export_encoder(MODEL, target, pq.read_table(file)["text"].to_pylist()[:CALIBRATION_TEXTS])
    return target


def token_graph(file: Path, folder: Path) -> Path:
    """Export the packaged model as E5Embeddings expects it: a graph that returns token vectors."""
    from transformers import AutoModel

    from interest_tiers.embedding.export import write_graph

    exported = exported_model(file, folder)
    target = exported.with_name("tokens")
    if target.exists():
        return target
    new = target.with_name("tokens.new")
    shutil.rmtree(new, ignore_errors=True)
    model = AutoModel.from_pretrained(exported, use_safetensors=True, attn_implementation="eager", return_dict=False).eval()
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    write_graph(model, inputs, new / "model.onnx", is_one_file=True)
    shutil.copytree(exported / "sparknlp" / "assets", new / "assets")
    # Renamed at the end, so that an interrupted export is never taken for a complete one.
    return new.rename(target)


def _session(backend: str, without: str | None = None) -> SparkSession:
    """Build a session with what a backend needs. without: prefix of the settings to leave out."""
    if backend == "sparknlp":
        os.environ[session.FURTHER_SETTINGS] = str(SPARK_NLP_SETTINGS)
    packaged = {key: value for key, value in session.packaged_settings().items() if without is None or not key.startswith(without)}
    settings = packaged | {"spark.master": f"local[{CORES}]", "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
    session.packaged_settings = lambda: settings
    return session.build_session("benchmark embedding")


def _on_spark(embedded: Callable[[DataFrame], DataFrame], spark: SparkSession, folder: Path) -> Callable[[list[str]], np.ndarray]:
    """Build a function that embeds texts on Spark, from Parquet to Parquet.

    embedded: from (text_hash, text) to (text_hash, embedding array<float>), one row per text
    """
    given, written = folder / "embedding-texts", folder / "embedding-vectors"

    def embed(texts: list[str]) -> np.ndarray:
        given.mkdir(parents=True, exist_ok=True)
        # The position of a text serves as its hash, so that the vectors can be sorted back.
        pq.write_table(pa.table({"text_hash": [f"{place:09d}" for place in range(len(texts))], "text": texts}), given / "part-0.parquet")
        # With a schema, because a stage knows its columns and does not infer them from files.
        embedded(spark.read.schema("text_hash string, text string").parquet(str(given))).write.mode("overwrite").parquet(str(written))
        found = pq.read_table(written)
        vectors = np.vstack(found["embedding"].to_numpy(zero_copy_only=False))
        return vectors[np.argsort(found["text_hash"].to_numpy(zero_copy_only=False))]

    return embed


def n_tokens(texts: list[str]) -> int:
    """Count the tokens that the model reads, without padding."""
    from interest_tiers.embedding.encoder import TextTokenizer
    from interest_tiers.embedding.model_folder import read_model_folder

    return int(TextTokenizer(read_model_folder(MODEL), MAX_TOKENS)(texts).lengths.sum())


def flops_per_token() -> float:
    """Compute the floating-point operations per token of the matrix products of all layers of a BERT, without attention.

    A layer has four products of width by width, and two of width by intermediate size.
    """
    from interest_tiers.embedding.model_folder import read_model_folder

    config = json.loads((read_model_folder(MODEL).path / "config.json").read_text(encoding="utf-8"))
    width, between = config["hidden_size"], config["intermediate_size"]
    return 2.0 * config["num_hidden_layers"] * (4 * width * width + 2 * width * between)


def gigaflops(dtype: str) -> float:
    """Measure the GFLOP/s that the processor reaches in a matrix product of the model's shape, on all cores."""
    import torch

    torch.set_num_threads(CORES)
    kind = getattr(torch, dtype)
    activations, weights = torch.randn(1024, 384, dtype=kind), torch.randn(1536, 384, dtype=kind)
    seconds = []
    with torch.inference_mode():
        for _ in range(50):
            start = time.perf_counter()
            torch.nn.functional.linear(activations, weights)
            seconds.append(time.perf_counter() - start)
    return 2 * 1024 * 384 * 1536 / float(np.median(seconds)) / 1e9


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--location", action="append", default=[], metavar="NAME=FOLDER", help="of a data set of conf/")
    parser.add_argument("--folder", type=Path, default=PROJECT / "build" / "bench", help="for texts and vectors")
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=WAYS,
        default=list(WAYS),
        metavar="WAY",
        help=f"of {', '.join(WAYS)}; the first is what others are compared with",
    )
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    parser.add_argument("--prepare", choices=tuple(DATA_SETS), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
