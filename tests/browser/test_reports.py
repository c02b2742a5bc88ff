"""The report pages in a real browser: wide and narrow, light and dark, with and without scripts."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

pytestmark = pytest.mark.django_db(transaction=True)
LOOKS = [("wide", "light"), ("wide", "dark"), ("phone", "light"), ("phone", "dark")]


@pytest.fixture
def told(project, bob, settings, tmp_path):
    """Sixty comparisons of two models, three people, two judges in both orders; some judged wrong."""
    from apps.exchange.services import import_file

    settings.VAR_DIR = tmp_path
    rows = []
    for i in range(60):
        truth = i % 2
        votes = [
            {"rater": name, "pair": [0, 1], "choice": truth if (i + k) % 5 else 1 - truth, "order": [0, 1]}
            for k, name in enumerate(("ann", "ben", "maria"))
        ]
        verdicts = [
            {"judge": judge, "pair": [0, 1], "order": order, "choice": truth if (i + k) % wrong else "tie"}
            for judge, wrong in (("careful", 17), ("hasty-judge-with-a-long-name", 3))
            for k, order in enumerate(([0, 1], [1, 0]))
        ]
        completions = [
            {"text": "Dear Maria, thank you so much." + " Yours." * (i % 3), "model": "big-model:2026"},
            {"text": "Hey, I got them.", "model": "small-model" if i % 4 else "old-model"},
        ]
        rows.append({"id": f"r{i}", "prompt": f"Thank Maria ({i}).", "completions": completions, "votes": votes})
        rows[-1]["verdicts"] = verdicts
    path = tmp_path / "told.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_file(project=project, path=path, name="told.jsonl", created_by=None, now=timezone.now())
    return project


def _no_overflow(page):
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_the_agreement_page(told, bob, page_for, axe, shoot, width, theme):
    page = page_for(bob, width=width, theme=theme)
    page.goto("/p/letters-test/reports/agreement/")
    assert page.get_by_role("heading", name="Can the judges be believed?").is_visible()
    visible = page.locator("svg.chart:visible")
    assert visible.count() >= 6
    assert page.locator("svg.chart:visible .is-human .mark").count() >= 2  # one person, two people
    assert "careful" in page.locator(".report-sentence").inner_text()
    _no_overflow(page)
    axe(page)
    shoot(page, f"agreement-{width}-{theme}")


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_the_leaderboard_page(told, bob, page_for, axe, shoot, width, theme):
    page = page_for(bob, width=width, theme=theme)
    page.goto("/p/letters-test/reports/leaderboard/")
    assert page.get_by_role("heading", name="Models by strength").is_visible()
    assert page.get_by_role("row", name="big-model:2026").first.is_visible()
    _no_overflow(page)
    axe(page)
    shoot(page, f"leaderboard-{width}-{theme}")


def test_a_cell_of_the_confusion_opens_its_pairs_and_a_pair_its_page(told, bob, page_for):
    page = page_for(bob)
    page.goto("/p/letters-test/reports/agreement/")
    figure = page.locator("figure", has=page.get_by_role("heading", name="careful", exact=True))
    figure.locator("svg a").nth(2).click()  # truth A, the judge said a tie
    page.wait_for_url("**judge=careful*said=tie*")
    rows = page.locator("#disagreements tbody tr")
    assert rows.count() >= 1
    rows.first.get_by_role("link").click()
    page.wait_for_url("**/comparisons/*/")


def test_reports_need_no_scripts(told, bob, page_for):
    page = page_for(bob, scripts=False)
    page.goto("/p/letters-test/reports/leaderboard/")
    page.get_by_label("Whose labels").select_option("human")
    page.get_by_role("button", name="Show").click()
    assert "180 games" in page.locator("main").inner_text()
    page.get_by_role("link", name="Agreement", exact=True).click()
    assert page.locator("svg.chart:visible").count() >= 6


def test_an_empty_project_says_what_to_do_next(project, bob, page_for, axe):
    page = page_for(bob)
    for path in ("agreement", "leaderboard"):
        page.goto(f"/p/letters-test/reports/{path}/")
        assert page.get_by_role("link", name="Import data").is_visible()
        axe(page)
