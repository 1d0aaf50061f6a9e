"""Every message of the page in every language, and numbers and days as people there write them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.frontend import CommandLineInterface
from babel.messages.pofile import read_po

from interest_tiers.report.language import LANGUAGES, Language, read_catalogue
from interest_tiers.report.page import render
from interest_tiers.report.reason_texts import translate_reason
from interest_tiers.stages.registry import find_stage
from tests.report.test_page import CONTENT, text_of

REPOSITORY = Path(__file__).parents[2]
OTHERS = LANGUAGES[1:]
PLACEHOLDER = re.compile(r"%\((\w+)\)s|\{(\w+)\}")
ZH = Language("zh")


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The messages in the code, as `make messages` extracts them."""
    file = tmp_path_factory.mktemp("messages") / "report.pot"
    command = ["extract", "--mapping", str(REPOSITORY / "pyproject.toml"), "--output", str(file)]
    CommandLineInterface().run(["pybabel", "--quiet", *command, str(REPOSITORY / "lib" / "interest_tiers" / "report")])
    with file.open("rb") as source:
        return read_po(source)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    story = CONTENT.stories[0]
    items = (*story.recommendations, replace(story.recommendations[0], reason="TEA, a core interest"))
    content = replace(CONTENT, stories=(replace(story, recommendations=items),))
    return {code: render(content, Language(code)) for code in LANGUAGES}


def catalogue_of(code: str) -> Catalog:
    with files("interest_tiers.report").joinpath("locale", code, "LC_MESSAGES", "report.po").open("rb") as source:
        return read_po(source, locale=code)


@pytest.mark.parametrize("code", OTHERS)
def test_every_message_of_the_code_is_translated_and_no_other(extracted: Catalog, code: str) -> None:
    catalogue = catalogue_of(code)
    ids = {message.id for message in extracted if message.id}
    assert len(ids) > 300
    assert {message.id for message in catalogue if message.id} == ids
    for message in catalogue:
        if message.id:
            texts = message.string if isinstance(message.string, tuple) else (message.string,)
            assert all(texts) and not message.fuzzy, message.id


@pytest.mark.parametrize("code", OTHERS)
def test_translations_have_the_values_and_the_marks_of_their_message(code: str) -> None:
    for message in filter(lambda message: message.id, catalogue_of(code)):
        wanted = message.id if isinstance(message.id, str) else message.id[-1]
        for text in message.string if isinstance(message.string, tuple) else (message.string,):
            for pattern in (PLACEHOLDER, re.compile(r"<[^>]+>"), re.compile("%%")):
                assert set(pattern.findall(text)) == set(pattern.findall(wanted)), message.id


def test_the_chinese_page_holds_no_english_message(pages: dict[str, str]) -> None:
    """Names of interests, runs and sources are data and stay as they are."""
    page = pages["zh"]
    assert '<html lang="zh-Hans">' in page and '<html lang="en">' in pages["en"]
    shown = text_of(page) + " ".join(re.findall(r'(?:alt|aria-label|placeholder|data-text)="([^"]*)"', page))
    for message in catalogue_of("zh"):
        for text in [message.id] if isinstance(message.id, str) else message.id:
            longest = max(PLACEHOLDER.split(re.sub(r"<[^>]+>.*?</[^>]+>", "%(x)s", text)), key=lambda part: len(part or "")) or ""
            if len(longest.split()) >= 3:
                assert longest.strip().replace("%%", "%") not in shown, text


def test_the_chinese_page_is_the_english_one_in_other_words(pages: dict[str, str]) -> None:
    tags = re.compile(r"<(/?\w+)")
    assert tags.findall(pages["zh"]) == tags.findall(pages["en"])
    assert "TEA\uff1a核心兴趣" in pages["zh"] and "TEA, a core interest" in pages["en"]


def test_numbers_and_days() -> None:
    english, day = Language(), date(2018, 1, 2)
    assert (english.day(day), ZH.day(day)) == ("2018-01-02", "2018年1月2日")
    assert (english.percent(0.1219), ZH.percent(0.1219), ZH.percent(None)) == ("12.2\N{NO-BREAK SPACE}%", "12.2%", "–")
    assert (english.number(1234567), ZH.number(1234567)) == ("1,234,567", "1,234,567")
    assert [Language(code).measure(days, "days") for code in LANGUAGES for days in (1, 7)] == [
        "1\N{NO-BREAK SPACE}day", "7\N{NO-BREAK SPACE}days", "1 天", "7 天",
    ]  # fmt: skip
    assert english.ngettext("%(n)s user", "%(n)s users", 1) == "1 user"
    assert english.ngettext("%(n)s user", "%(n)s users", 1500) == "1,500 users"


def test_names_that_no_catalogue_has_stay() -> None:
    assert ZH.translate("a model of another version") == "a model of another version"
    assert ZH.translate("") == "" and ZH.translate(None) == "", "the header of a catalogue is its empty message"
    assert (ZH.name_metric("Recall@10"), ZH.name_cases("level: department")) == ("召回率@10", "级别: department")


def test_reasons_are_translated_part_by_part() -> None:
    reason = "yours on 32 days, last 1 day ago, usually every 3 days; 5 % of the cluster Tea; oil had it; WATER, a core interest"
    assert translate_reason(reason, Language()) == reason
    assert (
        translate_reason("yours on 1 day, last 2 days ago; TEA, a new interest", ZH)
        == "您用过 1 天\uff0c最近一次在 2 天前\uff1bTEA\uff1a新兴趣"
    )
    assert translate_reason("users of your 50 % RYE had it too; new to 9 users in 28 days", ZH) == (
        "使用您的 50 % RYE 的用户也用过\uff1b28 天内新获 9 位用户"
    )
    assert translate_reason("a reason of another version", ZH) == "a reason of another version"
    assert "您用过 32 天" in translate_reason(reason, ZH)


def test_the_command_offers_these_languages() -> None:
    option = next(option for option in find_stage("report").options if option.name == "language")
    assert (option.choices, option.default) == (LANGUAGES, LANGUAGES[0])
    assert read_catalogue("en").gettext("Tiers") == "Tiers"
