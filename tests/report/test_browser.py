"""The page in a real Chromium: no errors, a search that finds, nothing wider than a phone, and what axe-core says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

from interest_tiers.report.page import STORIES_OPEN, render
from tests.report.test_page import CONTENT

CHROMIUM = shutil.which("chromium")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with ten users, of whom one has oil and the others tea alone."""
    story = CONTENT.stories[0]
    others = [replace(story, user_id=f"tea-{n}", interests=story.interests[:1]) for n in range(STORIES_OPEN + 1)]
    file = tmp_path_factory.mktemp("report") / "index.html"
    file.write_text(render(replace(CONTENT, stories=(*others, story))), encoding="utf-8")
    return file


def open_page(browser: Any, path: Path, viewport: dict[str, int]) -> tuple[Page, list[str]]:
    page, errors = browser.new_page(viewport=viewport), []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"file://{path}")
    return page, errors


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_it_opens_without_errors_and_is_no_wider_than_the_screen(browser: Any, path: Path, viewport: dict[str, int]) -> None:
    page, errors = open_page(browser, path, viewport)
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


@pytest.mark.slow
def test_values_of_cards_end_at_the_right_edge_though_they_wrap(browser: Any, path: Path) -> None:
    page, _ = open_page(browser, path, {"width": 250, "height": 800})
    found = page.evaluate(
        """[...document.querySelectorAll("#back-test td .interval")].map(interval => {
          const cell = interval.parentElement.getBoundingClientRect(), own = interval.getBoundingClientRect();
          return [Math.abs(cell.right - own.right) <= 1, own.top > cell.top + 12];
        })"""
    )
    assert all(at_right for at_right, _ in found)
    assert any(is_wrapped for _, is_wrapped in found)


@pytest.mark.slow
def test_the_search_shows_the_users_whose_text_has_every_word(browser: Any, path: Path) -> None:
    page, _ = open_page(browser, path, DESK)
    users = page.locator("details.user")
    assert users.count() == STORIES_OPEN + 2
    page.fill("#search", "oil household")
    assert next(user for user in users.all() if user.is_visible()).inner_text().startswith("User household-7")
    assert page.locator("details.user:visible").count() == 1
    assert page.inner_text("#matches") == f"1 of {STORIES_OPEN + 2} users"
    page.fill("#search", "nobody has this")
    assert page.locator("details.user:visible").count() == 0
    page.fill("#search", "")
    assert page.locator("details.user:visible").count() == STORIES_OPEN + 2


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_axe_finds_nothing_serious(browser: Any, path: Path, viewport: dict[str, int]) -> None:
    page, _ = open_page(browser, path, viewport)
    found = Axe().run(page).response["violations"]
    assert [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in found if fault["impact"] in ("serious", "critical")] == []
