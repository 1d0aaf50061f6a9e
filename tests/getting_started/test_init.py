"""init writes a config that loads, with the right guesses, for made-up data of each kind."""

from __future__ import annotations

import gzip
import json
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from interest_tiers.config import Config, load_config
from interest_tiers.getting_started.words import split_name
from interest_tiers.stages.command_line import main
from interest_tiers.storage.schemas import INTERACTIONS, INTERACTIONS_QUARANTINE, ITEMS
from interest_tiers.storage.warehouse import Warehouse

N = 400
START = datetime(2023, 1, 1, 9, 30, 15)


def at(place: int) -> datetime:
    return START + timedelta(hours=31 * place)


def write_csv(path: Path, header: str | None, rows: list[str], encoding: str = "utf-8") -> Path:
    path.write_text("\n".join([*([] if header is None else [header]), *rows]) + "\n", encoding=encoding)
    return path


def init(folder: Path, *files: Path) -> Config:
    """Run init; returns the config that it wrote."""
    target = folder / "first.yaml"
    assert main(["init", *map(str, files), "--output", str(target), "--name", "made_up", "--force"]) == 0
    return load_config(target)


def test_a_shop_with_semicolons_and_german_days(tmp_path: Path) -> None:
    rows = [f"K{n % 40};Käse {n % 25};A{n % 25};{at(n):%d.%m.%Y %H:%M};{n % 5 + 1};2,50" for n in range(N)]
    file = write_csv(tmp_path / "bestellungen.csv", "Customer No;Description;Article No;Order Date;Quantity;Unit Price", rows, "cp1252")
    config = init(tmp_path, file)
    (source,) = config.interactions
    assert source.options == {"sep": ";", "encoding": "windows-1252"}
    assert (source.columns.user_id, source.columns.item_id) == ("Customer No", "Article No")
    assert (source.columns.occurred_at.column, source.columns.occurred_at.format) == ("Order Date", ["d.M.yyyy H:mm"])
    assert source.columns.behaviour.literal == "purchase"
    assert config.items.columns.text == ["Description"]
    assert (config.interests.source, config.interests.topics) == ("topic", 2), "25 items have few topics"
    assert (config.quality.min_rows, config.quality.min_users) == (200, 20)


def test_hashtags_of_posts_are_interests(tmp_path: Path) -> None:
    rows = [
        f"@u{n % 40},p{n % 25},like,{at(n):%Y-%m-%d %H:%M:%S},A post {n % 25} to read,#{'run' if n % 25 % 2 else 'cook'}" for n in range(N)
    ]
    config = init(tmp_path, write_csv(tmp_path / "likes.csv", "userHandle,postId,action,createdAt,postText,hashtag", rows))
    assert (config.items.columns.category, config.interests.source) == ("hashtag", "category")


def test_ratings_of_films_with_genres(tmp_path: Path) -> None:
    rows = [f"{n % 40},{n % 50},{n % 9 / 2 + 1},{int(at(n).timestamp())}" for n in range(N)]
    ratings = write_csv(tmp_path / "ratings.csv", "userId,movieId,rating,timestamp", rows)
    genres = ["Comedy|Drama", "Drama|Crime", "Action|Comedy"]
    movies = write_csv(tmp_path / "movies.csv", "movieId,title,genres", [f"{n},Film number {n},{genres[n % 3]}" for n in range(50)])
    config = init(tmp_path, movies, ratings)
    (source,) = config.interactions
    assert (source.path, source.columns.value, source.columns.behaviour.literal) == ("{data}/ratings.csv", "rating", "rating")
    assert source.columns.occurred_at.unit == "s"
    scale = config.weights["rating"].value
    assert scale is not None and (scale.low, scale.high) == (1, 5)
    assert (config.items.path, config.items.columns.item_id, config.items.columns.text) == ("{data}/movies.csv", "movieId", ["title"])
    assert config.items.columns.category.sql == "split(`genres`, '[|]')[0]"  # type: ignore[union-attr]


