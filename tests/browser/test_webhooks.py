"""Webhooks in a real browser: make one, copy its secret, send a test event, read the log."""

from __future__ import annotations

import pytest
from django.utils import timezone

from apps.events import services
from apps.events.models import Delivery
from apps.jobs.clock import database_now
from apps.jobs.drain import drain
from tests.apps.events.conftest import receiver  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/p/letters-test/settings/webhooks/"


def test_a_webhook_is_made_tested_and_its_log_read(page_for, alice, receiver, axe):  # noqa: F811
    page = page_for(alice)
    page.goto("/p/letters-test/settings/")
    page.get_by_role("link", name="Webhooks").click()
    page.get_by_label("Address").fill(receiver.url)
    page.get_by_label("A loop is done").check()
    page.get_by_role("button", name="Create webhook").click()
    assert page.locator("#new-secret").inner_text().startswith("whsec_")
    axe(page)
    page.get_by_role("link", name=receiver.url).click()
    page.get_by_role("button", name="Send a test event").click()
    page.get_by_text("A test event is on its way").wait_for()
    services.turn(database_now())
    drain(["cpu"], worker_name="w")
    page.reload()
    assert "sent" in page.locator("tbody tr").inner_text()
    assert len(receiver.got) == 1
    axe(page)


@pytest.mark.parametrize("width", ["wide", "tablet", "small"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_fit(page_for, alice, project, receiver, width, theme, axe, fits, shoot):  # noqa: F811
    made, _ = services.webhook_create(project=project, url=receiver.url, kinds=["loop.done", "vote.created"], by=alice)
    for _n in range(2):
        services.webhook_ping(webhook=made, now=timezone.now())
    Delivery.objects.filter(pk=Delivery.objects.last().pk).update(state="failed", attempts=10, said="it answered 500")
    page = page_for(alice, width=width, theme=theme)
    for name, path in (
        ("list", PAGE),
        ("one", f"{PAGE}{made.pk}/"),
        ("labels", "/p/letters-test/settings/?tab=labels"),
    ):
        page.goto(path)
        fits(page)
        shoot(page, f"webhooks-{name}-{width}-{theme}")
        axe(page)
