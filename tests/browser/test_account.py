"""Deleting one's account in a browser: by keyboard, confirmed by the password, and on every screen."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apps.accounts.models import User

pytestmark = pytest.mark.django_db(transaction=True)
GOOD = "correct horse staple"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "phone"])
def test_what_goes_fits_and_can_be_read(
    page_for, ann, project, make_comparison, make_vote, axe, fits, shoot, width, theme
):
    make_vote(make_comparison(project), "first", user=ann)
    page = page_for(ann, width=width, theme=theme)
    page.goto("/account/delete/")
    expect(page.get_by_role("row", name="Thank-you letters")).to_contain_text("1")
    axe(page)
    fits(page)
    shoot(page, f"account-{width}-{theme}")


def test_a_person_deletes_their_account_by_keyboard(page_for, ann):
    ann.set_password(GOOD)
    ann.save()
    page = page_for(ann)
    page.goto("/account/")
    page.get_by_role("link", name="Show what goes").press("Enter")
    page.get_by_label("Labels", exact=True).select_option("delete")
    page.get_by_label("Username").fill("ann")
    page.get_by_role("button", name="Delete the account").press("Enter")
    page.get_by_label("Password").fill(GOOD)
    page.keyboard.press("Enter")
    expect(page.get_by_text("The account ann is deleted.")).to_be_visible()
    assert User.objects.get(pk=ann.pk).deleted_at is not None
