"""The first screen: what was found, as five figures with a sentence each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from interest_tiers.report.comparison import name_within_sentence
from interest_tiers.report.language import Language
from interest_tiers.report.naming import calm

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


def list_findings(content: Content, language: Language) -> tuple[Finding, ...]:
    """Answer the five questions."""
    return tuple(answer(content, language) for answer in (_who, _care_about, _what_changed, _how_good, _trusted))


def _who(content: Content, language: Language) -> Finding:
    question = language.gettext("Who are the users?")
    figure = language.ngettext("%(n)s user", "%(n)s users", content.totals.users)
    if not content.clusters:
        return Finding(question, figure, language.gettext("They form no clusters."), "clusters")
    largest = content.clusters[0]
    answer = language.ngettext(
        "In one group. The largest has %(share)s of them: %(name)s.",
        "In %(n)s groups of users with similar interests. The largest has %(share)s of them: %(name)s.",
        len(content.clusters),
        share=language.percent(largest.share, 0),
        name=calm(largest.name),
    )
    return Finding(question, figure, answer, "clusters")


def _care_about(content: Content, language: Language) -> Finding:
    core = content.tiers.tiers[0]
    figure = language.ngettext("%(n)s core interest", "%(n)s core interests", core.median_per_user)
    named = language.gettext(", ").join(
        language.gettext(
            "%(interest)s (%(share)s of the users)",
            interest=calm(interest.name),
            share=language.percent(interest.core_users / max(content.tiers.users, 1), 0),
        )
        for interest in content.core_interests[:NAMED_INTERESTS]
    )
    answer = language.gettext("The median number per user.")
    if named:
        # Babel sees no message within an f-string of Python 3.12.
        often = language.gettext("Most often core: %(interests)s.", interests=named)
        answer = f"{answer} {often}"
    return Finding(language.gettext("What do they care about?"), figure, answer, "tiers")


def _what_changed(content: Content, language: Language) -> Finding:
    flows, question, today = content.flows, language.gettext("What changed?"), language.day(content.as_of)
    if flows is None or flows.kept is None:
        answer = language.gettext("No earlier day than %(day)s has tiers. The next run will be compared with it.", day=today)
        return Finding(question, language.gettext("First day"), answer, "tiers")
    answer = language.gettext(
        "Of the interests that are core on %(since)s or on %(day)s, this share is core on both days. "
        "%(new)s users are new, %(gone)s have no tiers any more.",
        since=language.day(flows.since),
        day=today,
        new=language.number(flows.new_users),
        gone=language.number(flows.gone_users),
    )
    return Finding(question, language.gettext("%(share)s kept", share=language.percent(flows.kept, 0)), answer, "tiers")


def _how_good(content: Content, language: Language) -> Finding:
    question = language.gettext("How good are the predictions?")
    headline = None if content.back_test is None else content.back_test.headline
    position = -1 if headline is None else next((place for place, column in enumerate(headline.columns) if column.metric == "J"), -1)
    measured = () if headline is None or position < 0 else headline.measured(position)
    if content.back_test is None or not measured:
        answer = language.gettext("The back-test has not been run for this day: run the stages evaluate and report.")
        return Finding(question, language.gettext("Unknown"), answer, "back-test")
    (_, value), *others = measured
    answers = [language.gettext("J of the tiers on the %(days)s days held back, where 0 is perfect.", days=content.back_test.horizon_days)]
    if others:
        best, other = min(others, key=lambda pair: pair[1].value)
        difference = best.differences[position]
        named = {"model": name_within_sentence(best, language), "value": language.decimal(other.value)}
        if difference is None:
            answers.append(language.gettext("Compare the best other model, %(model)s, with %(value)s.", **named))
        elif difference.verdict == "worse":
            answers.append(
                language.gettext(
                    "That is better than the best other model, %(model)s, with %(value)s: the paired difference excludes 0.", **named
                )
            )
        elif difference.verdict == "better":
            answers.append(
                language.gettext(
                    "That is worse than the best other model, %(model)s, with %(value)s: the paired difference excludes 0.", **named
                )
            )
        else:
            answers.append(language.gettext("No difference is shown from the best other model, %(model)s, with %(value)s.", **named))
    return Finding(question, f"J {language.decimal(value.value)}", " ".join(answers), "back-test")


def _trusted(content: Content, language: Language) -> Finding:
    quality, question = content.quality, language.gettext("Can the data be trusted?")
    if quality is None:
        return Finding(question, language.gettext("Unknown"), language.gettext("No run of clean has measured the data yet."), "quality")
    read = sum(source.rows_in for source in quality.sources)
    unusable = sum(source.quarantined for source in quality.sources)
    figure = language.gettext("%(share)s unusable", share=language.percent(unusable / read if read else 0.0))
    checks = len(quality.checks)
    if quality.failed:
        limits = language.ngettext(
            "%(n)s of %(all)s limits of the config is not met.",
            "%(n)s of %(all)s limits of the config are not met.",
            quality.failed,
            all=checks,
        )
    elif checks:
        limits = language.gettext("All %(all)s limits of the config are met.", all=checks)
    else:
        limits = language.gettext("The config sets no limit.")
    answer = language.gettext("Of the %(rows)s rows that the newest run of clean read.", rows=language.number(read))
    return Finding(question, figure, f"{answer} {limits}", "quality")
