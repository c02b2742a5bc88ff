"""Passkeys, with Chromium's own virtual authenticator: one is added, signs in alone, confirms, and is removed."""

from __future__ import annotations

import re

import pytest
from allauth.mfa.models import Authenticator

from apps.core.models import AuditEvent

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
GOOD = "correct horse staple"


@pytest.fixture
def authenticator():
    """authenticator(page): a device that keeps passkeys and knows its owner; returns what speaks with it and its id."""

    def make(page):
        devtools = page.context.new_cdp_session(page)
        devtools.send("WebAuthn.enable", {"enableUI": False})
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        found = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        return devtools, {"authenticatorId": found["authenticatorId"]}

    return make


def test_a_passkey_from_its_making_to_its_removal(make_user, page_for, authenticator, axe, fits, settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    make_user("dora", password=GOOD)
    page = page_for(None)
    devtools, device = authenticator(page)

    page.goto("/login/?next=/account/second-factor/")
    axe(page)
    page.get_by_label("Username").fill("dora")
    page.get_by_label("Password").fill(GOOD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("link", name="Add a passkey").click()
    axe(page)
    page.get_by_label("Name").fill("Laptop")
    page.get_by_role("button", name="Add a passkey").click()
    page.wait_for_url("**/account/second-factor/codes/")
    axe(page)
    fits(page)
    page.get_by_role("link", name="Done").click()
    page.get_by_text("Laptop").wait_for()
    axe(page)

    # alone, without name or password
    page.get_by_label(re.compile("dora: your account")).click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url(re.compile(r"/$"))

    # after a password, in another browser, whose device does not have it: refused; with it: let in
    credential = devtools.send("WebAuthn.getCredentials", device)["credentials"][0]
    other = page_for(None, width="phone")
    devtools, device = authenticator(other)
    other.goto("/login/?next=/account/second-factor/")
    other.get_by_label("Username").fill("dora")
    other.get_by_label("Password").fill(GOOD)
    other.get_by_role("button", name="Sign in", exact=True).click()
    other.wait_for_url("**/login/second-factor/")
    axe(other)
    other.get_by_role("button", name="Use a passkey").click()
    other.get_by_text("No passkey was given").wait_for()
    devtools.send("WebAuthn.addCredential", {**device, "credential": credential})
    other.get_by_role("button", name="Use a passkey").click()
    other.wait_for_url("**/account/second-factor/")
    fits(other)
    axe(other)

    other.set_viewport_size({"width": 360, "height": 640})
    other.goto("/account/sessions/")
    fits(other)
    ends = [one.bounding_box() for one in other.get_by_role("button", name="Sign out", exact=True).all()]
    assert [one["x"] + one["width"] <= 344 for one in ends] == [True, True], "the list scrolls sideways for no button"
    other.goto("/account/second-factor/")

    # a session that has not just begun is asked once more before the passkey goes
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = -1
    other.get_by_role("link", name="Remove").click()
    other.wait_for_url("**/account/confirm/**")
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
    other.get_by_role("link", name="Use a passkey instead").click()
    axe(other)
    other.get_by_role("button", name="Use a passkey").click()
    other.wait_for_url("**/remove/")
    other.get_by_role("button", name="Remove").click()
    other.get_by_text("The passkey no longer signs you in.").wait_for()
    assert not Authenticator.objects.exists()
    by = [row.data["by"] for row in AuditEvent.objects.filter(verb="sign_in").order_by("id")]
    assert by == [["password"], ["webauthn"], ["password", "webauthn"]]
