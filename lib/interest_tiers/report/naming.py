"""Sets names that shout in sentence case: FLUID MILK PRODUCTS becomes Fluid milk products. Short ones may be abbreviations, and stay."""

from __future__ import annotations

import re

#: Letters up to which a word in capitals by itself may be an abbreviation.
LONGEST_ABBREVIATION = 3

#: Words in capitals with what joins them. The dot of · parts names of clusters, the sign › levels.
_SHOUTED = re.compile(r"\b[A-Z][A-Z0-9'%()]*+(?![a-z])(?:[ /&\-.,+:]{1,3}[A-Z0-9(][A-Z0-9'%()]*+(?![a-z]))*")


def calm(text: str) -> str:
    """Set every run of words in capitals in sentence case; other text stays as it is."""
    return _SHOUTED.sub(lambda run: _sentence_case(run[0]), text)


def _sentence_case(run: str) -> str:
    letters = sum(character.isalpha() for character in run)
    is_cut = any(character.isalpha() for character in run) and letters <= LONGEST_ABBREVIATION
    return run if is_cut else run[0] + run[1:].lower()
