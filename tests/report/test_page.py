"""The page: complete in itself, safe with hostile texts, and plain about what is missing."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from interest_tiers.report.cluster_plots import _spread
from interest_tiers.report.cluster_profiles import ClusterChange, ClusterHistory, Profile, ProfileBar
from interest_tiers.report.clusters import Cluster, SilhouetteChoice, UserMap
from interest_tiers.report.comparison import describe_back_test
from interest_tiers.report.content import Content
from interest_tiers.report.flows import Flow, Flows
from interest_tiers.report.interest_map import InterestPoint
from interest_tiers.report.language import Language
from interest_tiers.report.numbers import format_decimal, format_number, format_percent
from interest_tiers.report.page import STORIES_OPEN, draw_pictures, render
from interest_tiers.report.quality import Check, DataQuality, ReasonQuality, SourceQuality
from interest_tiers.report.rows import QuarantineReason, StageRun, Totals
from interest_tiers.report.stories import Story, StoryCluster, StoryInterest, StoryRecommendation
from interest_tiers.report.tiers import CoreInterest, TierShare, TierSummary

HOSTILE = "<script>alert('x')</script> & $\\frac{1}$ \x0b 牛乳"
DAY = date(2018, 1, 1)
MEASURES = [
    {"metric": metric, "slice": where, "value": value, "lower": value - 0.01, "upper": value + 0.01}
    for metric, where, value in [
        ("J", "model=rule_calibrated", 0.376),
        ("J", "model=class_prior", 0.421),
        ("ndcg@5", "items=all,model=recommender", 0.531),
        ("ndcg@5", "items=all,model=popularity", 0.268),
        ("ndcg@5", "items=all,model=popularity,minus=recommender", -0.263),
        ("coverage@5", "items=all,model=recommender", 0.4),
        ("coverage@5", "items=all,model=popularity", 0.02),
        ("ndcg@5", "items=all,model=ease", 0.2),
        ("coverage@5", "items=all,model=ease", 0.1),
        ("ndcg@5", "items=all,model=without_text", 0.521),
        ("ndcg@5", "items=all,model=without_text,minus=recommender", -0.01),
        ("mean_probability_core", "bin=2,model=user_tiers", 0.17),
        ("observed_share_core", "bin=2,model=user_tiers", 0.19),
        ("n_pairs_core", "bin=2,model=user_tiers", 120.0),
    ]
]
CONTENT = Content(
    name="shop",
    as_of=DAY,
    horizon_days=91,
    totals=Totals(users=1234, interactions=5_678_901, items=10, interests=2, recommendations=30, quarantined=40),
    stages=(StageRun("clean", "run-1", "done", "2026-01-05 10:00", 12.34, 1469307, 1340000, HOSTILE, "0.1.0", "c0ffee" * 8),),
    reasons=(QuarantineReason("interactions", "quantity > 0", 30), QuarantineReason("items", "item_id: missing", 10)),
    quality=DataQuality(
        "run-1",
        "2026-01-05 09:59",
        checks=(
            Check("web", "rows that cannot be used", "", 0.4, 0.3, "share", "at most", passed=False),
            Check("all", "users left", "", 1234, 100, "count", "at least", passed=True),
            Check("web", "rows read, against the run before, larger over smaller", "", 1.25, 3, "factor", "at most", passed=True),
            Check("web", "age of the newest event", "", 1, 7, "days", "at most", passed=True),
        ),
        sources=(
            SourceQuality("web", False, 1000, 800, 590, 400, 10, 2, 3, -1.5, 1234.5, 1, 365, (("user_id", 0.0123), ("text", 1.0))),
            SourceQuality("shop", True, 50, None, 50, 0, 0, 0, 0, None, None, None, None, (("user_id", 0.0),)),
        ),
        reasons=(
            ReasonQuality("web", "quantity > 0", 390, 0.39, False, '{"user":"00000","note":"' + HOSTILE + '"}'),
            ReasonQuality("shop", "value: not a number", 2, 0.04, None, None),
        ),
    ),
    tiers=TierSummary(
        users=1234,
        pairs=1000,
        tiers=(
            TierShare("core", 122, 0.122, 1000, 0.1, 1, 2, 3),
            TierShare("secondary", 151, 0.151, 900, 0.1, 0, 2, 3),
            TierShare("marginal", 727, 0.727, 800, 0.6, 4, 5, 6),
        ),
        methods=(("rule", "v1"),),
    ),
    core_interests=(CoreInterest(HOSTILE, 100, 20), CoreInterest("TEA", 22, 131)),
    clusters=(Cluster("a", HOSTILE, 900, 0.75, 0.5, (HOSTILE, "TEA")), Cluster("b", "Tea", 300, 0.25, None, ())),
    user_map=UserMap(((0.0, 1.0), (1.0, 0.0), (-1.0, 0.0)), ("a", "b", "a"), (0.4, 0.2), 1234, (0.6, None, -0.1)),
    silhouettes=SilhouetteChoice(((8, 0.4), (12, 0.3)), 8),
    stories=(
        Story(
            user_id="household-7",
            interests=(
                StoryInterest("TEA", 9.0, 0.6, 5, 2, "core", 0.7, 0.2, 0.1),
                StoryInterest("OIL", 1.0, 0.1, 1, 9, None, None, None, None),
            ),
            n_interests=6,
            clusters=(StoryCluster("Tea", 0.75, True),),
            recommendations=(StoryRecommendation(1, "i1", HOSTILE, "TEA", "core", 2.5, HOSTILE),),
            months=(("2017-11", 4), ("2017-12", 0), ("2018-01", 8)),
        ),
    ),
    flows=Flows(date(2017, 10, 1), (Flow("core", 100, (0.7, 0.2, 0.1, 0.0)), Flow("none", 5, (0.0, 0.0, 1.0, 0.0))), 0.61, 1200, 34, 5),
    interest_points=tuple(InterestPoint(name, x, x, 9, 3, (HOSTILE,)) for name, x in ((HOSTILE, 0.1), ("TEA", 0.5), ("RED WINE", 0.9))),
    back_test=describe_back_test(MEASURES, DAY, 91),
    profiles=(Profile("a", HOSTILE, (ProfileBar(HOSTILE, 0.2, 4.0), ProfileBar("TEA", 0.1, 1.25))), Profile("b", "Tea", ())),
    history=ClusterHistory(
        date(2017, 12, 1),
        (ClusterChange("split", HOSTILE, "Tea", 40), ClusterChange("died", "OLD WINE", "", 0), ClusterChange("kept", "Tea", "", 9)),
    ),
)


@pytest.fixture(scope="module")
def html() -> str:
    return render(CONTENT)


def text_of(html: str) -> str:
    """The page without tags and styles, white space collapsed."""

    parts: list[str] = []

    class Reader(HTMLParser):
        in_style = False

        def handle_starttag(self, tag: str, attributes: object) -> None:
            self.in_style = tag in ("style", "script")

        def handle_data(self, data: str) -> None:
            if not self.in_style:
                parts.append(data)

    Reader().feed(html)
    return " ".join(" ".join(parts).split())


def test_the_page_loads_nothing(html: str) -> None:
    assert "http://" not in html and "https://" not in html
    assert all(source.startswith("data:image/") for source in re.findall(r'src="([^"]*)"', html))
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', html))
    assert "<link" not in html and "@import" not in html and "url(" not in html
    assert "default-src 'none'" in html


def test_the_one_script_is_the_one_that_the_policy_allows(html: str) -> None:
    [script] = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


def test_the_first_screen_answers_five_questions_and_facts_of_the_run_come_last(html: str) -> None:
    text = text_of(html).replace("\N{NO-BREAK SPACE}", " ")
    for expected in (
        "Who are the users? 1,234 users In 2 groups of users with similar interests. The largest has 75 % of them:",
        "What do they care about? 2 core interests The median number per user.",
        "What changed? 61 % kept Of the interests that are core on 2017-10-01 or on 2018-01-01, this share is core on both days.",
        "34 users are new, 5 have no tiers any more.",
        "How good are the predictions? J 0.376 J of the tiers on the 91 days held back, where 0 is perfect.",
        "Compare the best other model, class prior, with 0.421.",
        "Can the data be trusted? 38.1 % unusable Of the 1,050 rows that the newest run of clean read. 1 of 4 limits of the config",
    ):
        assert expected in text, expected
    sections = re.findall(r'<section id="([^"]*)"', html)
    assert sections == ["found", "tiers", "interests", "clusters", "choice", "users", "back-test", "quality", "rows"]


def test_names_in_capitals_are_set_in_sentence_case_with_their_own_in_a_tooltip(html: str) -> None:
    assert html.count('<span title="RED WINE">') == 0, "a map has its own tooltips"
    many = replace(CONTENT, clusters=(Cluster("a", "RED WINE · OLIVE OIL", 900, 1.0, 0.5, ("RED WINE",)),))
    page = render(many)
    assert '<span title="RED WINE · OLIVE OIL">Red wine · Olive oil</span>' in page
    assert '<span title="RED WINE">Red wine</span>' in page


def test_long_texts_of_items_are_cut_so_that_the_page_stays_small() -> None:
    story = CONTENT.stories[0]
    long = replace(story, recommendations=(StoryRecommendation(1, "i1", "ARTICLE TEXT " * 500, "TEA", "core", 2.5, "yours"),))
    assert len(render(replace(CONTENT, stories=(long,)))) < len(render(replace(CONTENT, stories=(story,)))) + 1000
    clusters = (replace(CONTENT.clusters[0], top_items=("ARTICLE TEXT " * 500,)), *CONTENT.clusters[1:])
    assert len(render(replace(CONTENT, clusters=clusters))) < len(render(CONTENT)) + 1000


def test_a_user_has_a_timeline_and_most_users_are_behind_a_click(html: str) -> None:
    assert "Events by month, 2017-11 to 2018-01: 4, 0, 8." in html
    assert '<details id="further">' not in html
    page = render(replace(CONTENT, stories=CONTENT.stories * (STORIES_OPEN + 3)))
    assert page.count('<details class="user"') == STORIES_OPEN + 3
    assert "<summary>3 further users</summary>" in page
    assert page.count("<details") == page.count("</details>")


def test_hostile_texts_are_escaped_wherever_they_stand(html: str) -> None:
    assert html.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; $\\frac{1}$") >= 5


def test_every_chart_has_a_text_and_is_whole(html: str) -> None:
    images = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)" alt="([^"]+)">', html)
    assert len(images) == 12
    for source, alternative in images:
        assert len(alternative) > 40
        ElementTree.fromstring(base64.b64decode(source))


def test_the_links_lead_to_the_sections(html: str) -> None:
    sections = set(re.findall(r'<section id="([^"]*)"', html)) - {"found"}
    assert set(re.findall(r'href="#([^"]*)"', html)) == sections | {"found-title"}


def test_numbers_stand_on_the_page_as_people_write_them(html: str) -> None:
    text = text_of(html)
    for expected in ("5,678,901", "1,469,307", "12.3", "12.2 %", "75.0 %", "0.376", "0.366 – 0.386", "household-7", "0.70 / 0.20 / 0.10"):
        assert expected in text, expected


def test_the_sample_says_of_how_many_it_is(html: str) -> None:
    assert "The map is a sample of 3 of 1,234 users" in text_of(html)


def test_the_back_test_says_when_and_which_direction_is_better(html: str) -> None:
    text = text_of(html)
    assert "computed as of the cutoff 2017-10-02, from data before that day only" in text
    assert "in the 91 days from 2017-10-02 up to 2018-01-01" in text
    assert "For J, calibration errors and miscalibration lower is better; for the other metrics higher is better" in text
    assert "For all items, NDCG@5 (higher is better): recommender 0.531, best baseline, popularity, 0.268 (+98.1 %)" in text


def test_models_are_compared_by_paired_differences(html: str) -> None:
    text = text_of(html)
    assert "overlap" not in text
    assert "(+98.1 %). The baseline is worse: paired difference −0.263, 95 % interval −0.273 to −0.253." in text
    assert "Difference from Recommender, all items" in text
    assert "Popularity −0.263 worse −0.273 to −0.253" in text
    assert text.count("Difference from") == 1, "the tiers have no differences here"


def test_levels_of_a_hierarchy_have_tables_of_their_own_and_the_finest_is_drawn() -> None:
    measures = [{**row, "slice": f"level={level},{row['slice']}"} for level in ("department", "kind") for row in MEASURES[:2]]
    back_test = describe_back_test(measures, DAY, 91, levels=["department", "kind"])
    assert back_test is not None
    text = text_of(render(replace(CONTENT, back_test=back_test)))
    for expected in ("Tiers against the baselines, level: department", "Tiers against the baselines, level: kind", "For level: kind, J"):
        assert expected in text, expected
    assert "all levels" not in text and "For level: department" not in text
    picture = draw_pictures(replace(CONTENT, back_test=back_test), Language())["tier_metrics"]
    assert picture is not None and "level: kind" in picture.alternative and "department" not in picture.alternative


def test_the_quality_of_the_data_says_first_what_is_wrong(html: str) -> None:
    text = text_of(html)
    for expected in (
        "1 of 4 limits is not met. The quality gate refused that run",
        "rows that cannot be used web 40.0 % at most 30.0 % not met users left all 1,234 at least 100 met",
        "1.25 × at most 3.00 × met",
        "1 day at most 7 days met",
        "web 1,000 +25.0 % against the run before 590 59.0 % 400 40.00 % 10 1.00 % 0 2 3 -1.5 to 1,234.5 1 to 365 days",
        "shop 50 first run 50 100.0 % 0 0.00 % 0 0.00 % 0 0 0 – –",
        "Missing values · share of the distinct rows of a source source user_id text web 1.23 % 100.00 % shop 0.00 % –",
        "quantity > 0 web 390 39.00 %",
        "Rows of other sources in quarantine",
        "item_id: missing items 10 25.0 %",
    ):
        assert expected in text.replace("\N{NO-BREAK SPACE}", " "), expected
    assert "share of the quarantine" in text and "quantity > 0 interactions 30" in text  # a source that the quality does not tell of


def test_a_run_that_meets_its_limits_says_so() -> None:
    assert CONTENT.quality is not None
    met = replace(CONTENT.quality, checks=CONTENT.quality.checks[1:])
    text = text_of(render(replace(CONTENT, quality=met)))
    assert "All 3 limits of the config are met. Measured by clean in run run-1 , 2026-01-05 09:59 UTC." in text
    assert "refused" not in text


def test_what_is_missing_is_said_in_words() -> None:
    bare = replace(
        CONTENT,
        flows=None,
        interest_points=(),
        stages=(),
        reasons=(),
        quality=None,
        core_interests=(),
        user_map=None,
        silhouettes=SilhouetteChoice((), None),
        stories=(),
        back_test=None,
    )
    text = text_of(render(bare))
    for expected in (
        "No run of a stage is on record for this day.",
        "No run of clean has measured the data yet.",
        "No row is in quarantine.",
        "What changed? First day No earlier day than 2018-01-01 has tiers.",
        "How good are the predictions? Unknown",
        "Interests have no embeddings, so there is no map.",
        "Too few users for a map.",
        "No silhouette is on record for 2018-01-01.",
        "No user has a cluster and a tier.",
        "The back-test has not been run for 2018-01-01",
    ):
        assert expected in text, expected


def test_the_same_content_gives_the_same_page(html: str) -> None:
    assert render(CONTENT) == html


def test_user_ids_are_only_in_their_story(html: str) -> None:
    assert html.count("household-7") == 1


def test_many_clusters_and_missing_intervals_can_be_drawn() -> None:
    clusters = tuple(Cluster(str(n), f"Cluster {n} with a name too long for one line", 10, 0.02, 0.1, ()) for n in range(40))
    user_map = UserMap(tuple((float(n), float(n % 7)) for n in range(40)), tuple(map(str, range(40))), (0.5, 0.1), 40)
    measures = [{**row, "lower": None, "upper": None} for row in MEASURES[:2]]
    pictures = draw_pictures(
        replace(CONTENT, clusters=clusters, user_map=user_map, back_test=describe_back_test(measures, DAY, 91)), Language()
    )
    assert pictures["user_map"] is not None and pictures["tier_metrics"] is not None
    assert pictures["recommendation_metrics"] is None


@pytest.mark.parametrize("heights", [[0.9, 0.89, 0.5, 0.1], [0.5] * 5, [1.0] * 4, [0.0] * 4, [0.99, 0.98, 0.02, 0.01]])
def test_labels_keep_their_distance_and_stay_beside_the_map(heights: list[float]) -> None:
    spread = _spread(heights, gap=0.2)
    assert all(above - below >= 0.2 - 1e-9 for above, below in pairwise(spread))
    assert max(spread) <= 0.9 + 1e-9 and min(spread) >= 0.1 - 1e-9


def test_labels_that_are_apart_stay_where_they_are() -> None:
    assert _spread([0.8, 0.5, 0.2], gap=0.1) == [0.8, 0.5, 0.2]


def test_numbers_are_formatted() -> None:
    assert (format_number(1234567), format_number(None)) == ("1,234,567", "–")
    assert (format_decimal(0.52361), format_decimal(1234.5, 1), format_decimal(None)) == ("0.524", "1,234.5", "–")
    assert (format_percent(0.1219), format_percent(None)) == ("12.2\N{NO-BREAK SPACE}%", "–")
