"""Texts as Column expressions: normalise, hash, tokenise."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, DecimalType, DoubleType, FloatType

#: (?U): white space and control characters are Unicode's, the no-break and the ideographic space among them.
WHITE_SPACE = r"(?U)[\p{Cntrl}\s]+"

#: Letters (with their combining marks) and digits; an apostrophe belongs to a word only inside it.
WORD = r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:'[\p{L}\p{N}][\p{L}\p{M}\p{N}]*)*"

#: An example of a row shows so many characters.
EXAMPLE_LENGTH = 300

#: The next quotation mark does not end a key (one after a backslash ends nothing), so this is part of a value.
IN_A_VALUE = r'(?=[^"]*(?:(?<=\\)"|"(?!:)|$))'

#: Whole numbers up to here are exact as doubles.
LARGEST_EXACT_DOUBLE = 2**53


def normalise(text: Column) -> Column:
    """Control characters and runs of white space become one blank; a blank text becomes null."""
    spaced = F.regexp_replace(text, WHITE_SPACE, " ")
    trimmed = F.trim(spaced)
    return F.when(trimmed != "", trimmed)


def text_hash(text: Column) -> Column:
    """SHA-256 of a normalised text, 64 hexadecimal digits; null for null."""
    return F.sha2(text, 256)


def tokens(text: Column, stop_words: Sequence[str] = ()) -> Column:
    """Lower-case words of two letters or more, in order, without stop words."""
    words = F.regexp_extract_all(F.lower(text), F.lit(WORD), F.lit(0))
    stop = F.array(*[F.lit(word) for word in stop_words]) if stop_words else None
    kept = F.filter(words, lambda word: F.length(word) > 1)
    return kept if stop is None else F.filter(kept, lambda word: ~F.array_contains(stop, word))


def masked_example(raw: Column) -> Column:
    """The beginning of a row of JSON that shows its keys and its shape; letters of values become x, digits 0."""
    beginning = F.substring(raw, 1, EXAMPLE_LENGTH)
    return F.regexp_replace(F.regexp_replace(beginning, rf"\p{{L}}{IN_A_VALUE}", "x"), rf"\p{{N}}{IN_A_VALUE}", "0")


def number_as_text(column: Column, kind: DataType) -> Column:
    """A column of any type as text; whole numbers without decimals or exponent, 1.785E7 as 17850000."""
    text = column.cast("string")
    if isinstance(kind, DecimalType):
        # Zero with many decimals prints as 0E-18.
        return F.when(column == F.floor(column), F.floor(column).cast("string")).otherwise(text)
    if isinstance(kind, DoubleType | FloatType):
        # Those beyond 2^53 are no longer exact and stay as they print.
        is_whole = (column == F.floor(column)) & (F.abs(column) <= LARGEST_EXACT_DOUBLE)
        return F.when(is_whole, column.cast("bigint").cast("string")).otherwise(text)
    return text


def quoted_name(name: str) -> str:
    """A name in Spark SQL, whatever characters it holds."""
    return f"`{name.replace('`', '``')}`"


def wildcard_expression(pattern: str) -> str:
    """A regular expression for a pattern in which * stands for any text and all else for itself."""
    return ".*".join(map(re.escape, pattern.split("*")))