def test_named_behaviours_have_weights_by_their_words(tmp_path: Path) -> None:
    kinds = ["view", "view", "add_to_cart", "purchase", "refund", "wave"]
    events = [
        {"visitor_id": f"v{n % 30}", "sku": f"s{n % 20}", "event_type": kinds[n % 6], "ts": int(at(n).timestamp() * 1000)} for n in range(N)
    ]
    path = tmp_path / "events.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write("\n".join(map(json.dumps, events)))
    items = pa.table({"id": [f"s{n}" for n in range(20)], "name": [f"Thing {n}" for n in range(20)], "department": ["A", "B"] * 10})
    pq.write_table(items, tmp_path / "catalogue.parquet")
    users = pa.table({"id": [f"v{n}" for n in range(30)], "town": ["Ulm", "Bonn", "Kiel"] * 10})
    pq.write_table(users, tmp_path / "people.parquet")
    config = init(tmp_path, tmp_path)
    (source,) = config.interactions
    assert (source.columns.user_id, source.columns.item_id, source.columns.behaviour.column) == ("visitor_id", "sku", "event_type")
    assert source.columns.occurred_at.unit == "ms"
    assert {name: weight.weight for name, weight in config.weights.items()} == {
        "view": 1.0, "add_to_cart": 3.0, "purchase": 5.0, "refund": -5.0, "wave": 1.0,
    }  # fmt: skip
    assert (config.items.columns.item_id, config.items.columns.category) == ("id", "department")
    assert config.users is not None and (config.users.path, config.users.columns.user_id) == ("{data}/people.parquet", "id")


