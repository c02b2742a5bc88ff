"""API tokens: shown once, of one scope, for a while, and ended with the password that made them."""

from __future__ import annotations

import importlib
import re
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from django.apps import apps as registry
from django.db import connection
from django.utils import timezone
from knox.models import AuthToken

from apps.accounts import services
from apps.accounts.forms import TokenForm
from apps.accounts.models import Scope, TokenScope
from apps.core.models import AuditEvent

pytestmark = pytest.mark.django_db
GOOD = "correct horse staple"
REPORT = "/api/v1/projects/letters-test/reports/agreement/"


@pytest.fixture
def dora(make_user):
    return make_user("dora", password=GOOD)


def _asked(client, text):
    return client.get("/api/v1/loops/999999/", headers={"authorization": f"Token {text}"}).status_code


WORKS, REFUSED = 404, 401  # there is no such loop; the token is none


def test_a_token_is_shown_once_works_and_ends_when_revoked(client, client_for, dora):
    mine = client_for(dora)
    page = mine.post("/account/tokens/", {"days": "30", "scope": "read"}).content.decode()
    text = re.search(r'id="new-token">(\w+)<', page).group(1)
    later = mine.get("/account/tokens/").content.decode()
    assert text not in later
    assert '<span class="chip">read</span>' in later
    row = dora.auth_token_set.get()
    assert text not in str(row.__dict__)
    assert timedelta(days=29) < row.expiry - timezone.now() < timedelta(days=31)
    assert _asked(client, text) == WORKS
    mine.post("/account/tokens/revoke/", {"prefix": row.token_key})
    assert _asked(client, text) == REFUSED


@pytest.mark.parametrize(
    "sent", [{"days": "0", "scope": "read"}, {"days": "90"}, {"days": "90", "scope": "all"}, {"scope": "read"}]
)
def test_a_token_without_an_end_or_a_scope_is_not_made(client_for, dora, sent):
    assert client_for(dora).post("/account/tokens/", sent).status_code == 400
    assert not AuthToken.objects.exists()


def test_no_choice_of_the_page_is_longer_than_may_be():
    days = [value for value, _ in TokenForm().fields["days"].choices]
    assert 0 < min(days) <= max(days) <= services.MOST_TOKEN_DAYS


@pytest.mark.parametrize("days", [-1, 0, services.MOST_TOKEN_DAYS + 1])
def test_a_lifetime_out_of_bounds_is_refused(dora, days):
    with pytest.raises(services.AccountRefused, match="1 to 365 days"):
        services.token_create(user=dora, lifetime=timedelta(days=days))
    assert not AuthToken.objects.exists()


def test_a_token_lasts_as_long_as_the_settings_say_unless_told_otherwise(client, dora, settings):
    row, text = services.token_create(user=dora)
    assert abs(row.expiry - timezone.now() - settings.TOKEN_LIFETIME) < timedelta(minutes=1)
    assert _asked(client, text) == WORKS
    AuthToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert _asked(client, text) == REFUSED


def test_nobody_revokes_the_token_of_another(client_for, dora, make_user):
    row, _ = services.token_create(user=make_user("eve"))
    client_for(dora).post("/account/tokens/revoke/", {"prefix": row.token_key})
    row.refresh_from_db()


def test_a_new_password_ends_all_tokens_of_the_person_and_of_nobody_else(client, client_for, dora, make_user):
    mine = [services.token_create(user=dora, scope=Scope.READ)[1] for _ in range(3)]
    _, of_eve = services.token_create(user=make_user("eve"))
    browser = client_for(dora)
    assert b"API tokens revoked" in browser.get("/account/password/").content
    assert b"All your tokens are revoked" in browser.get("/account/tokens/").content
    wrong = {"current": "wrong", "password": "another long secret"}
    assert browser.post("/account/password/", wrong).status_code == 400
    assert [_asked(client, text) for text in mine] == [WORKS] * 3
    assert browser.post("/account/password/", wrong | {"current": GOOD}).status_code == 302
    assert [_asked(client, text) for text in mine] == [REFUSED] * 3
    assert _asked(client, of_eve) == WORKS
    assert AuditEvent.objects.get(verb="password.set").data == {"n_tokens_revoked": 3}


def test_a_password_set_by_a_link_ends_all_tokens(client, client_for, dora):
    _, text = services.token_create(user=dora)
    browser = client_for(None)
    browser.post(urlsplit(services.login_link_create(user=dora, now=timezone.now())).path)
    assert b"API tokens are revoked" in browser.get("/account/password/set/").content
    assert _asked(client, text) == WORKS
    assert browser.post("/account/password/set/", {"password": "another long secret"}).status_code == 302
    assert _asked(client, text) == REFUSED


def test_a_token_may_do_no_more_than_its_person(api_for, ann, alice):
    assert api_for(ann, "manage").get(REPORT).status_code == 404
    assert api_for(alice, "read").get(REPORT).status_code == 200


def test_a_token_without_a_scope_may_do_nothing(client, dora):
    row, text = services.token_create(user=dora)
    TokenScope.objects.filter(token=row).delete()
    assert _asked(client, text) == 403


def test_tokens_made_before_scopes_keep_working_for_ninety_days_and_no_other_changes(client, dora):
    migration = importlib.import_module("apps.accounts.migrations.0002_token_scopes")
    old, text = AuthToken.objects.create(user=dora, expiry=None)
    short, _ = AuthToken.objects.create(user=dora, expiry=timedelta(days=3))
    new, _ = services.token_create(user=dora, scope=Scope.READ)
    migration.give_scope_and_expiry(registry, SimpleNamespace(connection=connection))
    expiries = dict(AuthToken.objects.values_list("digest", "expiry"))
    assert abs(expiries[old.pk] - timezone.now() - timedelta(days=90)) < timedelta(minutes=1)
    assert (expiries[short.pk], expiries[new.pk]) == (short.expiry, new.expiry)
    scopes = {old.pk: "manage", short.pk: "manage", new.pk: "read"}
    assert dict(TokenScope.objects.values_list("token_id", "scope")) == scopes
    assert _asked(client, text) == WORKS
    migration.give_scope_and_expiry(registry, SimpleNamespace(connection=connection))
    assert dict(AuthToken.objects.values_list("digest", "expiry")) == expiries
    assert dict(TokenScope.objects.values_list("token_id", "scope")) == scopes


@pytest.mark.slow
def test_the_description_of_the_api_names_every_scope(client):
    paths = client.get("/api/schema/?format=json").json()["paths"]
    assert "Scope of the token: annotate." in paths["/api/v1/votes/"]["post"]["description"]
    for operations in paths.values():
        for operation in operations.values():
            assert "Scope of the token: " in operation["description"]
