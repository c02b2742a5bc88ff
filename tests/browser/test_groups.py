"""Groups of members on the People page, and a batch for one: by keyboard, and on every screen."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.projects.groups import group_create
from apps.projects.models import Role
from apps.rankings.batch_models import Batch

pytestmark = pytest.mark.django_db(transaction=True)
PEOPLE, BATCHES = "/p/letters-test/reports/people/", "/p/letters-test/review/batches/"


@pytest.fixture
def people(transactional_db, project, member, make_comparison):
    for _ in range(4):
        make_comparison(project)
    return [member(name, Role.ANNOTATOR) for name in ("dora", "emil", "fatima")]


def test_a_lead_makes_and_fills_a_group_by_keyboard(page_for, bob, project, people):
    page = page_for(bob)
    page.goto(PEOPLE)
    page.get_by_label("Name of the group").focus()
    page.keyboard.type("night shift")
    page.keyboard.press("Tab")
    page.get_by_label("emil").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Make the group").press("Enter")
    row = page.locator(".groups-list li", has_text="night shift")
    expect(row).to_contain_text("emil")
    row.locator("summary").press("Enter")
    row.get_by_label("fatima").press("Space")
    row.get_by_role("button", name="Save the group").press("Enter")
    expect(page.locator(".groups-list li", has_text="night shift").locator("summary")).to_contain_text("emil, fatima")
    page.goto(BATCHES)
    page.get_by_label("Name", exact=True).fill("first")
    page.get_by_label("night shift (2)").check()
    page.get_by_role("button", name="Make the batch").click()
    expect(page.locator("td", has_text="emil, fatima")).to_contain_text("night shift")
    assert [group.name for group in Batch.objects.get().groups.all()] == ["night shift"]


@pytest.mark.parametrize(("width", "theme"), [("wide", "light"), ("tablet", "dark"), ("small", "light")])
def test_on_every_screen(page_for, bob, project, people, axe, fits, shoot, width, theme):
    for name, members in (("night shift", people), ("those who read Portuguese and Spanish letters", people[:1])):
        group_create(project=project, name=name, members=members, by=bob)
    page = page_for(bob, width=width, theme=theme)
    page.goto(PEOPLE)
    page.locator(".groups-list summary").first.click()
    page.locator(".groups-list form").first.scroll_into_view_if_needed()
    axe(page)
    fits(page)
    shoot(page, f"groups-{width}")
    page.goto(BATCHES)
    page.get_by_label("Name", exact=True).fill("first")
    page.get_by_label("night shift (3)").check()
    page.get_by_role("checkbox", name="bob").check()
    page.get_by_role("button", name="Make the batch").click()
    page.locator("td", has_text="dora, emil, fatima").wait_for()
    axe(page)
    fits(page)
    shoot(page, f"batches-groups-{width}")
