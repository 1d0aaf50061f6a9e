"""Texts: what normalise, text_hash and add_terms make of awkward ones."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from interest_tiers.config import LANGUAGES
from interest_tiers.text import (
    EMAIL_MASK,
    MISSING_TEXTS,
    STABLE_UNDER_NFKC,
    URL_MASK,
    USER_MASK,
    add_terms,
    compose,
    hash_text,
    load_stop_words,
    mask_example,
    normalise,
)

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"

TEXTS_AND_NORMAL_FORMS = [
    # white space, control characters, what is not seen
    (None, None),
    ("", None),
    ("   ", None),
    ("\u00a0", None),
    ("\u3000\u2003 \u0085\u2800\u3164", None),
    ("milk", "milk"),
    ("  fat  milk ", "fat milk"),
    ("fat\u2003\u00a0 milk", "fat milk"),
    ("two\r\nlines\tand\x00control", "two lines and control"),
    ("\ufeffmi\u00adl\u200bk\u200e \u202ealmond\u202c", "milk almond"),
    ("mi\u200dlk\u200d\u200c", "milk"),
    ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),  # Persian
    ("\u0915\u094d\u200d\u0937", "\u0915\u094d\u200d\u0937"),  # Devanagari
    ("\ufe0f \u0301", None),
    # NFKC
    ("Creme\u0301 bru\u0302le\u0301e", "Crem\u00e9 br\u00fbl\u00e9e"),
    ("\uff2d\uff29\uff2c\uff2b\uff11 \ufb01ne \u00bd x\u00b2 \u216b", "MILK1 fine 1\u20442 x2 XII"),
    ("\u5168\u8102\u3000\u725b\u4e73\uff0c\u5f88\u597d", "\u5168\u8102 \u725b\u4e73,\u5f88\u597d"),
    ("\uff76\uff9e\uff70\uff84\uff9e", "\u30ac\u30fc\u30c9"),
    ("e\u200b\u0301", "\u00e9"),
    # emoji
    ("br\u00fbl\u00e9e \U0001f36e\u2764\ufe0f", "br\u00fbl\u00e9e \U0001f36e\u2764\ufe0f"),
    (FAMILY + ENGLAND + "\U0001f44d\U0001f3fd 1\ufe0f\u20e3", FAMILY + ENGLAND + "\U0001f44d\U0001f3fd 1\ufe0f\u20e3"),
    ("\u2122\ufe0f \u2139\ufe0f \U0001f201 Acme\u2122", "\u2122\ufe0f \u2139\ufe0f \U0001f201 AcmeTM"),
    # entities, twice
    ("AT&amp;T", "AT&T"),
    ("AT&amp;amp;T", "AT&T"),
    ("AT&amp;amp;amp;T", "AT&amp;T"),
    ("Ben &amp; Jerry&#039;s", "Ben & Jerry's"),
    ("Ben & Jerry's R&D &c; &copy 2020 a&b;", "Ben & Jerry's R&D &c; &copy 2020 a&b;"),
    ("5 &lt; 6 &#x1F36E; caf&eacute;&nbsp;&frac12;", "5 < 6 \U0001f36e caf\u00e9 1\u20442"),
    ("&nbsp;&#8203;&#xD83D;", "\ufffd"),
    ("&nbsp;&#8203;", None),
    # tags
    ("one<br>two<BR/>three<p class='x'>four</p>", "one two three four"),
    ("<b>Free</b>-range <i>H<sub>2</sub>O</i>", "Free-range H2O"),
    ("&lt;div&gt;milk&lt;/div&gt;", "milk"),
    ("a < b and x<y and y>z, a<b and c>d, <3", "a < b and x<y and y>z, a<b and c>d, <3"),
    ("<a href='https://x.com/a'>here</a> <img src=x> <!-- not\nthis --> end", "here end"),
    ("a<script type='t'>if (1 < 2) {}</script>b<style>p {}</style >c", "a b c"),
    ("a <script>never closed", "a"),
    ("<p><br/></p>", None),
    ("<<b>b> <bl<i>ockquote> <i<b>>", "< b> <bl ockquote> >"),
    # masks
    ("see https://a.b/c?d=e&f=g#h. or (http://\u00e4.de/p), www.x.org!", "see [url]. or ([url]), [url]!"),
    ("\u770bhttps://t.cn/abc\u5f88\u597d youtu.be/x reddit.com/u/someone", "\u770b[url]\u5f88\u597d [url] [url]"),
    ("and/or 3.5/5 e.g./i.e. 1/2", "and/or 3.5/5 e.g./i.e. 1/2"),
    ("\u2139\ufe0f1\u0436a@b.co", "\u2139\ufe0f[email]"),
    ("write to Ann.Lee+x@mail.example.co.uk, user@host or jos\u00e9@b.com", "write to [email], [email] or [email]"),
    ("hi @ann_lee: @50cent @jo.ann. thanks @\u5f20\u4e09 \u4f60\u597d", "hi [user]: [user] [user]. thanks [user] \u4f60\u597d"),
    ("u/some_one said /u/other-1, but not you/me, menu/abc or S/U/L", "[user] said [user], but not you/me, menu/abc or S/U/L"),
    ("eggs 6@1.50 12@500ML @ 2.50 @5", "eggs 6@1.50 12@500ML @ 2.50 @5"),
    # missing
    *[(text, None) for text in MISSING_TEXTS],
    (" [Deleted] ", None),
    ("NaN", None),
    ("&#91;removed&#93;", None),
    ("none of these", "none of these"),
    ("[deleted] scene", "[deleted] scene"),
]  # fmt: skip


def transformed(spark: SparkSession, texts: Sequence[str | None], *steps: Column) -> list[tuple]:
    """What the columns are for each text (column ``text``), in the order of the texts."""
    rows = spark.createDataFrame(list(enumerate(texts)), "position int, text string")
    return [tuple(row) for row in rows.coalesce(1).orderBy("position").select(*steps).collect()]


def test_normal_forms(spark: SparkSession) -> None:
    texts = [text for text, _ in TEXTS_AND_NORMAL_FORMS]
    got = dict(zip(texts, transformed(spark, texts, normalise(F.col("text"))), strict=True))
    assert got == {text: (normal,) for text, normal in TEXTS_AND_NORMAL_FORMS}


def test_bytes_that_are_no_text_and_texts_that_would_take_for_ever(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(bytearray(b"caf\xe9 \xff<b>x</b>"),)], "text binary")
    assert rows.select(normalise(F.col("text").cast("string"))).first()[0] == "caf\ufffd \ufffdx"
    floods = [
        "<i",
        "<!--",
        "<script",
        "<script>",
        "a",
        "a.",
        "a@",
        "@a.",
        "a'",
        "http://",
        "www.",
        "&amp",
        "u/",
        "<i a",
        "a@a.",
        "\u0301",
        "-.",
        "x ",
    ]
    long = [flood * 10_000 for flood in floods]
    assert len(transformed(spark, long, normalise(F.col("text")))) == len(floods)
    assert len(terms(spark, long)) == len(floods)


def test_characters_said_to_be_stable_are() -> None:
    """None of them changes alone, and none joins one before it: no mark, and no second half of a composition."""
    ranges = re.sub(r"\\x\{(\w+)\}", lambda match: rf"\U{int(match[1], 16):08x}", STABLE_UNDER_NFKC)
    stable = re.findall(f"[{ranges}]", "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)])))
    assert len(stable) > 33_000
    halves = [unicodedata.decomposition(chr(code)).split() for code in range(0x110000)]
    seconds = {chr(int(parts[1], 16)) for parts in halves if len(parts) == 2 and "<" not in parts[0]}
    jamo = set(map(chr, [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]))
    assert not (seconds | jamo) & set(stable)
    assert [c for c in stable if unicodedata.normalize("NFKC", c) != c or unicodedata.combining(c) or compose(c) != c] == []


PIECES = [
    "<b>", "</b>", "<br/>", "<i", "<", ">", "</", "<p class=x>", "<!--", "-->", "<script>", "</script>", "blockquote", "=",
    "'", '"', "[", "]", "/", "http://", "https://", "www.", "x.com/", "youtu.be/", "@", "a@b.co", "@ann", "u/", "/u/name",
    ".", ",", "-", "_", "a", "Z", "1", "user", "[deleted]", "none", " ", "\n", "\t", "\x00", "\x85", "\u00a0", "\u3000",
    "\u2800", "\u200b", "\u200c", "\u200d", "\ufeff", "\ufe0f", "\u00ad", "\u202e", "\U0001f36e", "\U0001f468", "\u2764",
    "\u2122", "\u2139", "\U0001f201", "\U0001f3fd", "\u24b6", "e", "\u0301", "\u0327", "\u3099", "\u1100", "\u1161",
    "\u11a8", "\ufb01", "\uff21", "\uff06", "\uff1c", "\uff20", "\u00bd", "\u5168", "\u725b", "\u30ab", "\uff76", "\u0e01",
    "\u0e34", "\u0645", "\u06cc", "\u0915", "\u094d", "\u0937", "\u05d0", "\u00e9", "\u0436", "\ufdfa", "\U0001d400",
]  # fmt: skip
WILD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="&")) | st.lists(st.sampled_from(PIECES), max_size=12).map(
    "".join
)
ENTITIES = st.lists(st.sampled_from([*PIECES, "&amp;", "&lt;", "&gt;", "&#8203;", "&#0;", "&", ";", "&#xD83D;"]), max_size=10).map("".join)

#: What is left of an emoji is an emoji. Those of the class that NFKC leaves alone, and two that it would not.
EMOJI = re.compile("[\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\U0001f900-\U0001f9ff\u2764\U0001f201]|[\u2122\u2139]\ufe0f")
ADDRESS = re.compile(r"https?://\w|(?<![\w.@])www\.\w|[a-z0-9]@[a-z]|(?<![\w/.])u/\w{3}", re.ASCII | re.IGNORECASE)
LONGEST_EXPANSION = 18  # of U+FDFA; Unicode FAQ on normalization, maximum expansion factors


def examples(strategy: st.SearchStrategy[str], number: int) -> list[str]:
    """Many examples for one Spark job, each with hypothesis' own sense of what is awkward."""
    found: list[str] = []

    @settings(max_examples=number, deadline=None, database=None, phases=[Phase.generate])
    @given(strategy)
    def collect(text: str) -> None:
        found.append(text)

    collect()
    return found


