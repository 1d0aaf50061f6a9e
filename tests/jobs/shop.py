"""A small shop of our own making, and how jobs are run on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from interest_tiers.config import load_config
from interest_tiers.stages.command_line import main
from interest_tiers.stages.context import StageContext
from interest_tiers.stages.registry import find_stage
from interest_tiers.storage.warehouse import Warehouse
from tests.conftest import PLAIN_PLANS, QUICK_START

REPOSITORY = Path(__file__).parents[2]
FIRST_DAY, LAST_DAY, AS_OF = date(2024, 1, 1), date(2024, 8, 27), date(2024, 7, 20)

#: Three groups of users, each with three categories of its own; everyone also buys bread.
GROUPS = {
    "garden": ["SEEDS & BULBS", "GARDEN TOOLS", "OUTDOOR LIGHTS"],
    "kitchen": ["PANS", "KNIVES", "SPICES"],
    "games": ["BOARD GAMES", "PUZZLES", "CARD GAMES"],
}
USERS_PER_GROUP, ITEMS_PER_CATEGORY = 25, 6

#: Users enough that ten tune a network and ten judge it.
USERS_FOR_A_NETWORK = 58

#: Small enough for seconds. Two processes everywhere, since their number decides the order in which gradients are summed.
NETWORK = {
    "epochs": 4, "batch_size": 64, "width": 32, "layers": 1, "members": 1, "cuts": 1, "min_epoch_steps": 128, "checkpoint_steps": 8,
    "num_processes": 2,
}  # fmt: skip

#: Of every JVM.
JAVA_OPTIONS = f"-Duser.timezone=UTC {QUICK_START}"


@dataclass(frozen=True)
class Shop:
    """config: its YAML. raw: every row of its source. bad_rows: how many cannot be used. copies: exact duplicates."""

    config: Path
    raw: pd.DataFrame
    bad_rows: int
    copies: int


@dataclass(frozen=True)
class Made:
    """A warehouse, and what the command that made it printed."""

    warehouse: str
    printed: str


def make_shop(folder: Path, seed_after: int = 0, users_per_group: int = USERS_PER_GROUP) -> Shop:
    """Write the shop's files and config, but where they are already. seed_after changes what happens from AS_OF on, and nothing before."""
    items = _items()
    before = _purchases(items, FIRST_DAY, AS_OF, 1, users_per_group)
    after = _purchases(items, AS_OF, LAST_DAY, 100 + seed_after, users_per_group)
    good = pd.concat([before, after])
    bad = pd.DataFrame(
        [
            {"visitor": None, "product": "p000", "at": "2024-02-01 10:00:00", "action": "purchase", "price": "1", "note": None},
            {"visitor": "1", "product": "nan", "at": "2024-02-01 10:00:00", "action": "purchase", "price": "1", "note": None},
            {"visitor": "1", "product": "p000", "at": "yesterday", "action": "purchase", "price": "1", "note": None},
            {"visitor": "1", "product": "p000", "at": "2024-02-01 10:00:00", "action": "wishlist", "price": "1", "note": None},
            {"visitor": "1", "product": "p000", "at": "2024-02-01 10:00:00", "action": "view", "price": "a lot", "note": None},
            {
                "visitor": "1",
                "product": "p000",
                "at": "2024-02-01 10:00:00",
                "action": "view",
                "price": "-3",
                "note": 'said "no",\nthen left',
            },
            {"visitor": "1", "product": "gift", "at": "2024-02-01 10:00:00", "action": "view", "price": "3", "note": None},
        ]
    )
    raw = pd.concat([good, bad, good.head(5)])
    config = folder / "shop.yaml"
    if not config.exists():
        folder.mkdir(parents=True, exist_ok=True)
        raw.to_csv(folder / "events.csv", index=False)
        items.to_parquet(folder / "items.parquet")
        config.write_text(yaml.safe_dump(shop_config(folder)), encoding="utf-8")
    return Shop(config, raw, bad_rows=len(bad), copies=5)


def make_network_shop(folder: Path, seed_after: int = 0) -> Shop:
    """Make a shop whose tiers are predicted by a network that two processes train. seed_after: see make_shop."""
    shop = make_shop(folder, seed_after, USERS_FOR_A_NETWORK)
    tree = shop_config(folder)
    tree["tiers"] = {"horizon_days": 30, "training": NETWORK}
    shop.config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return shop


def shop_config(folder: Path) -> dict[str, object]:
    """The config of the shop, to change and write again."""
    return {
        "name": "shop",
        "locations": {"shop": str(folder)},
        "interactions": {
            "path": "{shop}/events.csv",
            "columns": {
                "user_id": "visitor",
                "item_id": "product",
                "occurred_at": {"column": "at", "timezone": "Europe/Berlin"},
                "behaviour": "action",
                "value": "price",
                "text": "note",
            },
            "keep": ["price IS NULL OR price NOT LIKE '-%'"],
        },
        "items": {
            "path": "{shop}/items.parquet",
            "columns": {"item_id": "product", "text": ["category", "title"], "category": "category"},
            "drop_categories": ["GIFT*"],
        },
        "behaviours": {"view": 0.2, "purchase": 1.0},
        "quality": {"max_quarantine_rate": 0.1, "min_rows": 100, "min_users": 10},
        # Networks have tests of their own; these users are too few for one.
        "tiers": {"horizon_days": 30, "network": "rule"},
        "clustering": {"k": [2, 3, 4], "components": 4},
        "recommend": {"k": 5},
        "evaluation": {"bootstrap_samples": 200},
    }


