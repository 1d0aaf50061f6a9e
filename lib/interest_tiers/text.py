"""Texts as Column expressions: normalise, hash, tokenise."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

#: (?U): white space and control characters are Unicode's, the no-break and the ideographic space among them.
WHITE_SPACE = r"(?U)[\p{Cntrl}\s]+"

#: Letters (with their combining marks) and digits; an apostrophe belongs to a word only inside it.
WORD = r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:'[\p{L}\p{N}][\p{L}\p{M}\p{N}]*)*"


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
