"""Figures of the demo's back-test: read from a finished warehouse, stored as JSON, and set into README.md and docs/results.md.

With a warehouse the stored figures are replaced. Without one, the pages are written anew from the stored figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Sequence
from datetime import date
from importlib.metadata import packages_distributions, version
from pathlib import Path
from textwrap import wrap
from typing import Any

from interest_tiers.config import TIERS, load_config
from interest_tiers.lookup.warehouse import open_warehouse
from interest_tiers.report.comparison import Comparison, ModelMeasures, describe_back_test
from interest_tiers.report.language import Language
from interest_tiers.storage.row_reader import Where

REPOSITORY = Path(__file__).parents[1]
CONFIG = REPOSITORY / "conf" / "complete_journey.yaml"
FIGURES = REPOSITORY / "benchmarks" / "figures" / "complete_journey.json"
PAGES = (REPOSITORY / "README.md", REPOSITORY / "docs" / "results.md")
START, END = "<!-- figures of the demo, written by make results -->", "<!-- end of the figures of the demo -->"

#: The metrics that the pages show, and the packages whose versions count.
METRICS = ("J", "macro_f1", "ndcg@10", "n_pairs", "n_users", *(f"calibration_error_{tier}" for tier in TIERS))
PACKAGES = ("pyspark", "torch", "xgboost")

LANGUAGE = Language()

#: Characters of a line.
WIDTH = 118


def read_figures(location: str) -> dict[str, Any]:
    """Read the figures of the latest back-test of a warehouse, and where they are from.

    The machine is the one that reads; the pipeline must have run there.
    """
    warehouse = open_warehouse(location)
    as_of = warehouse.list_days("metrics", {"stage": "evaluate"})[0]
    where: Where = {"stage": "evaluate", "as_of": as_of}
    rows = warehouse.select("metrics", ["run_id", "metric", "slice", "value", "lower", "upper"], {**where, "metric": METRICS})
    run_id = max(row["run_id"] for row in rows)
    run = warehouse.select("runs", ["ended_at", "code_version"], {**where, "run_id": run_id, "status": "done"})[0]
    return {
        "as_of": as_of.isoformat(),
        "horizon_days": load_config(CONFIG).tiers.horizon_days,
        "measured": run["ended_at"].date().isoformat(),
        "run_id": run_id,
        "code": run["code_version"],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "packages": _read_versions(PACKAGES),
        "rows": sorted(
            ({key: row[key] for key in ("metric", "slice", "value", "lower", "upper")} for row in rows if "bin=" not in row["slice"]),
            key=lambda row: (row["metric"], row["slice"]),
        ),
    }


def _read_versions(packages: Sequence[str]) -> dict[str, str]:
    """Read the versions of what provides the packages; for xgboost that can be xgboost-cpu."""
    providers = packages_distributions()
    return {name: version(providers[name][0]) for name in packages}


def render(figures: dict[str, Any]) -> str:
    """Render the figures as Markdown."""
    as_of, horizon = date.fromisoformat(figures["as_of"]), figures["horizon_days"]
    back_test = describe_back_test(figures["rows"], as_of, horizon)
    if back_test is None or back_test.tiers is None:
        raise ValueError(f"{FIGURES.name} holds no tiers: run the pipeline, then make results")
    counts = {(single.name, single.cases): single.value for single in back_test.singles}
    lists = [comparison for comparison in back_test.recommendations if comparison.cases in ("all items", "items new to the user")]
    packages = ", ".join(f"{name} {number}" for name, number in figures["packages"].items())
    lines = [
        f"Everything was computed as of {back_test.cutoff}, and compared with the {horizon} days that followed (`--as-of {as_of}`).",
        "Brackets hold 95 % bootstrap intervals; those of differences are paired by user.",
        "",
        *_list_models(
            back_test.tiers,
            [("J", True), ("macro_f1", False)],
            f"tiers, {counts['pairs', 'tiers']:,.0f} pairs of {counts['users', 'tiers']:,.0f} users",
        ),
    ]
    for comparison in lists:
        lines += ["", *_list_models(comparison, [("ndcg@10", True)], f"lists, {comparison.cases}")]
    sentences = [
        *back_test.tiers.judge(LANGUAGE),
        *(f"For {comparison.cases}, {sentence}" for comparison in lists for sentence in comparison.judge(LANGUAGE)),
        _describe_calibration(back_test.tiers),
    ]
    lines += ["", *(line for sentence in sentences for line in wrap(f"- {sentence}", WIDTH, subsequent_indent="  ")), ""]
    measured = f"Measured on {figures['measured']}: {figures['machine']}; interest-tiers {figures['code']}, {packages}."
    lines += wrap(measured, WIDTH)
    return "\n".join(lines)


def _list_models(comparison: Comparison, metrics: Sequence[tuple[str, bool]], title: str) -> list[str]:
    """List models by metrics. metrics: each with whether its paired differences are shown."""
    names = {column.metric: (position, column) for position, column in enumerate(comparison.columns)}
    columns, reference = [title], next((model.name for model in comparison.models if model.model == comparison.reference), "reference")
    for metric, is_compared in metrics:
        _, column = names[metric]
        columns.append(f"{column.name} ({column.better} is better)")
        columns += [f"minus {reference.lower()}"] if is_compared else []
    positions = [(names[metric][0], is_compared) for metric, is_compared in metrics]
    rows = [[_mark(model.name, place == 0), *_cells(model, positions)] for place, model in enumerate(comparison.models)]
    return ["| " + " | ".join(row) + " |" for row in (columns, ["---"] * len(columns), *rows)]


def _cells(model: ModelMeasures, positions: Sequence[tuple[int, bool]]) -> list[str]:
    cells = []
    for position, is_compared in positions:
        measure, difference = model.measures[position], model.differences[position]
        cells.append("" if measure is None else _with_interval(measure.value, measure.lower, measure.upper, LANGUAGE.decimal))
        if is_compared:
            cells.append(
                "" if difference is None else _with_interval(difference.value, difference.lower, difference.upper, LANGUAGE.signed)
            )
    return cells


def _with_interval(value: float, lower: float | None, upper: float | None, write: Callable[[float], str]) -> str:
    return write(value) if lower is None or upper is None else f"{write(value)} [{write(lower)}, {write(upper)}]"


def _mark(name: str, is_ours: bool) -> str:
    return f"**{name}**" if is_ours else name


def _describe_calibration(tiers: Comparison) -> str:
    errors = {column.metric: tiers.models[0].measures[position] for position, column in enumerate(tiers.columns)}
    found = [(tier, errors.get(f"calibration_error_{tier}")) for tier in TIERS]
    listed = ", ".join(f"{measure.value:.3f} ({tier})" for tier, measure in found if measure is not None)
    return f"The probabilities of the tiers are off by {listed} on average."


def fill_in(page: str, block: str) -> str:
    """Put a block between the marks of a page."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{block}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the figures, then the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("warehouse", nargs="?", help="a finished warehouse of the demo; without it the stored figures are set again")
    warehouse = parser.parse_args(arguments).warehouse
    if warehouse:
        FIGURES.parent.mkdir(exist_ok=True)
        FIGURES.write_text(json.dumps(read_figures(warehouse), indent=1) + "\n", encoding="utf-8")
    block = render(json.loads(FIGURES.read_text(encoding="utf-8")))
    for page in PAGES:
        page.write_text(fill_in(page.read_text(encoding="utf-8"), block), encoding="utf-8")
    print(block)


if __name__ == "__main__":
    main()
