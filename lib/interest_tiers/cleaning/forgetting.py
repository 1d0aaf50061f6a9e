"""Users who are to be forgotten: which rows and texts name them, and how they stay away.

What stays known of them is a hash, so that rows read again from sources that still hold them can be left out.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from interest_tiers.config import UNREADABLE
from interest_tiers.text import LARGEST_EXACT_DOUBLE

#: A string of JSON with its quotes, or a number. Possessive, so that a long string takes no stack.
_LITERAL = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?[0-9][0-9.eE+-]*+'

#: What stands between words, fields of a line, and pieces of a message, in the order of the splits.
_BETWEEN_WORDS = r"""(?U)[\s,;|=<>()\[\]{}"'`]+"""
_BETWEEN_PARTS = r"""(?U)[\s,;|=<>()\[\]{}"'`:]+"""
_BETWEEN_FIELDS = r"[,;|\t\r\n]"
_QUOTED = r"\"([^\"]*+)\"|'([^']*+)'"
_AFTER_COLON = r"(?m):[ \t]*+([^\r\n]++)$"

#: Marks that may follow or precede a word without being part of it.
_PUNCTUATION = r"""^[\s"'`:.!?]+|[\s"'`:.!?]+$"""

_SCIENTIFIC = r"^[+-]?[0-9](\.[0-9]+)?[eE]\+?[0-9]{1,2}$"


def user_hash(user_id: Column) -> Column:
    """SHA-256 of a user id, 64 hexadecimal digits; null for null."""
    return F.sha2(user_id, 256)


def without_forgotten(rows: DataFrame, forgotten: DataFrame) -> DataFrame:
    """The rows of users who were not forgotten; rows without a user stay.

    rows: user_id string, and any other columns. forgotten: user_hash string.
    """
    kept = rows.withColumn("_user_hash", user_hash(F.col("user_id")))
    hashes = forgotten.select(F.col("user_hash").alias("_user_hash"))
    return kept.join(hashes, "_user_hash", "left_anti").select(*rows.columns)


def without_naming_forgotten(rows: DataFrame, key: str, names: Column, forgotten: DataFrame) -> DataFrame:
    """The rows whose texts name nobody who was forgotten.

    rows: key (unique), and any other columns. names: array<string>, the ids that a row may name (see named_values).
    forgotten: user_hash string.
    """
    named = rows.select(key, F.explode(names).alias("name")).select(key, user_hash(F.col("name")).alias("user_hash"))
    return rows.join(named.join(forgotten, "user_hash", "left_semi").select(key).distinct(), key, "left_anti").select(*rows.columns)


def keys_naming(rows: DataFrame, key: tuple[str, ...], names: Column, users: DataFrame) -> DataFrame:
    """The keys of the rows whose texts name one of the users, each once.

    rows: key, and what names reads. names: array<string>, the ids that a row may name. users: user_id string.
    """
    named = rows.select(*key, F.explode(names).alias("user_id"))
    return named.join(users, "user_id", "left_semi").select(*key).distinct()


def named_values(json: Column) -> Column:
    """Every value and every key of a row in JSON, at any depth, as array<string> without repetition; null for null.

    Numbers are as they stand, whole ones in exponents also written out (1.785E7 and 17850000). A value that is JSON itself,
    or a line that could not be parsed, is taken apart as well. A part of a value is none: 9001 is not in "90012", nor in
    "a note on 9001".
    """
    literals = F.regexp_extract_all(json, F.lit(_LITERAL), F.lit(0))
    # Spark's own parser undoes the escapes. A literal that it does not accept is taken as it stands.
    parsed = F.from_json(F.concat(F.lit("["), F.array_join(literals, ","), F.lit("]")), "array<string>")
    unquoted = F.transform(literals, lambda literal: F.regexp_replace(literal, r'^"|"$', ""))
    whole = F.when(F.size(parsed) == F.size(literals), parsed).otherwise(unquoted)
    # A line that could not be parsed is one value.
    has_a_line = json.contains(f'"{UNREADABLE}":')
    apart = F.filter(whole, lambda value: has_a_line | value.rlike(r"^\s*[\[{]"))
    return _written_out(F.concat(whole, F.flatten(F.transform(apart, words_and_fields))))


def words_and_fields(text: Column) -> Column:
    """What may be an id in a text that is no JSON, such as a broken line of CSV or an error message.

    Returns array<string> without repetition: words, fields between separators, what stands in quotes, and what stands
    between a colon and the end of its line.
    """
    pieces = F.concat(
        F.split(text, _BETWEEN_WORDS),
        F.split(text, _BETWEEN_PARTS),
        F.split(text, _BETWEEN_FIELDS),
        F.regexp_extract_all(text, F.lit(_QUOTED), F.lit(1)),
        F.regexp_extract_all(text, F.lit(_QUOTED), F.lit(2)),
        F.regexp_extract_all(text, F.lit(_AFTER_COLON), F.lit(1)),
    )
    trimmed = F.transform(pieces, lambda piece: F.regexp_replace(piece, _PUNCTUATION, ""))
    return F.array_distinct(F.filter(F.concat(pieces, trimmed), lambda piece: piece != ""))


def _written_out(values: Column) -> Column:
    """The values, and those in exponents as whole numbers too: doubles from 10 million on print so."""
    in_exponents = F.filter(values, lambda value: value.rlike(_SCIENTIFIC))
    numbers = F.transform(in_exponents, lambda value: value.cast("double"))
    exact = F.filter(numbers, lambda number: (number == F.floor(number)) & (F.abs(number) <= LARGEST_EXACT_DOUBLE))
    digits = F.transform(exact, lambda number: number.cast("bigint").cast("string"))
    return F.array_distinct(F.filter(F.concat(values, digits), lambda value: value.isNotNull()))