def test_wild_texts(spark: SparkSession) -> None:
    texts = [*examples(WILD, 1200), *examples(ENTITIES, 300)]
    once = [normal for (normal,) in transformed(spark, texts, normalise(F.col("text")))]
    twice = [normal for (normal,) in transformed(spark, once, normalise(F.col("text")))]
    for text, normal, again in zip(texts, once, twice, strict=True):
        if normal is None:
            assert again is None
            continue
        if "&" not in normal:
            assert again == normal, text
        assert normal.strip() == normal != "", text
        assert not re.search(r"\s\s|[\x00-\x1f\x7f-\x9f\u200b\ufeff]|<br/?>|<p class", normal), text
        assert not ADDRESS.search(normal), text
        assert normal.casefold() not in MISSING_TEXTS, text
        plain = re.sub("|".join(map(re.escape, [URL_MASK, EMAIL_MASK, USER_MASK])), "", normal)
        assert len(plain) <= LONGEST_EXPANSION * len(text), text
        parts = re.split("[\u203c\u2049\u2122\u2139\u24c2\u3297\u3299]\ufe0f|[\U0001f200-\U0001f265]", normal)
        assert all(unicodedata.is_normalized("NFKC", part) for part in parts), text
        if not re.search(r"[<@&./]", text):
            assert EMOJI.findall(normal) == EMOJI.findall(re.sub("[\u00ad\u200b\ufeff\u202e]", "", text)), text