def test_nested_lists_become_rows(tmp_path: Path) -> None:
    def review(n: int) -> dict[str, object]:
        return {"asin": f"a{n % 9}", "stars": n % 4 + 1, "when": at(n).isoformat(), "product": {"title": f"Title {n % 9}"}}

    lines = [{"user_id": f"u{n}", "history": [review(n + k) for k in range(4)]} for n in range(60)]
    for part in ("train", "test"):
        (tmp_path / f"{part}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    config = init(tmp_path, tmp_path / "train.jsonl", tmp_path / "test.jsonl")
    (source,) = config.interactions
    assert (source.path, source.explode, source.columns.item_id) == ("{data}/*.jsonl", "history", "history.asin")
    assert (source.columns.occurred_at.column, source.columns.value) == ("history.when", "history.stars")
    assert config.items.columns.text == ["history.product.title"]


def test_parquet_times_and_a_day_apart_from_its_time(tmp_path: Path) -> None:
    table = pa.table(
        {
            "household_id": [str(n % 30) for n in range(N)],
            "product_id": [n % 20 for n in range(N)],
            "category": [f"C{n % 20 % 5}" for n in range(N)],
            "bought_at": [at(n) for n in range(N)],
        }
    )
    pq.write_table(table, tmp_path / "sales.parquet")
    config = init(tmp_path, tmp_path / "sales.parquet")
    assert config.interactions[0].columns.occurred_at.column == "bought_at" and config.items.columns.category == "category"
    rows = [f"u{n % 30},p{n % 20},{at(n):%d/%m/%Y},{at(n):%H:%M:%S}" for n in range(N)]
    config = init(tmp_path, write_csv(tmp_path / "log.csv", "user,page,Date,Time", rows))
    time = config.interactions[0].columns.occurred_at
    assert (time.sql, time.format) == ("concat(`Date`, ' ', `Time`)", ["d/M/yyyy H:mm:ss"])


def test_files_named_by_behaviours_are_sources_of_their_own(tmp_path: Path) -> None:
    rows = [f"u{n % 30},p{n % 20},{at(n).isoformat()}" for n in range(N)]
    for name in ("user_likes", "user_shares"):
        write_csv(tmp_path / f"{name}.csv", "user_id,post_id,time", rows)
    config = init(tmp_path, tmp_path)
    found = {source.name: source.columns.behaviour.literal for source in config.interactions}
    assert found == {"user_likes": "like", "user_shares": "share"}
    assert {name: weight.weight for name, weight in config.weights.items()} == {"like": 2.0, "share": 3.0}


def test_times_in_two_forms_in_no_form_and_in_a_few_rows(tmp_path: Path) -> None:
    config = init(tmp_path, write_csv(tmp_path / "a.csv", "user,item,at", ["u1,a,2017-10-09T12:00:00Z", "u2,a,09.10.2017 12:00"]))
    time = config.interactions[0].columns.occurred_at
    assert (config.interactions[0].columns.item_id, time.column, time.format) == ("item", "at", ["iso", "d.M.yyyy H:mm"])
    config = init(tmp_path, write_csv(tmp_path / "b.csv", "user,item,day", ["u1,a,41640.5", "u2,b,41641.5"]))
    assert config.interactions[0].columns.occurred_at.format == ["CHANGE_ME"], "and not a day for all"
    config = init(tmp_path, write_csv(tmp_path / "c.csv", "user,item,Action,Drama", ["u1,a,1,0", "u2,b,0,1"]))
    assert config.interactions[0].columns.behaviour.literal == "event", "flags are no behaviours"
    assert config.interactions[0].columns.occurred_at.literal == date(2015, 1, 1)


def test_files_without_header_and_names_without_meaning_ask_for_a_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_csv(tmp_path / "log.tsv", None, [f"{n % 30}\t{n % 20}\t{int(at(n).timestamp())}" for n in range(N)])
    config = init(tmp_path, file)
    assert config.interactions[0].options == {"header": "false"}
    assert config.interactions[0].columns.user_id == "CHANGE_ME"
    assert config.quality.min_users == 100, "the default, as users are not known"
    assert "user_id: CHANGE_ME; item_id: CHANGE_ME" in capsys.readouterr().out
    assert "columns: _c0, _c1, _c2" in (tmp_path / "first.yaml").read_text(encoding="utf-8")


def test_missing_users_raise_the_limit_of_the_gate(tmp_path: Path) -> None:
    rows = [f"{'' if n % 3 == 0 else n % 30},p{n % 20},{at(n):%Y-%m-%d %H:%M:%S},CAT {n % 4}" for n in range(N)]
    config = init(tmp_path, write_csv(tmp_path / "clicks.csv", "user_id,item_id,time,category", rows))
    assert config.quality.max_quarantine_rate == 0.45
    assert (config.interactions[0].columns.behaviour.literal, config.interactions[0].columns.occurred_at.format) == ("click", None)


def test_quantities_below_zero_are_returns(tmp_path: Path) -> None:
    rows = [f"c{n % 40},s{n % 25},Thing {n % 25},{-1 if n % 50 == 0 else n % 5 + 1},{at(n):%Y-%m-%d},2.5" for n in range(N)]
    config = init(tmp_path, write_csv(tmp_path / "invoices.csv", "customer_id,sku,title,quantity,day,unit_price", rows))
    (source,) = config.interactions
    assert source.columns.behaviour.sql == "IF(CAST(`quantity` AS DOUBLE) < 0, 'return', 'purchase')"
    assert {name: weight.weight for name, weight in config.weights.items()} == {"purchase": 1.0, "return": -1.0}
    rows = [row.replace(",-1,", ",1,") for row in rows]
    config = init(tmp_path, write_csv(tmp_path / "invoices.csv", "customer_id,sku,title,quantity,day,unit_price", rows))
    assert config.interactions[0].columns.behaviour.literal == "purchase"


def test_a_session_of_a_user_is_not_the_user(tmp_path: Path) -> None:
    rows = [f"s{n % 90},w{n % 40},p{n % 25},{at(n).isoformat()},C{n % 5}" for n in range(N)]
    config = init(tmp_path, write_csv(tmp_path / "visits.csv", "visitorSessionId,writerUserId,itemId,time,category", rows))
    assert config.interactions[0].columns.user_id == "writerUserId"
    rows = [f"s{n % 90},p{n % 25},{at(n).isoformat()},C{n % 5}" for n in range(N)]
    config = init(tmp_path, write_csv(tmp_path / "visits.csv", "sessionId,itemId,time,category", rows))
    assert config.interactions[0].columns.user_id == "sessionId", "where nothing else is a user"
    rows = [f"{row},u{n % 40}@example.org,d{n % 60}" for n, row in enumerate(rows)]
    config = init(tmp_path, write_csv(tmp_path / "visits.csv", "sessionId,itemId,time,category,Customer Email,distinct_id", rows))
    assert config.interactions[0].columns.user_id == "Customer Email", "which names a user"


@pytest.mark.parametrize("same_people", [True, False])
def test_items_that_users_made_are_events_too(tmp_path: Path, same_people: bool) -> None:
    maker = "u" if same_people else "maker"
    posts = [f"p{n},{maker}{n % 30},{at(n).isoformat()},Title of post {n},Long text {n},{'AB'[n % 2]}" for n in range(60)]
    write_csv(tmp_path / "posts.csv", "post_id,author_id,created,title,text,topic", posts)
    replies = [f"u{n % 40},p{n % 60},{at(n).isoformat()},I say {n} things" for n in range(N)]
    write_csv(tmp_path / "comments.csv", "author_id,post_id,created,body", replies)
    config = init(tmp_path, tmp_path)
    found = {source.path: (source.columns.behaviour.literal, source.columns.text) for source in config.interactions}
    expected = {"{data}/comments.csv": ("comment", "body")} | ({"{data}/posts.csv": ("post", None)} if same_people else {})
    assert found == expected, "the text of a post is the item's"
    assert (config.items.path, config.items.columns.text, config.items.columns.category) == ("{data}/posts.csv", ["title", "text"], "topic")
    note = "posts.csv has a user (author_id) and a time (created) too"
    assert (note in (tmp_path / "first.yaml").read_text(encoding="utf-8")) is not same_people


def test_behaviours_and_counts_of_events_describe_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"u{n % 40},p{n % 200},{('view', 'like')[n % 200 % 2]},{n % 9},{at(n).isoformat()}" for n in range(N)]
    config = init(tmp_path, write_csv(tmp_path / "log.csv", "user_id,item_id,event_type,total_events,time", rows))
    assert (config.items.columns.text, config.items.columns.category) == ([], "CHANGE_ME")
    assert config.interactions[0].columns.value is None
    assert "write yours: category: CHANGE_ME" in capsys.readouterr().out
    assert "nothing describes the items: give init their file too" in (tmp_path / "first.yaml").read_text(encoding="utf-8")