def submit(
    stage: str,
    *arguments: str,
    master: str = "local[2]",
    properties: str = "conf/spark-defaults.conf",
    settings: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a job by a real spark-submit, as a user of the repository does; with the plans of users on a cluster alone.

    settings: of Spark, over all others. variables: of the environment.
    """
    binaries = Path(sys.executable).parent
    command = [
        str(binaries / "spark-submit"), "--master", master, "--properties-file", properties,
        "--conf", "spark.sql.shuffle.partitions=2", "--conf", "spark.ui.enabled=false",
        "--conf", f"spark.driver.extraJavaOptions={JAVA_OPTIONS}", "--conf", f"spark.executor.extraJavaOptions={JAVA_OPTIONS}",
    ]  # fmt: skip
    if master.startswith("local"):
        command += [part for key, value in PLAIN_PLANS.items() for part in ("--conf", f"{key}={value}")]
    command += [part for key, value in (settings or {}).items() for part in ("--conf", f"{key}={value}")]
    command += [f"jobs/{stage}.py", *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_"))}
    environment["PATH"] = f"{binaries}{os.pathsep}{environment['PATH']}"
    environment |= variables or {}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=900)


def without_java(log: str) -> str:
    """A log without the stacks of Java, which would hide the cause."""
    return "\n".join(line for line in log.splitlines() if not line.lstrip().startswith(("at ", "...")))


def require_success(ended: subprocess.CompletedProcess[str]) -> str:
    """Standard output of a job that ended well; a test failure with its last words otherwise."""
    assert ended.returncode == 0, f"exit code {ended.returncode}\n{ended.stdout[-2000:]}\n{without_java(ended.stderr)[-6000:]}"
    return ended.stdout


def run_command(command: str, arguments: Sequence[str]) -> int:
    """Run a command in this process; returns its exit code."""
    return main([command, *arguments])


def context_of(stage: str, config: Path, warehouse: Warehouse, as_of: date | None = AS_OF, overrides: Sequence[str] = ()) -> StageContext:
    """Return the context of a stage as a command would make it."""
    context = StageContext(warehouse, requested_as_of=as_of, config=load_config(config, overrides))
    context.begin(find_stage(stage))
    return context


def command_of(shop: Shop, warehouse: str, as_of: date | None = AS_OF) -> list[str]:
    """The arguments that every job takes."""
    day: Sequence[str] = [] if as_of is None else ["--as-of", as_of.isoformat()]
    return ["--config", str(shop.config), "--warehouse", warehouse, *day]


def _items() -> pd.DataFrame:
    categories = [*(c for group in GROUPS.values() for c in group), "BREAD"]
    rows = [
        {"product": f"p{place * ITEMS_PER_CATEGORY + i:03d}", "category": category, "title": f"{category.title()} number {i}"}
        for place, category in enumerate(categories)
        for i in range(ITEMS_PER_CATEGORY)
    ]
    return pd.DataFrame([*rows, {"product": "gift", "category": "GIFT CARDS", "title": "Gift card"}])


def _purchases(items: pd.DataFrame, first: date, last: date, seed: int, users_per_group: int) -> pd.DataFrame:
    """Every user comes about every fifth day and mostly touches the categories of the group, some items more than others."""
    random = np.random.default_rng(seed)
    by_category = {category: list(products) for category, products in items.groupby("category")["product"]}
    rows = []
    for group_place, categories in enumerate(GROUPS.values()):
        for user in range(users_per_group):
            taste = random.dirichlet([1.5] * len(categories))
            for day in range((last - first).days):
                if random.random() > 0.2:
                    continue
                for _ in range(random.integers(1, 4)):
                    draw = random.random()
                    category = (
                        random.choice(categories, p=taste)
                        if draw < 0.7
                        else "BREAD"
                        if draw < 0.9
                        else random.choice(list(by_category)[:-1])
                    )
                    if category == "GIFT CARDS":
                        continue
                    product = by_category[category][min(random.geometric(0.4), ITEMS_PER_CATEGORY) - 1]
                    # Noon in Berlin, so that no event crosses midnight on its way to UTC.
                    at = datetime.combine(first + timedelta(days=day), datetime.min.time()) + timedelta(
                        hours=12, seconds=int(random.integers(3600))
                    )
                    rows.append(
                        {
                            "visitor": f"{group_place * users_per_group + user}.0",
                            "product": product,
                            "at": at.strftime("%Y-%m-%d %H:%M:%S"),
                            "action": "purchase" if random.random() < 0.6 else "view",
                            "price": f"{random.integers(100, 3000) / 100:.2f}",
                            "note": None,
                        }
                    )
    return pd.DataFrame(rows).drop_duplicates()
