"""What is wrong ends with one readable message and the right exit code."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pyspark.sql import SparkSession

from interest_tiers.storage.schemas import (
    CLUSTERS,
    DATA_QUALITY,
    INTERACTIONS,
    INTERACTIONS_QUARANTINE,
    RECOMMENDATIONS,
    RUNS,
    USER_CLUSTERS,
)
from interest_tiers.storage.warehouse import Warehouse
from tests.jobs.shop import Shop, command_of, make_shop, run_command, shop_config, submit


@pytest.fixture
def small_shop(tmp_path: Path) -> Shop:
    return make_shop(tmp_path / "shop")


def config_with(folder: Path, **changes: object) -> Path:
    """The shop's config with some keys changed, a.b written a__b."""
    tree = shop_config(folder)
    for key, value in changes.items():
        *parents, leaf = key.split("__")
        node = tree
        for parent in parents:
            node = node[parent]  # type: ignore[assignment]
        node[leaf] = value
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def message_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The one message that a person reads; no traceback."""
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert printed.count("error: ") == 1
    return printed[printed.index("error: ") :]


@pytest.mark.parametrize(
    ("changes", "exit_code", "pieces"),
    [
        ({"interactions__path": "{shop}/evnts.csv"}, 2, ["evnts.csv", "no such file"]),
        ({"interactions__path": "{shp}/events.csv"}, 2, ["no data location 'shp'", "known: completejourney, shop"]),
        ({"interactions__columns__user_id": "visitr"}, 2, ["interactions.columns.user_id is 'visitr'", "did you mean visitor", "product"]),
        ({"items__columns__category": "categry"}, 2, ["items.columns.category is 'categry'", "did you mean category"]),
        ({"interactions__keep": ["price > > 3"]}, 2, ["interactions.keep[0] is 'price > > 3'"]),
        ({"interactions__keeep": []}, 2, ["unknown key interactions.keeep", "did you mean keep"]),
        ({"tiers__core_mass": 1.5}, 2, ["tiers.core_mass is 1.5"]),
        ({"behaviours": {"wishlist": 1.0}}, 3, ["quality gate", "behaviour: not configured", "'purchase'", "'view'"]),
        ({"quality__min_users": 1000}, 3, ["75 users are left; quality.min_users is 1,000"]),
        ({"embedding": {"model": "no-such-model"}}, 2, ["embedding.model is 'no-such-model'"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_one_message_and_an_exit_code(
    spark: SparkSession,
    small_shop: Shop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    exit_code: int,
    pieces: list[str],
) -> None:
    config = config_with(small_shop.config.parent, **changes)
    part = ["--config", str(config), "--warehouse", str(tmp_path / "warehouse"), "--to", "embed"]
    assert run_command("pipeline", part) == exit_code
    message = message_of(capsys)
    for piece in pieces:
        assert piece in message


def test_a_refused_source_leaves_only_what_was_found_and_the_run_record(spark: SparkSession, small_shop: Shop, tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse"
    assert run_command("clean", [*command_of(small_shop, str(warehouse)), "--set", "behaviours={wishlist: 1.0}"]) == 3
    assert sorted(path.name for path in warehouse.iterdir() if not path.name.startswith("_")) == [
        "data_quality",
        "interactions_quarantine",
        "runs",
    ]
    run = Warehouse(spark, str(warehouse)).read(RUNS).first()
    assert run is not None
    assert (run["stage"], run["status"]) == ("clean", "refused")
    assert "quality gate" in run["message"]


def test_an_empty_source_is_refused(spark: SparkSession, small_shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = small_shop.config.parent / "events.csv"
    events.write_text(events.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    assert run_command("clean", command_of(small_shop, str(tmp_path / "warehouse"))) == 3
    assert "the source has no rows" in message_of(capsys)


def test_a_source_that_is_cut_short_is_told(
    spark: SparkSession, small_shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = (small_shop.config.parent / "events.csv").read_text(encoding="utf-8").splitlines()[0]
    rows = "\n".join(f"u{n * 7919 % 100_003},p{n * 104_729 % 1_009},2024-02-01 10:00:00,view,{n},{n * n}" for n in range(100_000))
    whole = gzip.compress(f"{header}\n{rows}\n".encode())
    (tmp_path / "events.csv.gz").write_bytes(whole[: len(whole) // 2])
    path = f"interactions.path={tmp_path}/events.csv.gz"
    assert run_command("clean", [*command_of(small_shop, str(tmp_path / "warehouse")), "--set", path]) == 2
    told = message_of(capsys)
    for piece in (f"{tmp_path}/events.csv.gz: cannot be read as csv", "a packed file is cut short or damaged"):
        assert piece in told


def test_a_source_in_another_encoding_is_told(
    spark: SparkSession, small_shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what was counted stays, so that one can look."""
    events = small_shop.config.parent / "events.csv"
    header, *lines = events.read_text(encoding="utf-8").splitlines()
    events.write_bytes("\n".join([header, *(f"ä{line}" for line in lines)]).encode("iso-8859-1"))
    assert run_command("clean", command_of(small_shop, str(tmp_path / "warehouse"))) == 2
    assert "(user_id " in (told := message_of(capsys))
    assert "Set options.encoding of the source" in told
    measured = Warehouse(spark, str(tmp_path / "warehouse")).read(DATA_QUALITY).where("measure = 'undecodable_rate' AND NOT passed")
    assert [row["source"] for row in measured.collect()] == ["interactions"]


