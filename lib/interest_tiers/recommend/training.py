"""The training of the ranker as of a day, from frames and settings. It sees only days before that day."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from interest_tiers import __version__
from interest_tiers.config import Recommend
from interest_tiers.recommend.composition import prepare_ranking
from interest_tiers.recommend.examples import EXAMPLE_ARROW, list_cutoffs, make_examples
from interest_tiers.recommend.features import FEATURES
from interest_tiers.recommend.item_use import find_used
from interest_tiers.recommend.knowledge import sum_use
from interest_tiers.recommend.ranker import ROUNDS, SETTINGS, Ranker, fit_ranker, group_of
from interest_tiers.spark.materialise import Materialise, prefixed
from interest_tiers.spark.sampling import sample_by_hash
from interest_tiers.training.model_store import ModelStore
from interest_tiers.training.record import Lineage, write_json

#: The file that a finished model has.
RECORD = "ranker.json"

#: Version of the model's form. Raise it when features or files change; older models are trained again.
FORM = 2

#: Users of the training cutoffs from which no earlier cutoff is added: it would cost as much again as the first.
ENOUGH_USERS = 2_000

#: The items that a model ranks: own and new ones, or new ones alone.
Kind = Literal["all", "new"]


@dataclass(frozen=True)
class ItemInputs:
    """What recommendations are computed from, by the interests as they were known on one day.

    days:    (user_id, interest_id, item_id, event_date, weight, n_interactions), of the finest level, which may go beyond a cutoff
    vectors: (item_id, text_hash, embedding), of items with a text; embedding null where it says nothing to the language model
    """

    days: DataFrame
    vectors: DataFrame


@dataclass(frozen=True)
class RankerSetup:
    """What trainings of several days share.

    inputs_at: the frames by the interests as known at a cutoff
    min_item_users: items with fewer users before a cutoff are left out
    """

    inputs_at: Callable[[date], ItemInputs]
    config: Recommend
    horizon_days: int
    min_item_users: int
    store: ModelStore
    materialise: Materialise
    lineage: Lineage


def ranker_day(as_of: date, config: Recommend) -> date:
    """Return the day whose ranker serves as_of: the latest multiple of every_days."""
    return date.fromordinal(as_of.toordinal() // config.training.every_days * config.training.every_days)


@dataclass
class RankerTraining:
    """The training as of one day, for some kinds of lists."""

    setup: RankerSetup
    day: date
    kinds: Sequence[Kind]

    @cached_property
    def inputs(self) -> ItemInputs:
        return self.setup.inputs_at(self.day)

    @cached_property
    def _known_days(self) -> Row:
        """Describe the days before the day of the training: the first, their number and a hash."""
        days = self.inputs.days.where(F.col("event_date") < F.lit(self.day))
        columns = ["user_id", "interest_id", "item_id", "event_date", "weight", "n_interactions"]
        found = days.agg(
            F.min("event_date").alias("first"), F.count(F.lit(1)).alias("n"),
            F.expr(f"bit_xor(xxhash64({', '.join(columns)}))").alias("hash"),
        ).first()  # fmt: skip
        assert found is not None  # an aggregate without keys has one row
        return found

    @cached_property
    def cutoffs(self) -> list[date]:
        """The cutoffs that examples may have, latest first; none where the data are too short."""
        first = self._known_days["first"]
        return [] if first is None else list_cutoffs(self.day, self.setup.horizon_days, first)

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of all that decides on the model: settings, code, and the days before its own."""
        training, known = self.setup.config.training, self._known_days
        parts = [
            training.model_dump(mode="json", exclude={"folder", "every_days"}), self.setup.config.max_items, self.setup.horizon_days,
            self.setup.min_item_users, self.setup.lineage.embedding, sorted(self.kinds), FEATURES, SETTINGS, ROUNDS,
            known["n"], known["hash"], self.day.isoformat(), FORM, ENOUGH_USERS, __version__,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        return self.setup.store.folder(self.day, self.fingerprint)

    def read_or_train(self) -> dict[Kind, Ranker] | str:
        """Return the rankers by kind, trained where they have not been; or why there are none."""
        if not self.setup.store.is_trained(self.day, self.fingerprint):
            lack = self.train()
            if lack is not None:
                return lack
        return {kind: read_ranker(self.folder, kind) for kind in self.kinds}

    def train(self) -> str | None:
        """Train and publish; returns why it could not."""
        settings, store = self.setup.config.training, self.setup.store
        if not self.cutoffs:
            return f"the data before {self.day} are too short for a horizon of {self.setup.horizon_days} days"
        examples, counts = self.examples
        n_users = counts[0]
        if n_users < settings.min_users:
            return f"{n_users:,} users can teach it, fewer than recommend.training.min_users ({settings.min_users:,})"
        if not 0 < examples["label"].sum() < len(examples["label"]):
            return "all of its examples have the same label"
        with store.working_folder(self.day, self.fingerprint, "ranker") as working:
            finished = working.path / "model"
            finished.mkdir(parents=True, exist_ok=True)
            for kind in self.kinds:
                (finished / f"{kind}.ubj").write_bytes(self._fit(kind).model)
            write_json(finished / RECORD, self._record(examples, counts))
            store.publish(finished, self.day, self.fingerprint)
        store.point(self.setup.lineage.name, self.day, self.fingerprint)
        return None

    def train_without(self, group: str) -> dict[Kind, Ranker]:
        """Train on the same examples without a group of features, see ranker.GROUPS; nothing is stored."""
        return {kind: self._fit(kind, tuple(name for name in FEATURES if group_of(name) != group)) for kind in self.kinds}

    def _fit(self, kind: Kind, features: tuple[str, ...] = FEATURES) -> Ranker:
        """Fit the model of one kind; see ranker.fit_ranker."""
        examples, training = self.examples[0], self.setup.config.training
        rows = np.flatnonzero(~examples["is_own"]) if kind == "new" else slice(None)
        read = Ranker(b"", features).select(examples["features"][rows])
        return Ranker(fit_ranker(read, examples["label"][rows], examples["weight"][rows], training.seed, training.threads), features)

    @cached_property
    def examples(self) -> tuple[dict[str, np.ndarray], list[int]]:
        """The examples of at most max_users users a cutoff, and the users of each cutoff that was needed to have ENOUGH_USERS."""
        parts: list[dict[str, np.ndarray]] = []
        counts: list[int] = []
        for cutoff in self.cutoffs:
            if sum(counts) < ENOUGH_USERS:
                part, n_users = self._examples_at(cutoff)
                parts.append(part)
                counts.append(n_users)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, counts

    def _examples_at(self, cutoff: date) -> tuple[dict[str, np.ndarray], int]:
        setup, inputs = self.setup, self.setup.inputs_at(cutoff)
        materialise = prefixed(setup.materialise, f"{self.day}/{cutoff}")
        use = sum_use(inputs.days, cutoff, materialise, setup.min_item_users)
        horizon_end = min(self.day, cutoff + timedelta(days=setup.horizon_days))
        future = find_used(inputs.days.where((F.col("event_date") >= F.lit(cutoff)) & (F.col("event_date") < F.lit(horizon_end))))
        known = use.used.where("is_had").select("user_id").distinct()
        active = materialise("users", future.select("user_id").distinct().join(known, "user_id", "left_semi"))
        n_users = active.count()
        users = sample_by_hash(active, "user_id", setup.config.training.max_users, n_users)
        ready = prepare_ranking(use, inputs.vectors, setup.config, users, future)
        if ready.knowledge is None:
            return _read_examples(EXAMPLE_ARROW.empty_table()), 0
        rows = pa.Table.from_batches(_collect_arrow(make_examples(ready.histories, ready.knowledge)), EXAMPLE_ARROW)
        ready.knowledge.destroy()
        return _read_examples(rows), n_users

    def _record(self, examples: dict[str, np.ndarray], counts: list[int]) -> dict[str, Any]:
        return {
            **self.setup.lineage.describe(),
            "as_of": self.day.isoformat(),
            "fingerprint": self.fingerprint,
            "kinds": list(self.kinds),
            "cutoffs": [cutoff.isoformat() for cutoff in self.cutoffs[: len(counts)]],
            "labels_complete_by": self.day.isoformat(),
            "users": counts[0],
            "examples": {
                "own": int(examples["is_own"].sum()),
                "new": int((~examples["is_own"]).sum()),
                "used": int(examples["label"].sum()),
            },
            "parameters": {**SETTINGS, "rounds": ROUNDS, **self.setup.config.training.model_dump(mode="json", exclude={"folder"})},
            "features": list(FEATURES),
        }


def read_ranker(folder: Path, kind: Kind) -> Ranker:
    """Read a trained ranker."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return Ranker((folder / f"{kind}.ubj").read_bytes(), tuple(record["features"]))


def _collect_arrow(frame: DataFrame) -> list[pa.RecordBatch]:
    """Collect a frame as Arrow batches in the order of its partitions."""
    return frame._collect_as_arrow()  # toPandas would make an object of every list


def _read_examples(rows: pa.Table) -> dict[str, np.ndarray]:
    """Read examples, ordered by their key: the samples of the boosting go by position."""
    rows = rows.sort_by("key").combine_chunks()
    values = rows.column("features").combine_chunks().flatten().to_numpy()
    return {
        "features": values.reshape(rows.num_rows, -1),
        **{name: rows.column(name).to_numpy() for name in ("label", "weight", "is_own")},
    }
