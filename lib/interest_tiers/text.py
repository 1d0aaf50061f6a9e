"""Column expressions on texts: normalise, mask, hash, and split into words. Also names and patterns for Spark SQL."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from html.entities import html5

import pandas as pd
from pyspark.ml.feature import RegexTokenizer, StopWordsRemover
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DecimalType, DoubleType, FloatType, StringType

#: (?U) means Unicode's white space and control characters, the no-break and the ideographic space among them.
WHITE_SPACE = r"(?U)[\p{Cntrl}\s]+"

#: Masks that replace addresses in a text. They never name an interest or a cluster.
URL_MASK, EMAIL_MASK, USER_MASK = "[url]", "[email]", "[user]"

#: Whole texts that mean a missing text, in lower case: from forums, pandas, R, spreadsheets and database dumps.
MISSING_TEXTS = (
    "[deleted]", "[removed]", "[deleted by user]", "[removed by reddit]", "[ removed by reddit ]", "[removed by moderator]",
    "nan", "null", "none", "n/a", "#n/a", "na", "<na>", "[null]", "(null)", "\\n", "undefined", '"nan"', '"infinity"', '"-infinity"',
)  # fmt: skip

#: Scripts without blanks between words; Korean has them. The prolonged sound mark belongs to no script.
UNSPACED = r"\p{IsHan}\p{IsHiragana}\p{IsKatakana}\u30fc\p{IsThai}\p{IsLao}\p{IsKhmer}\p{IsMyanmar}"

#: Characters of a row that an example shows.
EXAMPLE_LENGTH = 300

#: Matches inside a JSON value: the next quotation mark does not end a key. One after a backslash ends nothing.
IN_A_VALUE = r'(?=[^"]*(?:(?<=\\)"|"(?!:)|$))'

#: Whole numbers up to here are exact as doubles.
LARGEST_EXACT_DOUBLE = 2**53

_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"

#: Characters that NFKC leaves alone in any context. Most texts in these scripts have no others, and so need no Python.
#: Unicode Standard Annex 15, section 9.
STABLE_UNDER_NFKC = (
    r"\x00-\x7f"
    r"\u00c0-\u0131\u0134-\u013e\u0141-\u0148\u014a-\u017e"  # Latin
    r"\u0401\u0410-\u044f\u0451"  # Cyrillic
    r"\u2010\u2012-\u2016\u2018-\u201f\u2020-\u2022\u20ac"  # dashes, quotation marks, bullet, euro
    r"\u3001\u3002\u3008-\u3011\u3041-\u3096\u30a1-\u30fe\u4e00-\u9fff\uac00-\ud7a3"  # Chinese, Japanese, Korean
    r"\x{1f300}-\x{1f64f}\x{1f680}-\x{1f6ff}\x{1f900}-\x{1f9ff}"  # emoji
)

_NEEDS_PYTHON = rf"{_ENTITY}|[^{STABLE_UNDER_NFKC}]"

#: Emoji that NFKC would turn into letters or punctuation: by themselves, or followed by the variation selector.
_EMOJI = re.compile(
    "([\u203c\u2049\u2122\u2139\u24c2\u3297\u3299]\ufe0f|[\U0001f201\U0001f202\U0001f21a\U0001f22f\U0001f232-\U0001f23a\U0001f250\U0001f251])"
)

#: Invisible characters: soft hyphens, direction marks, Korean fillers, zero-width blanks.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]"
)

#: Joiners, which have a meaning in emoji, Arabic and Indic scripts only.
_JOINER = re.compile("[\u200c\u200d]")

#: Letters as ranges, because Java looks scripts up one by one.
_LATIN_GREEK_CYRILLIC = r"A-Za-z\u00c0-\u024f\u0370-\u052f\u1e00-\u1fff"

#: HTML elements within a line, and those that break it.
_INLINE = (
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|time|tt|u|var|wbr"
)
_BLOCK = (
    "address|applet|area|article|aside|audio|base|blockquote|body|br|button|canvas|caption|center|col|colgroup|dd|details|dialog|dir|div|"
    "dl|dt|embed|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|img|input|label|legend|li|link|"
    "main|map|meta|nav|noscript|object|ol|optgroup|option|p|param|picture|pre|script|section|select|source|style|summary|svg|table|tbody|"
    "td|template|textarea|tfoot|th|thead|title|tr|track|ul|video"
)

#: What may follow the name of an element. Before the next > there must be an attribute with a value, so that a<b and c>d
#: stays. A < before it is removed too, so that the rest of a tag within a tag forms no new one.
_ATTRIBUTES = r"(?:\s{0,99}+/?>|(?=[\s/<])(?=[^>=<]{0,1000}+[=<])[^>]{0,1000}+>)"

#: As in a browser, a script or a comment without an end runs to the end of the text.
_SCRIPT = r"(?is)<(script|style)\b[^>]{0,1000}+>(?:.*?</\1\s{0,9}>|.*+)"
_COMMENT = r"(?s)<!--(?:.*?-->|.*+)"

#: Removed without a blank, so that H<sub>2</sub>O is one word. Not where the parts around it would form a new tag, or where
#: a mark would combine with the letter before.
_INLINE_TAG = rf"(?i)<(?<!<[/!]?-?[A-Za-z0-9]{{0,12}}<)/?(?:{_INLINE}){_ATTRIBUTES}(?![\p{{M}}\u1160-\u11ff])"
_TAG = rf"(?i)</?(?:{_INLINE}|{_BLOCK}){_ATTRIBUTES}|<!doctype\b[^>]{{0,1000}}+>"

#: A host without a scheme counts as an address when it has a common ending and a path.
_ENDINGS = "com|org|net|edu|gov|info|io|co|me|tv|ly|be|gl|uk|de|fr|es|it|nl|eu|ru|br|cn|jp|kr|in|au|ca|us"
_IN_URL = rf"[^\s<>\"{UNSPACED}\p{{IsHangul}}\u3000-\u303f]"
_END_OF_URL = rf"[^\s<>\"{UNSPACED}\p{{IsHangul}}\u3000-\u303f.,;:!?')\]}}\u2019\u201d]"
_URL = (
    rf"(?i)(?:(?:https?|ftp)://|(?<![@.\w])www\.){_IN_URL}*{_END_OF_URL}"
    rf"|(?<![@.\w])(?:[a-z0-9\-]{{1,63}}\.){{1,5}}(?:{_ENDINGS})/(?:{_IN_URL}*{_END_OF_URL})?"
)

#: At most 64 characters precede the @ (RFC 5321, section 4.5.3.1.1). The first is no combining mark, which belongs to the
#: character before it. A host without a dot starts with a letter, so that 6@1.50 stays.
_HOST = rf"[{_LATIN_GREEK_CYRILLIC}\p{{N}}\-]"
_EMAIL = (
    rf"(?!\p{{M}})[{_LATIN_GREEK_CYRILLIC}\p{{N}}\p{{M}}._%+\-]{{1,64}}+@"
    rf"(?:(?:{_HOST}{{1,63}}\.){{1,8}}[{_LATIN_GREEK_CYRILLIC}]{{2,63}}|[{_LATIN_GREEK_CYRILLIC}]{_HOST}{{0,62}}+)"
)

#: @name with a letter in it, not directly after a word of a script with blanks; and Reddit's u/name and /u/name.
#: More names may follow directly.
_NAME = r"(?=\p{N}{0,30}[\p{L}_])[\p{L}\p{N}_][\p{L}\p{M}\p{N}_\u200c\u200d]*+(?:[.\-][\p{L}\p{N}_]++){0,5}"
_REDDIT_NAME = r"u/[a-zA-Z0-9_\-]{3,}+"
_USER = (
    rf"(?:@(?<![\p{{L}}\p{{M}}\p{{N}}_&&[^{UNSPACED}\p{{IsHangul}}]]@){_NAME}|(?<![\w/.])/?{_REDDIT_NAME})"
    rf"(?:@{_NAME}|/{_REDDIT_NAME}){{0,20}}"
)

#: A visible character: combining marks, joiners and blanks alone show nothing.
_SEEN = r"[^\p{M}\p{Cf}\p{Z}]"

_MASKS = "|".join(map(re.escape, (URL_MASK, EMAIL_MASK, USER_MASK)))

#: Words consist of letters, with their combining marks, and digits. An apostrophe counts only inside a word.
_LETTER, _FOLLOWING = rf"[\p{{L}}\p{{N}}&&[^{UNSPACED}]]", rf"[\p{{L}}\p{{M}}\p{{N}}&&[^{UNSPACED}]]"
_WORD = rf"{_LETTER}{_FOLLOWING}*+(?:'{_LETTER}{_FOLLOWING}*+){{0,3}}"
_UNSPACED_RUN = rf"[{UNSPACED}][{UNSPACED}\p{{M}}]*+"

#: Chinese function words that are rarely part of other words, so that texts are split at them. Chosen by hand from pronouns,
#: particles, conjunctions, adverbs and counters, in simplified and traditional characters.
_CHINESE_SEPARATORS = (
    "我们|我們|你们|你們|他们|他們|她们|她們|它们|它們|咱们|咱們|自己|大家|这个|這個|那个|那個|这些|這些|那些|这样|這樣|那样|那樣|这里|這裡|那里|那裡|"
    "一个|一個|一些|一种|一種|一下|一样|一樣|什么|什麼|怎么|怎麼|为什么|為什麼|哪个|哪個|因为|因為|所以|但是|可是|不过|不過|如果|虽然|雖然|而且|或者|"
    "还是|還是|还有|還有|就是|只是|已经|已經|没有|沒有|不是|不会|不會|不能|可以|可能|应该|應該|非常|比较|比較|以及|对于|對於|关于|關於|"
    "的|了|吗|嗎|呢|吧|啊|嘛|呀|哦|们|們|我|你|您|他|她|它|这|這|那|很"
)

#: Function words that other words contain too (和服, 现在, 地图), so that they are left out only as single characters.
_CHINESE_SINGLES = "是在有和与與及或也都就还還又不没沒被把给給让讓对對从從到去来來上下里裡为為以等个個一之其而但要会會能着著过過地得"


def normalise(text: Column, missing: Sequence[str] = ()) -> Column:
    """Normalise a text to the form that is stored, embedded and hashed; null where nothing is left.

    missing: whole texts that mean a missing one, besides MISSING_TEXTS; case does not matter.

    The steps, in order:
    1. decode HTML entities twice, because texts that a site had escaped are often escaped again by its export;
    2. remove invisible characters, and apply Unicode NFKC except to emoji;
    3. replace control characters and runs of white space by one blank;
    4. remove tags, comments and scripts;
    5. mask addresses (URL_MASK, EMAIL_MASK, USER_MASK);
    6. return null where nothing visible is left, or where the text is one of MISSING_TEXTS.

    Normalising again changes nothing, except where a normalised text still has an entity.
    Steps 1 and 2 run in Python, only for texts with an entity or a character that is not STABLE_UNDER_NFKC.
    Source: Unicode Standard Annex 15; HTML, section 13.5 (named character references).
    """
    return _present(_mask_addresses(_plain(text)), missing)


def normalise_name(name: Column, missing: Sequence[str] = ()) -> Column:
    """Normalise a name as texts are normalised, but for addresses: a name such as @home stays. See normalise."""
    return _present(_plain(name), missing)


def normalise_pattern(pattern: str) -> str:
    """Apply to a pattern for names what normalise_name does to characters."""
    return re.sub(r"\s+", " ", compose(pattern)).strip()


def join_texts(texts: Sequence[Column]) -> Column:
    """Join normalised texts by a blank, without nulls; null where all are null."""
    return _apply_once(F.concat_ws(" ", *texts), lambda text: F.when(text != "", text))


def compose(text: str) -> str:
    """Apply the steps of normalise that Spark has no function for: entities, invisible characters, NFKC."""
    for _ in range(2):
        text = re.sub(_ENTITY, _decode_entity, text)
    # To Unicode the blank of Braille is a symbol, but it looks like white space.
    seen = _JOINER.sub(_keep_joiner, _UNSEEN.sub("", text.replace("\u2800", " ")))
    # Every second part is an emoji.
    parts = [part if position % 2 else unicodedata.normalize("NFKC", part) for position, part in enumerate(_EMOJI.split(seen))]
    return "".join(parts)


def hash_text(text: Column) -> Column:
    """Hash a normalised text by SHA-256, as 64 hexadecimal digits; null for null."""
    return F.sha2(text, 256)


def add_terms(texts: DataFrame, languages: Sequence[str]) -> DataFrame:
    """Add the words of each text, in its order and with repetitions, without the stop words of the languages.

    texts:     (text string normalised or null, ...)
    languages: names as in interests.languages
    Returns:   the same columns, and terms array<string>

    A word is in lower case, keeps its accents, and has two letters or more. Masks of addresses are no words.
    In scripts without blanks between words (Chinese, Japanese, Thai and others) every two neighbouring characters are a term. A
    single character between other words is one too. These are the overlapping bigrams of Lucene's CJKAnalyzer
    (https://lucene.apache.org/core/8_5_1/analyzers-common/org/apache/lucene/analysis/cjk/package-summary.html).
    """
    text = F.lower(F.regexp_replace(F.translate(F.coalesce("text", F.lit("")), "\u2019", "'"), _MASKS, " "))
    if "chinese" in languages:
        text = F.regexp_replace(text, _CHINESE_SEPARATORS, " ")
    tokenizer = RegexTokenizer(inputCol="__text", outputCol="__words", pattern=f"{_UNSPACED_RUN}|{_WORD}", gaps=False, toLowercase=False)
    words = tokenizer.transform(texts.withColumn("__text", text))
    terms = F.flatten(F.transform("__words", _split_word))
    # The words are in lower case already; the remover's own folding would depend on the machine's locale.
    remover = StopWordsRemover(inputCol="__terms", outputCol="terms", stopWords=load_stop_words(languages), caseSensitive=True)
    return remover.transform(words.withColumn("__terms", terms)).select(*texts.columns, "terms")


def load_stop_words(languages: Sequence[str]) -> list[str]:
    """Load stop words in lower case: the lists of Spark ML, and a list for Chinese, which it lacks."""
    spark_lists = [StopWordsRemover.loadDefaultStopWords(language) for language in languages if language != "chinese"]
    chinese = [*_CHINESE_SEPARATORS.split("|"), *_CHINESE_SINGLES] if "chinese" in languages else []
    return sorted({unicodedata.normalize("NFKC", word).lower() for words in [*spark_lists, chinese] for word in words})


def mask_example(raw: Column) -> Column:
    """Shorten a row of JSON and mask its values, so that keys and shape remain: letters become x, digits 0."""
    beginning = F.substring(raw, 1, EXAMPLE_LENGTH)
    return F.regexp_replace(F.regexp_replace(beginning, rf"\p{{L}}{IN_A_VALUE}", "x"), rf"\p{{N}}{IN_A_VALUE}", "0")


def format_number(column: Column, kind: DataType) -> Column:
    """Cast a column of any type to text, whole numbers without decimals or exponent: 1.785E7 becomes 17850000."""
    text = column.cast("string")
    if isinstance(kind, DecimalType):
        # Zero with many decimals would become 0E-18.
        return F.when(column == F.floor(column), F.floor(column).cast("string")).otherwise(text)
    if isinstance(kind, DoubleType | FloatType):
        # Numbers beyond 2^53 are not exact, and keep Spark's own form.
        is_whole = (column == F.floor(column)) & (F.abs(column) <= LARGEST_EXACT_DOUBLE)
        return F.when(is_whole, column.cast("bigint").cast("string")).otherwise(text)
    return text


def quote_name(name: str) -> str:
    """Quote a name for Spark SQL, whatever characters it holds."""
    return f"`{name.replace('`', '``')}`"


def wildcard_to_regex(pattern: str) -> str:
    """Convert a pattern to a regular expression: * matches any text, everything else matches itself."""
    return ".*".join(map(re.escape, pattern.split("*")))


def _plain(text: Column) -> Column:
    """Apply the steps of normalise that change characters, blanks and tags."""
    # A source may hold bytes that are not UTF-8, which Arrow refuses. Decoding replaces them.
    readable = F.decode(text.cast("binary"), "UTF-8")
    composed = F.coalesce(_compose_column(F.when(text.rlike(_NEEDS_PYTHON), readable)), text)
    return _remove_tags(F.trim(F.regexp_replace(composed, WHITE_SPACE, " ")))


def _present(text: Column, missing: Sequence[str]) -> Column:
    """Collapse blanks; null where nothing visible is left, or a word for missing."""
    words = (*MISSING_TEXTS, *map(str.lower, missing))
    return _apply_once(_apply_once(text, _collapse_blanks), lambda kept: F.when(kept.rlike(_SEEN) & ~F.lower(kept).isin(*words), kept))


def _compose_column(text: Column) -> Column:
    @F.pandas_udf(StringType())  # type: ignore[call-overload]
    def composed(texts: pd.Series) -> pd.Series:
        return texts.map(compose, na_action="ignore")

    return composed(text)


def _apply_once(column: Column, function: Callable[[Column], Column]) -> Column:
    """Apply a function to a column so that Spark computes the column once, however often the function uses it."""
    return F.transform(F.array(column), function)[0]


def _decode_entity(entity: re.Match[str]) -> str:
    reference = entity[0]
    return html.unescape(reference) if reference[1] == "#" or reference[1:] in html5 else reference


def _keep_joiner(joiner: re.Match[str]) -> str:
    """Keep a joiner between symbols, or between letters and marks of scripts that use joiners; remove it elsewhere."""
    text, start = joiner.string, joiner.start()
    before, after = text[max(start - 1, 0) : start], text[start + 1 : start + 2]
    # The normalised neighbours decide, so that normalising again changes nothing.
    joined = unicodedata.normalize("NFKC", before)[-1:], unicodedata.normalize("NFKC", after)[:1]
    return joiner[0] if all(map(_can_be_joined, joined)) else ""


def _can_be_joined(character: str) -> bool:
    if not character or character.isascii():
        return False
    kind = unicodedata.category(character)
    if kind in ("So", "Sm", "Sk"):
        return True
    return kind[0] in "LM" and not re.match("LATIN|GREEK|CYRILLIC|COMBINING", unicodedata.name(character, ""))


def _remove_tags(text: Column) -> Column:
    def remove(given: Column) -> Column:
        for pattern, replacement in ((_SCRIPT, " "), (_INLINE_TAG, ""), (_TAG, " "), (_COMMENT, " ")):
            given = F.regexp_replace(given, pattern, replacement)
        return given

    return _apply_once(text, lambda given: F.when(given.contains("<"), remove(given)).otherwise(given))


def _mask_addresses(text: Column) -> Column:
    """Mask addresses: URLs first, which may hold an e-mail address; then those, whose @ may precede a name; then names."""
    for needed, pattern, mask in ((r"/|(?i)www\.", _URL, URL_MASK), ("@", _EMAIL, EMAIL_MASK), ("[@/]", _USER, USER_MASK)):
        text = _apply_once(text, partial(_replace_where, needed, pattern, mask))
    return text


def _replace_where(needed: str, pattern: str, mask: str, text: Column) -> Column:
    # Testing for a character that every address has is far cheaper than searching for the address.
    return F.when(text.rlike(needed), F.regexp_replace(text, pattern, mask)).otherwise(text)


def _collapse_blanks(text: Column) -> Column:
    return F.trim(F.when(text.contains("  "), F.regexp_replace(text, " {2,}", " ")).otherwise(text))


def _split_word(word: Column) -> Column:
    is_unspaced, is_long = word.rlike(f"^[{UNSPACED}]"), F.length(word) > 1
    return F.when(is_unspaced, _split_into_bigrams(word)).when(is_long, F.array(word)).otherwise(F.array().cast("array<string>"))


def _split_into_bigrams(run: Column) -> Column:
    """Split a run into every two neighbouring characters with their marks; a run of one character stays whole."""
    characters = F.array(F.regexp_extract_all(run, F.lit(r"\P{M}\p{M}*"), F.lit(0)))

    def pairs(of: Column) -> Column:
        neighbours = F.zip_with(F.slice(of, 1, F.size(of) - 1), F.slice(of, 2, F.size(of)), lambda left, right: F.concat(left, right))
        return F.when(F.size(of) == 1, of).otherwise(neighbours)

    return F.flatten(F.transform(characters, pairs))