def test_text_hash_is_the_sha256_of_the_utf8_text(spark: SparkSession) -> None:
    got = transformed(spark, ["milk", "Cr\u00e8me", None], hash_text(F.col("text")))
    assert got == [(hashlib.sha256(b"milk").hexdigest(),), (hashlib.sha256("Cr\u00e8me".encode()).hexdigest(),), (None,)]


def terms(spark: SparkSession, texts: Sequence[str | None], *languages: str) -> list[list[str]]:
    rows = spark.createDataFrame(list(enumerate(texts)), "position int, text string").coalesce(1)
    got: DataFrame = add_terms(rows, languages)
    assert got.columns == ["position", "text", "terms"]
    return [row["terms"] for row in got.orderBy("position").collect()]


WORDS = {
    "Fat MILK, 2 % (organic)": ["fat", "milk", "organic"],
    "rock 'n' roll don't don\u2019t 'quoted'": ["rock", "roll", "don't", "don't", "quoted"],
    "cr\u00e8me cre\u0300me \u0b9a\u0bbf\u0bb5": ["cr\u00e8me", "cre\u0300me", "\u0b9a\u0bbf\u0bb5"],
    "\u00dcBER \u041c\u041e\u041b\u041e\u041a\u041e": ["\u00fcber", "\u043c\u043e\u043b\u043e\u043a\u043e"],
    "": [],
    "a 1 - '' '''' \U0001f36e": [],
    "[url] the [user]'s [email] user": ["the", "user"],
    "\u5168\u8102\u725b\u4e73": ["\u5168\u8102", "\u8102\u725b", "\u725b\u4e73"],
    "\u8336, iPhone\u624b\u673a\u58f3 500ml": ["\u8336", "iphone", "\u624b\u673a", "\u673a\u58f3", "500ml"],
    "\u30ac\u30fc\u30c9 \u6587\u5b57": ["\u30ac\u30fc", "\u30fc\u30c9", "\u6587\u5b57"],
    "\u0e19\u0e49\u0e33\u0e14\u0e37\u0e48\u0e21": ["\u0e19\u0e49\u0e33", "\u0e33\u0e14\u0e37\u0e48", "\u0e14\u0e37\u0e48\u0e21"],
    "\uc6b0\uc720 \ucd08\ucf5c\ub9bf": ["\uc6b0\uc720", "\ucd08\ucf5c\ub9bf"],
}  # fmt: skip


