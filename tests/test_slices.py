"""The text of a slice: what is written is what is read."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interest_tiers.slices import Slice

#: Every text that tables of earlier versions hold.
TEXTS = {
    "all": Slice("all"),
    "tiers": Slice("tiers"),
    "k=8": Slice(k=8),
    "users=held_out": Slice(users="held_out"),
    "model=user_tiers": Slice(model="user_tiers"),
    "level=department,model=rule": Slice(level="department", model="rule"),
    "items=new,model=popularity": Slice(items="new", model="popularity"),
    "bin=14,model=user_tiers": Slice(bin=14, model="user_tiers"),
    "since=2018-01-01": Slice(since=date(2018, 1, 1)),
    "since=2018-01-01,of=p_core": Slice(since=date(2018, 1, 1), of="p_core"),
    "level=kind,model=rule,minus=user_tiers": Slice(level="kind", model="rule", minus="user_tiers"),
}


@pytest.mark.parametrize("text", TEXTS)
def test_texts_and_slices_are_one_to_one(text: str) -> None:
    assert Slice.parse(text) == TEXTS[text]
    assert str(TEXTS[text]) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" k = 8 ", Slice(k=8)),
        ("overall", Slice("overall")),
        ("formula=a=b", Slice(others=(("formula", "a=b"),))),
        ("", Slice()),
    ],
)
def test_what_others_wrote_is_read(text: str, expected: Slice) -> None:
    assert Slice.parse(text) == expected


@pytest.mark.parametrize("text", ["k=eight", "since=yesterday"])
def test_no_number_and_no_day_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text.partition("=")[2]):
        Slice.parse(text)


WORDS = st.text(st.characters(categories=["L", "N"], include_characters="_- ."), min_size=1).filter(lambda word: word == word.strip())


@given(
    st.builds(
        Slice, name=st.none() | WORDS, users=st.none() | WORDS, items=st.none() | WORDS, level=st.none() | WORDS,
        k=st.none() | st.integers(), since=st.none() | st.dates(), of=st.none() | WORDS, model=st.none() | WORDS, minus=st.none() | WORDS,
    )
)  # fmt: skip
def test_every_slice_survives_its_text(given_slice: Slice) -> None:
    assert Slice.parse(str(given_slice)) == given_slice
