"""Which files of the sources were read before, and what is to be read now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from interest_tiers.config import Config, Source


@dataclass(frozen=True)
class SourceChanges:
    """How the files of one source differ from those read before.

    new: files that were not read yet. changed: one of the files that are no longer as they were. vanished: files that are
    no longer there. same_rules: whether the config cleans the source as it did. columns: those of the files read so far,
    as JSON; None for a source never read.
    """

    new: tuple[str, ...] = ()
    changed: str | None = None
    vanished: int = 0
    same_rules: bool = True
    columns: str | None = None

    @property
    def reason_to_rebuild(self) -> str | None:
        """Why what the tables hold of the source does not stand; None when new files can simply be added."""
        if self.columns is None:
            return "read for the first time"
        if not self.same_rules:
            return "the config or the version of the code cleans it in another way"
        return None if self.changed is None else f"{self.changed} is no longer the file that was read"


def cleaning_rules(config: Config, source: Source, version: str) -> str:
    """Fingerprint of everything that decides what becomes of a row of a source, SHA-256.

    Thresholds of the quality gate and weights of behaviours decide nothing about a row. version: of the code.
    """
    own = source.model_dump(mode="json", exclude={"max_quarantine_rate", "name"})
    shared: dict[str, object] = {}
    if source in config.interactions:
        shared = {
            "behaviours": {name: weight is None for name, weight in config.behaviours.items()},
            "values": {name: bounds.model_dump(mode="json") for name, bounds in config.values.items()},
            "noise": config.noise.model_dump(mode="json"),
        }
    elif source is config.items and config.interests.levels:
        shared = {"levels": config.interests.levels}
    return hashlib.sha256(json.dumps([version, own, shared], sort_keys=True).encode()).hexdigest()


def compare_files(listed: DataFrame, ledger: DataFrame, rules: Mapping[str, str]) -> dict[str, SourceChanges]:
    """What changed since the files in the ledger were read, by source. New files are as many as came since then.

    listed: source, path, state. ledger: as the table source_files. rules: see cleaning_rules, by source.
    Sources that are in the ledger alone are in the result; those that are in neither are not.
    """
    now, before = listed.withColumnRenamed("state", "state_now"), ledger.withColumnRenamed("state", "state_before")
    together = now.join(before, ["source", "path"], "full")
    is_known = F.col("state_before").isNotNull()
    differs = is_known & (F.col("state_now") != F.col("state_before"))
    compared = together.groupBy("source").agg(
        F.sort_array(F.collect_list(F.when(~is_known, F.col("path")))).alias("new"),
        F.min(F.when(differs, F.col("path"))).alias("changed"),
        F.count_if(F.col("state_now").isNull()).alias("vanished"),
        F.collect_set("rules").alias("rules"),
        F.max_by("columns", "run_id").alias("columns"),
    )
    return {row["source"]: _changes(row, rules.get(row["source"])) for row in compared.collect()}


def _changes(row: Row, rules: str | None) -> SourceChanges:
    return SourceChanges(tuple(row["new"]), row["changed"], row["vanished"], set(row["rules"]) <= {rules}, row["columns"])
