"""Measures what a card is for: embedding, fine-tuning and the network of tiers, then NCCL and the halving when memory runs out.

One process without Spark, of at most eight minutes: every part works for a share of --seconds. On a CPU the same code runs in a small
form, which says that the script works and nothing of speed.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from interest_tiers.config import Embedding, FineTuning, Precision, TierTraining
from interest_tiers.embedding.encoder import SentenceEncoder, token_batches
from interest_tiers.embedding.model_folder import read_model_folder
from interest_tiers.encoder_training.objectives import objective_of
from interest_tiers.tiers.model import score_batches
from interest_tiers.tiers.networks import TierNetwork
from interest_tiers.tiers.shapes import RowBatch, Scaling
from interest_tiers.tiers.tier_training import TierTask, build_shape

#: Share of the seconds that each part works for; the rest is for loading.
SHARES = {"embedding": 0.35, "fine-tuning": 0.15, "tiers": 0.15}

#: Words of a short text, as item texts have them.
WORDS = (4, 12)

#: Texts of one call of the encoder, texts that are compared with fp32, and steps that are not timed.
TEXTS_PER_CALL, COMPARED_TEXTS, WARM_UP_STEPS = 8_192, 1_024, 3

#: Goals on one H100 or H200.
GOAL_TEXTS, GOAL_BUSY = 14_000, 0.7

Figures = dict[str, float | str]


@dataclass
class Phases:
    """Seconds of each phase of embedding, batches that were tried, and pairs of CUDA events around the card's part of each."""

    tokenising: float = 0.0
    padding: float = 0.0
    network: float = 0.0
    batches: int = 0
    events: list[tuple[Any, Any]] = field(default_factory=list)

    def card_seconds(self) -> float:
        """Return for how long the card worked; on a CPU, the network's own seconds."""
        if not self.events:
            return self.network
        torch.cuda.synchronize()
        return sum(start.elapsed_time(end) for start, end in self.events) / 1000


class TimedEncoder(SentenceEncoder):
    """The encoder of the stage embed, with a clock. most_texts: a batch of more is refused as if memory had run out."""

    def __init__(self, device: str, precision: Precision, most_texts: int | None = None) -> None:
        config = Embedding()
        super().__init__(config.model, config.max_tokens, device, os.cpu_count() or 1, precision)
        self.phases, self._most_texts = Phases(), most_texts
        self._start: Any = None
        self._pad, self._tokenizer.padded = self._tokenizer.padded, self._timed_padding  # type: ignore[method-assign]

    def embed(self, texts: Sequence[str], batch_tokens: int) -> np.ndarray:
        """Embed texts as encode does, without counts of tokens."""
        start = time.perf_counter()
        tokens = self._tokenizer(texts)
        self.phases.tokenising += time.perf_counter() - start
        vectors = np.empty((len(texts), self._folder.width), dtype=np.float32)
        for which, embedded in self._batches(tokens, batch_tokens):
            vectors[which] = embedded
        return vectors

    def moving_seconds(self, texts: Sequence[str], batch_tokens: int) -> float:
        """Measure how long the tokens of texts take to the card, apart from everything else."""
        tokens = self._tokenizer(texts)
        batches = [self._pad([tokens.ids[text] for text in which]) for which in token_batches(tokens.lengths, batch_tokens)]
        start = time.perf_counter()
        for array in (array for batch in batches for array in batch):
            torch.from_numpy(array).to(self._device)
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def _timed_padding(self, ids: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        start = time.perf_counter()
        padded = self._pad(ids)
        self.phases.padding += time.perf_counter() - start
        # What follows is the card's.
        self._start = time.perf_counter() if self._device == "cpu" else torch.cuda.Event(enable_timing=True)
        if self._device == "cuda":
            self._start.record()
        return padded

    def _encode_batch(self, ids: list[list[int]]) -> np.ndarray:
        self.phases.batches += 1
        return super()._encode_batch(ids)

    def _forward(self, ids: list[list[int]]) -> np.ndarray:
        if self._most_texts is not None and len(ids) > self._most_texts:
            raise torch.cuda.OutOfMemoryError("as if memory had run out")
        vectors = super()._forward(ids)
        if self._device == "cpu":
            self.phases.network += time.perf_counter() - self._start
        else:
            end = torch.cuda.Event(enable_timing=True)
            end.record()
            self.phases.events.append((self._start, end))
        return vectors


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=420.0, help="of the whole run")
    parser.add_argument("--rows", type=int, default=65_536, help="rows of a training step and of scoring")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    arguments = parser.parse_args(argv)
    measured = measure(arguments.device, arguments.seconds, arguments.rows)
    for part, figures in measured.items():
        shown = (f"{name} {value:,.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items())
        print(f"{part:<14}{'; '.join(shown)}", flush=True)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(measured, indent=2), encoding="utf-8")
    return 0


