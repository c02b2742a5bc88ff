"""PREFLOOP_MFA_REQUIRED: who must have a second factor sets one up before anything else."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
FACTOR = "/account/second-factor/"


@pytest.fixture
def root(make_user):
    return make_user("root", is_superuser=True, is_staff=True)


def test_an_owner_without_a_second_factor_gets_no_further(alice, ann, root, project, settings, client_for, api_for):
    page, settings_page = f"/p/{project.slug}/", f"/p/{project.slug}/settings/"
    owner, annotator = client_for(alice), client_for(ann)
    api = api_for(alice)
    assert owner.get(page).status_code == 200, "by default nobody must"
    settings.MFA_REQUIRED = "owners"
    for path in (page, settings_page, "/", "/account/", "/account/tokens/", "/account/password/", "/jobs/", "/audit/"):
        for client in (owner, client_for(root)):
            led = client.get(path)
            assert (led.status_code, led.headers["Location"]) == (302, f"{FACTOR}?needed=1"), path
    assert b"You need a second factor here" in owner.get(f"{FACTOR}?needed=1").content
    sentence = f"You need a second factor here. Set one up at {FACTOR} first."
    for answer in (
        owner.post("/account/tokens/", {"scope": "manage", "days": 90}),
        owner.post(f"{settings_page}general/", {"name": "Other"}),
        owner.get(page, headers={"HX-Request": "true"}),
        owner.get(page, headers={"Sec-Fetch-Mode": "cors"}),
    ):
        assert (answer.status_code, answer.content.decode()) == (403, sentence)
    project.refresh_from_db()
    assert project.name == "Thank-you letters"
    # what they need in order to set one up, to read it in their language, and to leave
    for path in (FACTOR, "/healthz"):
        assert owner.get(path).status_code == 200, path
    assert owner.get(f"{FACTOR}app/").status_code in {302, 403}, "asks who it is, and not for the factor"
    assert owner.post("/account/language/", {"language": "en", "next": "/"}).status_code == 302
    # an API token goes on; so does who owns nothing
    assert api.get(f"/api/v1/projects/{project.slug}/").status_code == 200
    assert annotator.get(page).status_code == 200
    settings.MFA_REQUIRED = "everybody"
    assert annotator.get(page).headers["Location"] == f"{FACTOR}?needed=1"
    Authenticator.objects.create(user=ann, type="recovery_codes", data={})
    assert annotator.get(page).status_code == 302, "these stand in for a factor, and are none"
    Authenticator.objects.create(user=ann, type="totp", data={})
    assert annotator.get(page).status_code == 200
    assert owner.post("/account/logout/").headers["Location"] == "/login/"
