"""Look-ups of a user, of similar users, of clusters and of a history, on tables written without a JVM."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from interest_tiers.errors import WarehouseError
from interest_tiers.lookup.clusters import list_clusters, show_cluster
from interest_tiers.lookup.pages import print_cluster
from interest_tiers.lookup.users import find_similar, list_history, show_user
from interest_tiers.stages.command_line import main
from interest_tiers.storage.row_reader import FolderRows, RowReader
from tests.lookup.made_tables import FIRST, SECOND, write_tables


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tables(tmp_path_factory.mktemp("warehouse"))


@pytest.fixture
def rows(location: str) -> RowReader:
    return FolderRows(location)


def test_a_user_is_shown_as_of_the_newest_day(rows: RowReader) -> None:
    found = show_user(rows, "ann", None)
    assert (found["as_of"], found["attributes"], found["low_evidence"]) == (SECOND, {"age": "30", "town": "Ulm"}, False)
    assert [(row["name"], row["tier"], row["p_core"], row["recency_days"]) for row in found["tiers"]] == [
        ("TEA", "core", 0.9, 2),
        ("JAM", "marginal", 0.1, None),
    ]
    assert [(row["cluster_id"], row["name"], row["membership"], row["is_primary"]) for row in found["clusters"]] == [
        ("c01", "TEA", 0.75, True),
        ("c02", "JAM · BREAD", 0.25, False),
    ]
    assert [(row["rank"], row["item_id"], row["text"]) for row in found["recommendations"]] == [(1, "i1", "green tea"), (2, "i2", None)]


def test_an_earlier_day_is_shown_on_request(rows: RowReader) -> None:
    assert [(row["name"], row["tier"]) for row in show_user(rows, "ann", FIRST)["tiers"]] == [("JAM", "core"), ("TEA", "secondary")]


def test_ids_may_hold_quotes(rows: RowReader) -> None:
    found = show_user(rows, "e've", None)
    assert (found["user_id"], found["low_evidence"], [row["name"] for row in found["tiers"]]) == ("e've", True, ["JAM"])
    with pytest.raises(WarehouseError, match="has no user"):
        show_user(rows, "' OR '1' = '1", None)


def test_a_user_without_events_is_known(rows: RowReader) -> None:
    found = show_user(rows, "new", None)
    assert (found["tiers"], found["clusters"], found["recommendations"]) == ([], [], [])


def test_similar_users_have_the_cosine_of_their_vectors(rows: RowReader) -> None:
    found = find_similar(rows, "ann", None, limit=5)
    assert [(row["user_id"], row["cosine"], row["cluster"], row["shared_core"]) for row in found["similar"]] == [
        ("bob", pytest.approx(0.6, abs=1e-4), "TEA", ["TEA"]),
        ("e've", pytest.approx(-1, abs=1e-4), "JAM · BREAD", []),
    ]
    assert [row["user_id"] for row in find_similar(rows, "ann", None, limit=1)["similar"]] == ["bob"]


@pytest.mark.parametrize("name", ["c02", "JAM · BREAD", "bread"])
def test_a_cluster_is_found_by_its_id_or_a_part_of_its_name(rows: RowReader, name: str) -> None:
    found = show_cluster(rows, name, None, limit=10)
    assert (found["cluster_id"], found["size"], [row["user_id"] for row in found["nearest_users"]]) == ("c02", 1, ["e've"])


def test_users_of_a_cluster_come_nearest_first(rows: RowReader) -> None:
    assert [row["user_id"] for row in show_cluster(rows, "c01", None, limit=10)["nearest_users"]] == ["bob", "ann"]
    assert [row["cluster_id"] for row in list_clusters(rows, None)["clusters"]] == ["c01", "c02"]


def test_a_cluster_is_described_for_people_and_for_machines(location: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "c01", "--warehouse", location]) == 0
    page = capsys.readouterr().out
    assert "2 users (+1 since the run before)" in page
    assert "most characteristic items\n  green tea\n" in page
    assert "  town Ulm                                 60%     40%" in page
    assert main(["cluster", "c01", "--warehouse", location, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["top_attributes"] == [{"name": "town", "value": "Ulm", "share": 0.6, "lift": 1.5}]
    assert (found["top_items"], found["nearest_users"][0]["user_id"]) == (["green tea"], "bob")


def test_whole_articles_are_cut_on_the_page(location: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_cluster({**show_cluster(FolderRows(location), "c01", None, limit=10), "top_items": ["word " * 5000]})
    line = capsys.readouterr().out.split("most characteristic items\n")[1].splitlines()[0]
    assert line == f"  {'word ' * 17}word…"


def test_an_id_may_begin_with_a_hyphen_and_unknown_options_are_refused(location: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "-7", "--warehouse", location]) == 2
    assert "has no user '-7'" in capsys.readouterr().err
    assert main(["show", "ann", "--warehouse", location, "--limt", "3"]) == 2
    assert "--limt" in capsys.readouterr().err


def test_a_name_of_no_cluster_or_of_several_lists_the_choices(rows: RowReader) -> None:
    with pytest.raises(WarehouseError, match=r"no cluster as of 2024-04-01 match 'sugar'\. Choose one: c01 TEA; c02 JAM"):
        show_cluster(rows, "sugar", None, limit=1)
    with pytest.raises(WarehouseError, match="several clusters"):
        show_cluster(rows, "a", None, limit=1)


def test_a_history_follows_tiers_and_cluster_over_the_days(rows: RowReader) -> None:
    found = list_history(rows, "ann", most_days=6)
    assert [(day["as_of"], day["cluster"], day["counts"]["core"]) for day in found["days"]] == [(FIRST, "JAM", 1), (SECOND, "TEA", 1)]
    assert {row["name"]: [tier["tier"] for tier in row["tiers"]] for row in found["interests"]} == {
        "TEA": ["secondary", "core"],
        "JAM": ["core", "marginal"],
    }
    assert [day["as_of"] for day in list_history(rows, "ann", most_days=1)["days"]] == [SECOND]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rows: show_user(rows, "nobody", None), "has no user 'nobody'"),
        (lambda rows: show_user(rows, "ann", date(2020, 1, 1)), "user_tiers has no rows for as_of 2020-01-01: run the stage assign_tiers"),
        (lambda rows: find_similar(rows, "new", None, 3), "has no vector of user 'new' as of 2024-04-01"),
        (lambda rows: list_history(rows, "new", 3), "has no tiers of user 'new'"),
        (lambda rows: show_user(FolderRows("/nowhere"), "ann", None), "/nowhere has no table user_tiers: run the stage assign_tiers first"),
    ],
)
def test_what_is_missing_is_named(rows: RowReader, call: Any, message: str) -> None:
    with pytest.raises(WarehouseError, match=message):
        call(rows)


def test_commands_print_lines_for_a_person(location: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "ann", "--warehouse", location]) == 0
    assert "core (1)                             share  days  last P(core)  P(secondary)  P(marginal)" in capsys.readouterr().out
    assert main(["history", "ann", "--warehouse", location]) == 0
    assert "TEA                                 secondary 0.30  core 0.90" in capsys.readouterr().out
    assert main(["similar", "ann", "--warehouse", location]) == 0
    assert "bob               0.600  c01      TEA" in capsys.readouterr().out
    assert main(["cluster", "--warehouse", location]) == 0
    assert capsys.readouterr().out.startswith("2 clusters, as of 2024-04-01")


@pytest.mark.parametrize("command", [["show", "ann"], ["similar", "ann"], ["cluster", "tea"], ["cluster"], ["history", "ann"]])
def test_every_lookup_prints_json(location: str, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert main([*command, "--warehouse", location, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_a_wrong_command_has_exit_code_2(location: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "nobody", "--warehouse", location]) == 2
    assert main(["show", "ann"]) == 2
    assert main(["show", "ann", "--warehouse", location, "--as-of", "yesterday"]) == 2
    errors = capsys.readouterr().err
    assert "has no user 'nobody'" in errors and "Missing option '--warehouse'" in errors
    assert "'yesterday' is not a day. Write YYYY-MM-DD" in errors


def test_a_lookup_loads_neither_spark_nor_torch(location: str) -> None:
    script = (
        "import sys; from interest_tiers.stages.command_line import main; "
        f"code = main(['show', 'ann', '--warehouse', {location!r}]); "
        "sys.exit(code or any(name in sys.modules for name in ('pyspark', 'torch', 'pandas', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=Path(location)).returncode == 0
