"""The ledger: which files were read before, under which cleaning rules, and what has changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from interest_tiers.config import Config, Source

#: Version of the cleaning rules. Add 1 when the same source and config would give other rows: another reason, id,
#: normalised text or day rule. Every warehouse then reads all its files again, once. A release that changes no row
#: keeps it. tests/cleaning/test_rules_version.py fails where a change of rows lacks a new version.
CLEANING_RULES_VERSION = 3


@dataclass(frozen=True)
class SourceChanges:
    """How the files of one source differ from those read before.

    new: files that were not read yet.
    changed: the first file that is no longer as it was.
    vanished: number of files that are no longer there.
    same_rules: whether the source is cleaned as it was.
    columns: the columns of the files read so far, as JSON; None for a source never read.
    same_joined: whether the tables that it joins are as they were.
    """

    new: tuple[str, ...] = ()
    changed: str | None = None
    vanished: int = 0
    same_rules: bool = True
    columns: str | None = None
    same_joined: bool = True

    @property
    def reason_to_rebuild(self) -> str | None:
        """Return why the stored rows of the source must be replaced; None when new files can simply be added."""
        if self.columns is None:
            return "read for the first time"
        if not self.same_rules:
            return "the config or a new version of the cleaning rules cleans it in another way"
        if not self.same_joined:
            return "a table that it joins has changed"
        return None if self.changed is None else f"{self.changed} is no longer the file that was read"


def fingerprint_rules(config: Config, source: Source, joined: str = "", version: int = CLEANING_RULES_VERSION) -> str:
    """Compute the SHA-256 of everything in the config that decides what becomes of a row of a source.

    joined: the state of the tables that it joins, which follows the SHA-256 after a colon; empty where it joins none
    Thresholds of the quality gate and weights of behaviours decide nothing about a row.
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
    rules = hashlib.sha256(json.dumps([version, own, shared], sort_keys=True).encode()).hexdigest()
    return f"{rules}:{joined}" if joined else rules


def compare_files(listed: DataFrame, ledger: DataFrame, rules: Mapping[str, str]) -> dict[str, SourceChanges]:
    """Compare the files of every source with those read before. New files are as many as came since then.

    listed: (source, path, state). ledger: as the table source_files. rules: by source (see fingerprint_rules).
    Returns the changes by source, for sources that are listed, in the ledger, or both.
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
        F.max_by("columns", _in_order_of_runs(F.col("run_id"))).alias("columns"),
    )
    return {row["source"]: _changes(row, rules.get(row["source"])) for row in compared.collect()}


def _in_order_of_runs(run_id: Column) -> Column:
    """Sort run ids by time; the steps of a stream by number, so that step 10 comes after step 9."""
    step = F.regexp_extract(run_id, r"-(\d+)$", 1)
    return F.concat(F.regexp_replace(run_id, r"\d+$", ""), F.lpad(step, 20, "0"))


def _changes(row: Row, rules: str | None) -> SourceChanges:
    before, now = [text.partition(":") for text in row["rules"]], (rules or "").partition(":")
    same_rules, same_joined = all(text[0] == now[0] for text in before), all(text[2] == now[2] for text in before)
    return SourceChanges(tuple(row["new"]), row["changed"], row["vanished"], same_rules, row["columns"], same_joined)