def measure(device: str, seconds: float, n_rows: int) -> dict[str, Figures]:
    """Run every part; returns its figures by name."""
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return {
        "device": {"name": name, "torch": torch.__version__},
        "embedding": measure_embedding(device, seconds * SHARES["embedding"]),
        "fine-tuning": measure_fine_tuning(device, seconds * SHARES["fine-tuning"]),
        "tiers": measure_tiers(device, seconds * SHARES["tiers"], n_rows),
        "processes": check_one_process(device),
        "memory": check_halving(device),
    }


def draw_texts(n_texts: int, seed: int) -> list[str]:
    """Draw distinct short texts of words that the model knows."""
    from transformers import AutoTokenizer

    vocabulary = AutoTokenizer.from_pretrained(read_model_folder(Embedding().model).path).get_vocab()
    words = np.array(sorted(word for word in vocabulary if word.isalpha() and len(word) > 2))
    random = np.random.default_rng(seed)
    lengths = random.integers(*WORDS, n_texts)
    drawn = words[random.integers(0, len(words), lengths.sum())]
    parts = np.split(drawn, np.cumsum(lengths)[:-1])
    return [f"{' '.join(part)} {seed} {place}" for place, part in enumerate(parts)]


def measure_embedding(device: str, seconds: float) -> Figures:
    """Measure texts/s, the shares of time of the phases, how busy the card is, and cosines with fp32."""
    precision: Precision
    precision, batch_tokens = ("bf16", 65_536) if device == "cuda" else ("fp32", 1_024)
    n_texts = TEXTS_PER_CALL if device == "cuda" else 128
    encoder = TimedEncoder(device, precision)
    texts = draw_texts(n_texts, 0)
    vectors = encoder.embed(texts, batch_tokens)
    moving = encoder.moving_seconds(texts, batch_tokens) / len(texts)
    encoder.phases = Phases()
    n_done, start = 0, time.perf_counter()
    for _ in _until(start, seconds):
        encoder.embed(texts, batch_tokens)
        n_done += len(texts)
    wall, phases = time.perf_counter() - start, encoder.phases
    encoder.phases = Phases()
    exact = TimedEncoder(device, "fp32").embed(texts[:COMPARED_TEXTS], batch_tokens)
    again = encoder.embed(texts[:COMPARED_TEXTS], batch_tokens)
    cosines = (exact * again).sum(axis=1)
    figures: Figures = {
        "precision": precision,
        "texts/s": n_done / wall,
        "tokenising": phases.tokenising / wall,
        "padding": phases.padding / wall,
        "moving": moving * n_done / wall,
        "busy": phases.card_seconds() / wall,
        "mean cosine": float(cosines.mean()),
        "least cosine": float(cosines.min()),
        "width": float(vectors.shape[1]),
    }
    if device == "cuda":
        met = n_done / wall >= GOAL_TEXTS and phases.card_seconds() / wall >= GOAL_BUSY
        figures["goal"] = f"{GOAL_TEXTS:,} texts/s, busy {GOAL_BUSY}: {'met' if met else 'NOT MET'}"
    return figures


def measure_fine_tuning(device: str, seconds: float) -> Figures:
    """Measure steps/s of the contrastive objective in both precisions, and the loss in fp32 before and after on one batch."""
    settings = FineTuning()
    n_pairs = settings.batch_size if device == "cuda" else 8
    objective: Any = objective_of(settings, read_model_folder(Embedding().model), device)
    random = np.random.default_rng(1)
    tokens = [random.integers(1000, 20_000, int(length)).tolist() for length in random.integers(6, 16, 2 * n_pairs)]
    rows = pa.table(
        {
            "anchor": pa.array(tokens[:n_pairs], pa.list_(pa.int32())),
            "positive": pa.array(tokens[n_pairs:], pa.list_(pa.int32())),
            "anchor_text": pa.array(range(n_pairs), pa.int64()),
            "positive_text": pa.array(range(n_pairs, 2 * n_pairs), pa.int64()),
            "basket": pa.array(range(n_pairs), pa.int64()),
            "log_frequency": pa.array(np.zeros(n_pairs, np.float32)),
        }
    )
    parts = 2 if device == "cuda" else 1
    exact = _train(objective, rows, device, seconds / parts, settings.learning_rate) | {"pairs a step": float(n_pairs)}
    if device == "cuda":
        exact["steps/s bf16"] = _train(objective, rows, device, seconds / parts, settings.learning_rate, in_bf16=True)["steps/s"]
    return exact


