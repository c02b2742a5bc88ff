"""Notifications in a real browser: the icon counts them, the page leads to what happened."""

from __future__ import annotations

import pytest

from apps.events import services
from apps.events.telling import tell
from apps.jobs.clock import database_now

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("width", ["wide", "tablet", "small"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_they_are_counted_read_and_marked(page_for, bob, project, width, theme, axe, fits, shoot):
    tell("review.waiting", project, loop=3, round=1, n=40)
    tell("loop.done", project, loop=3, rounds=2)
    services.turn(database_now())
    page = page_for(bob, width=width, theme=theme)
    page.goto("/p/letters-test/")
    fits(page)
    if width == "small":  # no room for the icon: it is in the menu of one's account
        page.get_by_label("your account").click()
        page.get_by_role("link", name="Notifications 2").click()
    else:
        page.get_by_role("link", name="2 unread notifications").click()
    page.get_by_role("link", name="Loop 3 waits for reviews of 40 pairs (round 1)").wait_for()
    fits(page)
    shoot(page, f"notifications-{width}-{theme}")
    axe(page)
    page.get_by_role("button", name="Mark all as read").click()
    page.get_by_role("button", name="Mark all as read").wait_for(state="detached")
