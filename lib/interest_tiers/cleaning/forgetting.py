"""Forgets users: finds the rows and texts that name them, and keeps them out of later runs.

Only a hash of their ids is kept, so that rows read again from sources that still hold them are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from interest_tiers.cleaning.columns import identifier
from interest_tiers.config import UNREADABLE
from interest_tiers.text import LARGEST_EXACT_DOUBLE

#: A string of JSON with its quotes, or a number. Possessive, so that a long string takes no stack.
_LITERAL = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?[0-9][0-9.eE+-]*+'

#: Separators of words, of parts of a message, and of fields of a line.
_BETWEEN_WORDS = r"""(?U)[\s,;|=<>()\[\]{}"'`]+"""
_BETWEEN_PARTS = r"""(?U)[\s,;|=<>()\[\]{}"'`:]+"""
_BETWEEN_FIELDS = r"[,;|\t\r\n]"
_QUOTED = r"\"([^\"]*+)\"|'([^']*+)'"
_AFTER_COLON = r"(?m):[ \t]*+([^\r\n]++)$"

#: Marks that may follow or precede a word without being part of it.
_PUNCTUATION = r"""^[\s"'`:.!?]+|[\s"'`:.!?]+$"""

_SCIENTIFIC = r"^[+-]?[0-9](\.[0-9]+)?[eE]\+?[0-9]{1,2}$"


def user_hash(user_id: Column) -> Column:
    """Hash a user id: SHA-256 as 64 hexadecimal digits; null for null."""
    return F.sha2(user_id, 256)


def drop_forgotten(rows: DataFrame, forgotten: DataFrame) -> DataFrame:
    """Leave out the rows of forgotten users; rows without a user stay.

    rows: (user_id string, …). forgotten: (user_hash string).
    """
    kept = rows.withColumn("_user_hash", user_hash(F.col("user_id")))
    hashes = forgotten.select(F.col("user_hash").alias("_user_hash"))
    return kept.join(hashes, "_user_hash", "left_anti").select(*rows.columns)


def drop_quarantine_naming(rows: DataFrame, forgotten: DataFrame) -> DataFrame:
    """Leave out quarantined rows that name a forgotten user.

    rows: (row_hash, raw, …), one row per row_hash. forgotten: (user_hash).
    """
    return drop_rows_naming(rows, "row_hash", user_ids_in(extract_values(F.col("raw"))), forgotten)


def user_ids_in(names: Column) -> Column:
    """Turn array<string> of what a row names into ids as cleaning writes them, each once."""
    return F.array_distinct(F.transform(names, lambda name: identifier(name, StringType())))


def read_ids(lines: DataFrame) -> DataFrame:
    """Read user ids from lines as cleaning reads them.

    lines: (value string).
    Returns: (user_id string), one row per id.
    """
    return lines.select(identifier(F.col("value"), StringType()).alias("user_id")).where("user_id IS NOT NULL").distinct()


def select_unused_vectors(vectors: DataFrame, written: DataFrame, used: Sequence[DataFrame]) -> DataFrame:
    """Select the vectors of texts that only forgotten users wrote.

    vectors: the key of text_embeddings. written: (text_hash), texts of forgotten users.
    used: (text_hash, …) each, the texts that tables still hold.
    Returns the key of text_embeddings.
    """
    unused = vectors.join(written, "text_hash", "left_semi")
    for texts in used:
        unused = unused.join(texts.select("text_hash").distinct(), "text_hash", "left_anti")
    return unused


def drop_rows_naming(rows: DataFrame, key: str, names: Column, forgotten: DataFrame) -> DataFrame:
    """Leave out the rows whose texts name a forgotten user.

    rows: (key, …), one row per key. names: array<string>, the ids that a row may name (see extract_values).
    forgotten: (user_hash string).
    """
    named = rows.select(key, F.explode(names).alias("name")).select(key, user_hash(F.col("name")).alias("user_hash"))
    return rows.join(named.join(forgotten, "user_hash", "left_semi").select(key).distinct(), key, "left_anti").select(*rows.columns)


def find_keys_naming(rows: DataFrame, key: tuple[str, ...], names: Column, users: DataFrame) -> DataFrame:
    """Find the rows whose texts name one of the users.

    rows: (key, …) with the columns of ``names``. names: array<string>, the ids that a row may name. users: (user_id string).
    Returns: (key), one row per key.
    """
    named = rows.select(*key, F.explode(names).alias("user_id"))
    return named.join(users, "user_id", "left_semi").select(*key).distinct()


def extract_values(json: Column) -> Column:
    """Extract every value and key of a row in JSON, at any depth, as array<string> without repetition; null for null.

    Numbers keep their digits; whole ones in exponents are also written out (1.785E7 and 17850000).
    A value that is JSON itself, or a line that could not be parsed, is split as well.
    A part of a value does not count: 9001 is not in "90012", nor in "a note on 9001".
    """
    literals = F.regexp_extract_all(json, F.lit(_LITERAL), F.lit(0))
    # Spark's own parser undoes the escapes. A literal that it refuses is kept unchanged.
    parsed = F.from_json(F.concat(F.lit("["), F.array_join(literals, ","), F.lit("]")), "array<string>")
    unquoted = F.transform(literals, lambda literal: F.regexp_replace(literal, r'^"|"$', ""))
    whole = F.when(F.size(parsed) == F.size(literals), parsed).otherwise(unquoted)
    # A line that could not be parsed is one value.
    has_a_line = json.contains(f'"{UNREADABLE}":')
    apart = F.filter(whole, lambda value: has_a_line | value.rlike(r"^\s*[\[{]"))
    return _written_out(F.concat(whole, F.flatten(F.transform(apart, extract_words))))


def extract_words(text: Column) -> Column:
    """Extract what may be an id from a text that is no JSON, such as a broken line of CSV or an error message.

    Returns array<string> without repetition: words, fields between separators, quoted parts, and the rest of a line
    after a colon.
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
    """Add the whole numbers behind values in exponents: doubles from 10 million on are printed that way."""
    in_exponents = F.filter(values, lambda value: value.rlike(_SCIENTIFIC))
    numbers = F.transform(in_exponents, lambda value: value.cast("double"))
    exact = F.filter(numbers, lambda number: (number == F.floor(number)) & (F.abs(number) <= LARGEST_EXACT_DOUBLE))
    digits = F.transform(exact, lambda number: number.cast("bigint").cast("string"))
    return F.array_distinct(F.filter(F.concat(values, digits), lambda value: value.isNotNull()))