def test_a_file_without_a_header_is_told(spark: SparkSession, small_shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small_shop.config.parent / "events.csv").write_text("", encoding="utf-8")
    assert run_command("clean", command_of(small_shop, str(tmp_path / "warehouse"))) == 2
    assert "no header" in message_of(capsys)


def test_a_warehouse_that_is_not_delta_is_left_alone(
    spark: SparkSession, small_shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "warehouse" / INTERACTIONS.name
    folder.mkdir(parents=True)
    pd.DataFrame({"a": [1]}).to_parquet(folder / "part.parquet")
    assert run_command("clean", command_of(small_shop, str(tmp_path / "warehouse"))) == 2
    assert "not a Delta table" in message_of(capsys)
    assert [path.name for path in folder.iterdir()] == ["part.parquet"]
    assert [path.name for path in folder.parent.iterdir()] == [INTERACTIONS.name]


def test_a_folder_of_other_things_is_left_alone(
    spark: SparkSession, small_shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters.txt").write_text("dear", encoding="utf-8")
    assert run_command("clean", command_of(small_shop, str(tmp_path / "home"))) == 2
    message = message_of(capsys)
    assert "not a warehouse" in message
    assert "letters.txt" in message
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letters.txt"]


def test_a_config_may_lie_in_the_folder_of_a_new_warehouse(spark: SparkSession, small_shop: Shop, tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse"
    warehouse.mkdir()
    (warehouse / "shop.yaml").write_text(small_shop.config.read_text(encoding="utf-8"), encoding="utf-8")
    assert run_command("clean", ["--config", str(warehouse / "shop.yaml"), "--warehouse", str(warehouse)]) == 0


def test_a_warehouse_that_is_a_file_is_told(
    spark: SparkSession, small_shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "warehouse").write_text("not a folder", encoding="utf-8")
    assert run_command("clean", command_of(small_shop, str(tmp_path / "warehouse"))) == 2
    assert "is a file. Give a folder" in message_of(capsys)


def test_a_stage_without_its_input_names_the_first_stage_to_run(
    spark: SparkSession, small_shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("recommend", command_of(small_shop, str(tmp_path / "warehouse"))) == 2
    assert "has no table interactions: run the stage clean first" in message_of(capsys)


def test_an_order_that_cannot_be_is_told(spark: SparkSession, small_shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("pipeline", [*command_of(small_shop, str(tmp_path / "w")), "--from", "report", "--to", "clean"]) == 2
    assert "clean comes before report" in message_of(capsys)


def test_the_console_script_knows_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("clena", []) == 2
    assert "No such command 'clena'. Did you mean 'clean'?" in capsys.readouterr().err
    assert run_command("--help", []) == 0
    assert "Predict core, secondary and marginal interests" in capsys.readouterr().out


def test_the_exit_code_reaches_the_shell(small_shop: Shop, tmp_path: Path) -> None:
    ended = submit("clean", *command_of(small_shop, str(tmp_path / "warehouse")), "--set", "quality.min_rows=1000000")
    assert ended.returncode == 3, ended.stderr[-3000:]
    printed = ended.stdout + ended.stderr  # spark-submit joins the two streams of a Python job
    assert "quality.min_rows is 1,000,000" in printed
    assert "Traceback" not in printed


def test_quarantine_of_a_refused_run_can_be_read(spark: SparkSession, small_shop: Shop, tmp_path: Path) -> None:
    warehouse = str(tmp_path / "warehouse")
    assert run_command("clean", [*command_of(small_shop, warehouse), "--set", "quality.min_rows=1000000"]) == 3
    assert Warehouse(spark, warehouse).read(INTERACTIONS_QUARANTINE).count() == small_shop.bad_rows


def test_users_who_are_all_alike_form_one_cluster_without_a_silhouette(spark: SparkSession, tmp_path: Path) -> None:
    """Two users who differ in nothing: tiers, one cluster and recommendations are written all the same."""
    shop = make_shop(tmp_path / "shop")
    days = pd.date_range("2024-03-01", "2024-07-10", freq="9D")
    rows = [
        {"visitor": user, "product": product, "at": f"{day:%Y-%m-%d} 12:00:00", "action": "purchase", "price": "1.5", "note": None}
        for user in ("1", "2")
        for day in days
        for product in ("p000", "p007")
    ]
    pd.DataFrame(rows).to_csv(shop.config.parent / "events.csv", index=False)
    warehouse = str(tmp_path / "warehouse")
    relaxed = ["--set", "quality={min_rows: 1, min_users: 1}", "--to", "recommend"]
    assert run_command("pipeline", [*command_of(shop, warehouse), *relaxed]) == 0
    tables = Warehouse(spark, warehouse)
    clusters = tables.read(CLUSTERS).collect()
    assert [(row["size"], row["silhouette"], row["name"]) for row in clusters] == [(2, None, "Garden tools · seeds & bulbs")]
    assert [(row["membership"], row["silhouette"]) for row in tables.read(USER_CLUSTERS).collect()] == [(1.0, None)] * 2
    assert tables.read(RECOMMENDATIONS).groupBy("user_id").count().count() == 2