def test_an_event_next_to_the_list_of_events_is_noted(tmp_path: Path) -> None:
    def event(n: int) -> dict[str, object]:
        return {"item_id": f"a{n % 9}", "time": at(n).isoformat(), "category": f"C{n % 3}"}

    lines = [{"user_id": f"u{n}", "history": [event(n + k) for k in range(4)], "last": event(n)} for n in range(60)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert init(tmp_path, tmp_path / "log.jsonl").interactions[0].columns.item_id == "history.item_id"
    assert "# last has an item and a time too" in (tmp_path / "first.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "written", "name"),
    [
        (["events.csv"], "events.yaml", "events"),
        (["shop/events.csv"], "shop.yaml", "shop"),
        (["shop"], "shop.yaml", "shop"),
        (["data/events.csv"], "events.yaml", "events"),
        (["shop/events.csv", "--output", "mine.yaml"], "mine.yaml", "mine"),
        (["shop/events.csv", "--output", "mine.yaml", "--name", "other"], "mine.yaml", "other"),
    ],
)
def test_a_data_set_has_the_name_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], written: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (".", "shop", "data"):
        Path(folder).mkdir(exist_ok=True)
        write_csv(Path(folder) / "events.csv", "user,item,time,category", ["a,b,2024-01-01,C", "b,c,2024-01-02,D"])
    assert main(["init", *arguments]) == 0
    assert load_config(tmp_path / written).name == name
    out = capsys.readouterr().out
    for command in ("plan", "run "):
        assert f"interest-tiers {command} --config {written} --warehouse build/{name}" in out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("events.json", '[{"a": 1}]', "one object per line. Convert it: jq -c '.[]' events.json > events.jsonl"),
        ("events.xlsx", "x", "a workbook, which Spark cannot read; save its sheet as CSV"),
        ("events.csv", "user,item\n", "no file has a row"),
        ("events.jsonl", "not json\n", "has no line that is a JSON object"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert main(["init", str(tmp_path / name), "--output", str(tmp_path / "x.yaml")]) == 2
    assert message in capsys.readouterr().err


def test_a_config_that_exists_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_csv(tmp_path / "e.csv", "user,item,time", ["a,b,2024-01-01"])
    (tmp_path / "x.yaml").write_text("mine", encoding="utf-8")
    assert main(["init", str(file), "--output", str(tmp_path / "x.yaml")]) == 2
    assert (tmp_path / "x.yaml").read_text(encoding="utf-8") == "mine"
    assert main(["init", str(tmp_path / "nowhere.csv")]) == 2
    assert "nowhere.csv does not exist" in capsys.readouterr().err
    (tmp_path / "all" / "shop").mkdir(parents=True)
    assert main(["init", str(tmp_path / "all")]) == 2
    assert "Folders within are not searched; give one of shop" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CustomerID", ("customer", "id")),
        ("customerid", ("customer", "id")),
        ("household_id", ("household", "id")),
        ("eventType", ("event", "type")),
        ("Unit Price", ("unit", "price")),
        ("UTCDate", ("utc", "date")),
        ("valid", ("valid",)),
    ],
)
def test_names_are_split_into_words(name: str, words: tuple[str, ...]) -> None:
    assert split_name(name) == words


def test_clean_takes_the_config_as_it_is(spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f'K{n % 40};"Käse; Sorte {n % 25}";A{n % 25};{at(n):%d.%m.%Y %H:%M}' for n in range(N)]
    file = write_csv(tmp_path / "orders.csv", "Customer No;Description;Article No;Order Date", rows, "cp1252")
    init(tmp_path, file)
    warehouse = str(tmp_path / "warehouse")
    capsys.readouterr()
    assert main(["clean", "--config", str(tmp_path / "first.yaml"), "--warehouse", warehouse, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["stages"]["clean"]["rows_in"], done["stages"]["clean"]["rows_out"], done["warehouse"]) == (N, N, warehouse)
    tables = Warehouse(spark, warehouse)
    assert tables.read(INTERACTIONS).count() == N
    assert tables.read(INTERACTIONS_QUARANTINE).count() == 0
    assert tables.read(INTERACTIONS).selectExpr("min(event_date)").first()[0] == date(2023, 1, 1)  # type: ignore[index]
    assert {row["text"] for row in tables.read(ITEMS).collect()} == {f"Käse; Sorte {n}" for n in range(25)}