def test_terms_are_lower_case_words_and_pairs_of_characters_where_no_blank_stands_between_words(spark: SparkSession) -> None:
    assert dict(zip(WORDS, terms(spark, list(WORDS)), strict=True)) == WORDS
    assert terms(spark, [None]) == [[]]


def test_stop_words_of_the_languages_are_left_out_and_order_and_repeats_kept(spark: SparkSession) -> None:
    texts = ["The milk of the cow, the MILK", "o leite da vaca", "\u6211\u4eec\u7684\u725b\u5976\u548c\u8336", "\u548c \u8336"]
    whole = ["\u6211\u4eec", "\u4eec\u7684", "\u7684\u725b", "\u725b\u5976", "\u5976\u548c", "\u548c\u8336"]
    assert terms(spark, texts, "english") == [["milk", "cow", "milk"], ["leite", "da", "vaca"], whole, ["\u548c", "\u8336"]]
    found = terms(spark, texts, "english", "portuguese", "chinese")
    assert found == [["milk", "cow", "milk"], ["leite", "vaca"], ["\u725b\u5976", "\u5976\u548c", "\u548c\u8336"], ["\u8336"]]


@pytest.mark.usefixtures("spark")
def test_every_language_has_stop_words() -> None:
    assert {language: len(load_stop_words([language])) > 50 for language in LANGUAGES} == dict.fromkeys(LANGUAGES, True)
    assert load_stop_words([]) == []
    assert load_stop_words(["english", "german"]) == sorted({*load_stop_words(["english"]), *load_stop_words(["german"])})


def test_an_example_shows_keys_and_hides_values(spark: SparkSession) -> None:
    raw = r'{"age":42,"text":"he said \"hi\": bye, Zoë!","_corrupt_record":"{\"user\":\"u4\"}"}'
    shown = spark.createDataFrame([(raw,)], "raw string").select(mask_example(F.col("raw"))).first()
    expected = r'{"age":00,"text":"xx xxxx \"xx\": xxx, xxx!","_corrupt_record":"{\"xxxx\":\"x0\"}"}'
    assert shown is not None
    assert shown[0] == expected
