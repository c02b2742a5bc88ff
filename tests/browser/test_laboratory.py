"""The laboratory in a real browser: the overview and a study, wide and narrow, light and dark, and printed."""

from __future__ import annotations

import pytest

from tests.gap_study import HELD, stored_gap_study

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("width", "theme"), [("wide", "light"), ("wide", "dark"), ("phone", "light"), ("phone", "dark")]
)
def test_a_study_is_read_from_its_sentence_to_every_run(project, bob, page_for, axe, shoot, width, theme):
    stored_gap_study(project, HELD)
    page = page_for(bob, width=width, theme=theme)
    page.goto("/p/letters-test/reports/laboratory/")
    page.get_by_role("link", name="On-policy against offline IPO").click()
    assert page.locator(".report-sentence").inner_text().startswith("Held: online IPO is above offline IPO")
    assert page.locator("svg.chart:visible").count() == 1
    assert page.locator("svg.chart:visible polyline.line").count() == 3
    page.get_by_text("Online IPO is above offline IPO at equal KL").last.click()
    assert page.locator("details[open] tbody tr").count() == 6
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    axe(page)
    shoot(page, f"study-{width}-{theme}")
    page.emulate_media(media="print")
    assert not page.locator(".no-print:visible").count()