def measure_tiers(device: str, seconds: float, n_rows: int) -> Figures:
    """Measure rows/s of training the network of tiers, and of scoring with it, on rows in memory."""
    settings, n_features = TierTraining(), 96
    random = np.random.default_rng(2)
    scaling = Scaling((0.0,) * n_features, (1.0,) * n_features, (-9.0,) * n_features, (9.0,) * n_features, ())
    rows = RowBatch(
        random.normal(size=(n_rows, n_features)).astype(np.float32), np.zeros((n_rows, 0, 5), np.float32), np.zeros((n_rows, 0), np.int64),
        random.integers(0, 3, n_rows), np.ones(n_rows, np.float32),
    )  # fmt: skip
    shape = build_shape("mlp", settings, n_features, scaling, None)
    names = tuple(f"f{place}" for place in range(n_features))
    objective = TierTask(settings, shape, names, scaling, "", "").objective(device)
    trained = _train(objective, rows, device, seconds / 2, settings.learning_rate)
    network: TierNetwork = objective.network.eval()
    scored, start = 0, time.perf_counter()
    for _ in _until(start, seconds / 2):
        for scores, batch in score_batches(network, [rows]):
            scored += len(batch)
            scores.cpu()
    speed = scored / (time.perf_counter() - start)
    return {"training rows/s": float(trained["steps/s"]) * n_rows, "scoring rows/s": speed, "rows a step": float(n_rows)}


def check_one_process(device: str) -> Figures:
    """Train two steps in a process group of one, by NCCL on a card and gloo on a CPU: the launcher's own case with one process."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    backend = "nccl" if device == "cuda" else "gloo"
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        total = torch.ones(4, device=device)
        dist.all_reduce(total)
        network = DistributedDataParallel(torch.nn.Linear(4, 2).to(device))
        network(total).sum().backward()
        gradient = network.module.weight.grad
        assert gradient is not None
        return {"backend": backend, "sum of ones": float(total.sum()), "gradient": float(gradient.sum())}
    finally:
        dist.destroy_process_group()


def check_halving(device: str) -> Figures:
    """Embed with too little memory for a batch, and compare: the batch is halved until it fits, and vectors stay the same."""
    texts = draw_texts(64, 3)
    whole = TimedEncoder(device, "fp32").embed(texts, 4_096)
    encoder = TimedEncoder(device, "fp32", most_texts=16)
    halved = encoder.embed(texts, 4_096)
    figures: Figures = {"least cosine": float((whole * halved).sum(axis=1).min()), "batches tried": float(encoder.phases.batches)}
    if device == "cuda":
        figures |= _run_out_of_memory()
    return figures


def _run_out_of_memory() -> Figures:
    """Leave the process a sliver of the card, so that the card itself refuses the batch."""
    encoder = TimedEncoder("cuda", "fp32")
    texts = draw_texts(16_384, 4)
    torch.cuda.empty_cache()
    free = torch.cuda.memory_allocated() + 512 * 1024**2
    torch.cuda.set_per_process_memory_fraction(free / torch.cuda.get_device_properties(0).total_memory)
    try:
        vectors = encoder.embed(texts, 2**20)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return {"batches tried by the card": float(encoder.phases.batches), "finite": str(bool(np.isfinite(vectors).all()))}


def _train(objective: Any, rows: Any, device: str, seconds: float, learning_rate: float, in_bf16: bool = False) -> Figures:
    """Take steps on one batch for some seconds, in bf16 as fine_tuning.precision does it; returns steps/s and the losses."""
    optimiser = torch.optim.AdamW(objective.network.parameters(), lr=learning_rate)
    losses: list[float] = []

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=in_bf16):
            loss, value = objective.training_loss(objective.network, rows)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(value)

    for _ in range(WARM_UP_STEPS):
        step()
    n_steps = _count(step, seconds)
    return {"steps/s": n_steps[0] / n_steps[1], "first loss": losses[0], "last loss": losses[-1]}


def _count(step: Callable[[], None], seconds: float) -> tuple[int, float]:
    """Repeat a step for some seconds; returns how often, and how long it took."""
    start, n_steps = time.perf_counter(), 0
    for _ in _until(start, seconds):
        step()
        n_steps += 1
    return n_steps, time.perf_counter() - start


def _until(start: float, seconds: float) -> Iterator[int]:
    """Yield 0, 1, 2 … until so many seconds have passed, one time at least."""
    number = 0
    while number == 0 or time.perf_counter() - start < seconds:
        yield number
        number += 1


if __name__ == "__main__":
    raise SystemExit(main())
