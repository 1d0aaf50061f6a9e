"""Reasons of recommendations in other languages: the table has them in English."""

from __future__ import annotations

import re

from interest_tiers.report.language import LANGUAGES, N_, Language

#: A part of a reason, as recommend.reasons writes it, and its message.
_PARTS = (
    (
        r"yours on (?P<days>\d+) days?, last (?P<age>\d+) days? ago, usually every (?P<gap>\d+) days?",
        N_("yours on %(days)s days, last %(age)s days ago, usually every %(gap)s days"),
    ),
    (r"yours on (?P<days>\d+) days?, last (?P<age>\d+) days? ago", N_("yours on %(days)s days, last %(age)s days ago")),
    (r"new to (?P<users>\d+) users in 28 days", N_("new to %(users)s users in 28 days")),
    (r"(?P<share>\d+) % of the cluster (?P<cluster>.+) had it", N_("%(share)s %% of the cluster %(cluster)s had it")),
    (r"users of your (?P<item>.+) had it too", N_("users of your %(item)s had it too")),
    (r"(?P<interest>.+), a core interest", N_("%(interest)s, a core interest")),
    (r"(?P<interest>.+), a secondary interest", N_("%(interest)s, a secondary interest")),
    (r"(?P<interest>.+), a marginal interest", N_("%(interest)s, a marginal interest")),
    (r"(?P<interest>.+), a new interest", N_("%(interest)s, a new interest")),
)


def translate_reason(reason: str, language: Language) -> str:
    """Translate the parts of a reason that are known; others stay as they are."""
    if language.code == LANGUAGES[0]:
        return reason
    return language.gettext("; ").join(_translate_part(part, language) for part in reason.split("; "))


def _translate_part(part: str, language: Language) -> str:
    for pattern, message in _PARTS:
        found = re.fullmatch(pattern, part, re.DOTALL)
        if found:
            return language.gettext(message, **found.groupdict())
    return part
