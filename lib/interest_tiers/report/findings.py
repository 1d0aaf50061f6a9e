"""The first screen: what was found, as five figures with a sentence each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from interest_tiers.report.naming import calm
from interest_tiers.report.numbers import format_decimal, format_number, format_percent

if TYPE_CHECKING:
    from interest_tiers.report.content import Content

#: Interests named in a sentence.
NAMED_INTERESTS = 3


@dataclass(frozen=True)
class Finding:
    """A question that a reader has, its figure, and the answer in words. section: id of the section with more."""

    question: str
    figure: str
    answer: str
    section: str


def list_findings(content: Content) -> tuple[Finding, ...]:
    """Answer the five questions."""
    return (
        _who(content),
        _care_about(content),
        _what_changed(content),
        _how_good(content),
        _trusted(content),
    )


def _who(content: Content) -> Finding:
    figure = f"{format_number(content.totals.users)} users"
    if not content.clusters:
        return Finding("Who are the users?", figure, "They form no clusters.", "clusters")
    largest = content.clusters[0]
    groups = "one group" if len(content.clusters) == 1 else f"{len(content.clusters)} groups of users with similar interests"
    answer = f"In {groups}. The largest has {format_percent(largest.share, 0)} of them: {calm(largest.name)}."
    return Finding("Who are the users?", figure, answer, "clusters")


def _care_about(content: Content) -> Finding:
    core = content.tiers.tiers[0]
    figure = f"{format_number(core.median_per_user)} core interest{'' if core.median_per_user == 1 else 's'}"
    named = ", ".join(
        f"{calm(interest.name)} ({format_percent(interest.core_users / max(content.tiers.users, 1), 0)} of the users)"
        for interest in content.core_interests[:NAMED_INTERESTS]
    )
    answer = "The median number per user." + (f" Most often core: {named}." if named else "")
    return Finding("What do they care about?", figure, answer, "tiers")


def _what_changed(content: Content) -> Finding:
    flows, question = content.flows, "What changed?"
    if flows is None or flows.kept is None:
        return Finding(
            question, "First day", f"No earlier day than {content.as_of} has tiers. The next run will be compared with it.", "tiers"
        )
    answer = (
        f"Of the interests that are core on {flows.since} or on {content.as_of}, this share is core on both days. "
        f"{format_number(flows.new_users)} users are new, {format_number(flows.gone_users)} have no tiers any more."
    )
    return Finding(question, f"{format_percent(flows.kept, 0)} kept", answer, "tiers")


def _how_good(content: Content) -> Finding:
    question = "How good are the predictions?"
    headline = None if content.back_test is None else content.back_test.headline
    position = -1 if headline is None else next((place for place, column in enumerate(headline.columns) if column.metric == "J"), -1)
    measured = () if headline is None or position < 0 else headline.measured(position)
    if content.back_test is None or not measured:
        return Finding(question, "Unknown", "The back-test has not been run for this day: run the stages evaluate and report.", "back-test")
    (_, value), *others = measured
    answer = f"J of the tiers on the {content.back_test.horizon_days} days held back, where 0 is perfect."
    if others:
        best, other = min(others, key=lambda pair: pair[1].value)
        difference = best.differences[position]
        named = f"the best other model, {best.name[:1].lower()}{best.name[1:]}, with {format_decimal(other.value)}"
        if difference is None:
            answer += f" Compare {named}."
        elif difference.verdict == "worse":
            answer += f" That is better than {named}: the paired difference excludes 0."
        elif difference.verdict == "better":
            answer += f" That is worse than {named}: the paired difference excludes 0."
        else:
            answer += f" No difference is shown from {named}."
    return Finding(question, f"J {format_decimal(value.value)}", answer, "back-test")


def _trusted(content: Content) -> Finding:
    quality, question = content.quality, "Can the data be trusted?"
    if quality is None:
        return Finding(question, "Unknown", "No run of clean has measured the data yet.", "quality")
    read = sum(source.rows_in for source in quality.sources)
    unusable = sum(source.quarantined for source in quality.sources)
    share = format_percent(unusable / read) if read else format_percent(0)
    if quality.failed:
        limits = f"{quality.failed} of {len(quality.checks)} limits of the config {'is' if quality.failed == 1 else 'are'} not met."
    else:
        limits = f"All {len(quality.checks)} limits of the config are met." if quality.checks else "The config sets no limit."
    return Finding(
        question, f"{share} unusable", f"Of the {format_number(read)} rows that the newest run of clean read. {limits}", "quality"
    )
