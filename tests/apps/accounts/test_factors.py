"""Second factors: setting one up, signing in with it, codes that were used, and taking a lost one away."""

from __future__ import annotations

import json
import re
import time
from base64 import urlsafe_b64encode
from io import StringIO

import pytest
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core.cache import cache
from django.core.management import CommandError, call_command
from knox.models import AuthToken

from apps.accounts import throttle
from apps.core.models import AuditEvent

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
GOOD = "correct horse staple"
FACTOR = "/account/second-factor/"


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture(autouse=True)
def quick_hashes(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def dora(make_user):
    return make_user("dora", password=GOOD)


@pytest.fixture
def later(monkeypatch):
    """later(120): let so many seconds pass, for the clock that allauth reads."""
    real, passed = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + passed[0])
    return lambda seconds: passed.__setitem__(0, passed[0] + seconds)


def code_of(secret):
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def enter(client, name="dora", password=GOOD, then="/projects/"):
    return client.post("/login/", {"username": name, "password": password, "next": then})


def set_up(client):
    """Turn an app on, as a person does; return its secret."""
    page = client.get(f"{FACTOR}app/")
    secret = re.search(r'id="totp-key">(\w+)<', page.content.decode())[1]
    done = client.post(f"{FACTOR}app/", {"code": code_of(secret)})
    assert (done.status_code, done.headers["Location"]) == (302, f"{FACTOR}codes/")
    return secret


def give(client, code):
    return client.post("/login/second-factor/", {"code": code})


def is_in(client):
    return client.get("/account/").status_code == 200


def acts():
    rows = AuditEvent.objects.filter(verb__regex=r"^(factor|sign_in)").order_by("id")
    return [(row.verb, row.actor and row.actor.username, row.data) for row in rows]


def test_an_app_from_its_set_up_to_its_removal(dora, client_for, later):
    home, elsewhere = client_for(None), client_for(None)
    enter(home)
    enter(elsewhere)
    before = home.cookies["sessionid"].value
    secret = set_up(home)
    assert home.cookies["sessionid"].value != before
    assert is_in(home)
    assert not is_in(elsewhere), "what began without a second factor ends with the first one"
    codes = re.findall(r"<li>(\d{8})</li>", home.get(f"{FACTOR}codes/").content.decode())
    assert len(set(codes)) == 10
    assert home.get(f"{FACTOR}codes/download/").content.decode().split() == codes
    stored = " ".join(str(row.data) for row in Authenticator.objects.filter(user=dora))
    assert secret not in stored
    assert "gAAAA" in stored, "sealed"

    # the password alone is not enough, and the code of the set-up is used up
    phone = client_for(None)
    asked = enter(phone)
    assert asked.headers["Location"] == "/login/second-factor/"
    assert not is_in(phone)
    assert b"was used already" in give(phone, code_of(secret)).content
    assert not is_in(phone)
    later(120)
    assert b"not right" in give(phone, "000000").content
    code = code_of(secret)
    assert give(phone, code).headers["Location"] == "/projects/", "where they wanted"
    assert is_in(phone)

    # the same code again, elsewhere; then a recovery code, once
    other = client_for(None)
    enter(other)
    assert give(other, code).status_code == 200
    assert not is_in(other)
    assert give(other, codes[3]).status_code == 302
    assert is_in(other)
    again = client_for(None)
    enter(again)
    assert give(again, codes[3]).status_code == 200
    assert not is_in(again)

    # whoever has a second factor confirms with it, not with the password alone
    later(600)
    wanted = {"scope": "manage", "days": 90}
    assert home.post("/account/tokens/", wanted).headers["Location"].startswith("/account/confirm/code/?next=")
    assert not AuthToken.objects.exists()
    page = home.post("/account/confirm/code/?next=/account/tokens/", {"code": code_of(secret)})
    assert page.context["secret"], "what was asked is done now"
    assert b'action="/account/tokens/"' in page.content, "where the next one is asked for"
    assert AuthToken.objects.get(user=dora).scope_row.scope == "manage"
    later(600)
    away = home.get(f"{FACTOR}app/remove/")
    assert away.headers["Location"].startswith("/account/confirm/code/?next=")
    assert home.post("/account/confirm/", {"password": GOOD}).headers["Location"].startswith("/account/confirm/code/")
    assert home.post(f"{FACTOR}app/remove/").status_code == 302
    assert Authenticator.objects.filter(user=dora, type="totp").exists()
    confirmed = home.post(f"/account/confirm/code/?next={FACTOR}app/remove/", {"code": code_of(secret)})
    assert (confirmed.status_code, confirmed.headers["Location"]) == (302, FACTOR), "what was asked is done now"
    assert not Authenticator.objects.filter(user=dora).exists(), "recovery codes go with the last factor"
    assert enter(client_for(None)).headers["Location"] == "/projects/"
    refused = ("factor.refused", None, {})
    assert acts() == [
        *[("sign_in", "dora", {"by": ["password"]})] * 2,
        ("factor.add", "dora", {"types": ["totp"]}),
        ("factor.codes", "dora", {}),
        *[refused] * 2,
        ("sign_in", "dora", {"by": ["password", "totp"]}),
        refused,
        ("sign_in", "dora", {"by": ["password", "recovery_codes"]}),
        refused,
        ("factor.remove", "dora", {"types": ["totp"]}),
        ("factor.remove", "dora", {"types": ["recovery_codes"]}),
        ("sign_in", "dora", {"by": ["password"]}),
    ]


def test_a_link_replaces_the_password_and_not_the_second_factor(dora, make_user, client_for, later):
    from django.utils import timezone

    from apps.accounts.services import login_link_create

    home = client_for(None)
    enter(home)
    secret = set_up(home)
    later(120)
    client = client_for(None)
    link = login_link_create(user=dora, now=timezone.now(), base_url="http://testserver")
    assert client.post(link).headers["Location"] == "/login/second-factor/"
    assert client.get("/account/password/set/").status_code == 302
    assert not is_in(client)
    # somebody else in the same browser gets nothing of it
    make_user("eve", password=GOOD)
    enter(client, "eve")
    assert client.get("/account/password/set/").headers["Location"] == "/account/password/"
    client.post("/account/logout/")
    link = login_link_create(user=dora, now=timezone.now(), base_url="http://testserver")
    client.post(link)
    assert give(client, code_of(secret)).headers["Location"] == "/account/password/set/"
    assert client.get("/account/password/set/").status_code == 200

    # a new password also ends sign-ins that are halfway
    halfway = client_for(None)
    enter(halfway)
    client.post("/account/password/set/", {"password": "another horse staple"})
    later(120)
    assert give(halfway, code_of(secret)).headers["Location"] == "/login/"
    assert not is_in(halfway)


def test_wrong_codes_close_the_second_factor_for_a_while(dora, client_for, later):
    home = client_for(None)
    enter(home)
    secret = set_up(home)
    later(120)
    client = client_for(None)
    enter(client)
    for _ in range(throttle.MOST_PER_ACCOUNT):
        assert b"not right" in give(client, "000000").content
    assert b"Too many attempts" in give(client, code_of(secret)).content
    later(throttle.WINDOW_SECONDS)
    enter(client)
    assert give(client, code_of(secret)).status_code == 302


def test_nobody_touches_another_persons_factors(dora, make_user, client_for, later):
    make_user("eve", password=GOOD)
    home, eve = client_for(None), client_for(None)
    enter(home)
    set_up(home)
    enter(eve, "eve")
    theirs = Authenticator.objects.get(user=dora, type="totp")
    key = Authenticator.objects.create(user=dora, type="webauthn", data={"name": "Key", "credential": {}})
    for path in ("app/remove/", "codes/", "codes/download/", f"passkeys/{key.pk}/", f"passkeys/{key.pk}/remove/"):
        assert eve.get(FACTOR + path).status_code == 404, path
        assert eve.post(FACTOR + path, {"name": "mine"}).status_code in {404, 405}, path
    eve.post(f"{FACTOR}codes/new/")
    key.delete()
    assert Authenticator.objects.get(user=dora, type="totp").data == theirs.data
    assert not Authenticator.objects.filter(user__username="eve").exists()
    page = eve.get(FACTOR).content
    assert b"Since" not in page


def test_an_administrator_takes_a_lost_factor_away(dora, client_for, settings):
    home = client_for(None)
    enter(home)
    set_up(home)
    kept, settings.SECRET_KEY = settings.SECRET_KEY, "x" * 50  # lost: what it sealed can't be read
    client = client_for(None)
    enter(client)
    assert b"This server&#x27;s key was changed" in give(client, "123456").content
    # whoever comes in by a passkey is told so too, and makes new codes
    by_passkey = client_for(dora)
    session = by_passkey.session
    session["account_authentication_methods"] = [{"method": "mfa", "at": time.time(), "type": "webauthn"}]
    session["account_authentication_methods_user"] = str(dora.pk)
    session.save()
    for path in ("/account/second-factor/codes/", "/account/second-factor/codes/download/"):
        assert by_passkey.get(path).headers["Location"] == "/account/second-factor/"
    assert b"This server&#x27;s key was changed" in by_passkey.get("/account/second-factor/").content
    assert by_passkey.get("/account/second-factor/codes/new/").status_code == 200
    assert by_passkey.post("/account/second-factor/codes/new/").status_code == 302
    assert by_passkey.get("/account/second-factor/codes/").status_code == 200
    settings.SECRET_KEY = kept
    assert is_in(home)
    out = StringIO()
    call_command("remove_factor", "Dora", stdout=out)
    assert "dora has no second factor now" in out.getvalue()
    assert not is_in(home)
    assert enter(client_for(None)).headers["Location"] == "/projects/"
    assert AuditEvent.objects.filter(verb="factor.remove", actor=None).get().data == {
        "types": ["recovery_codes", "totp"]
    }
    for name in ("dora", "nobody"):
        with pytest.raises(CommandError):
            call_command("remove_factor", name)


def test_what_is_no_passkey_signs_nobody_in(dora, client_for):
    client = client_for(None)
    assert client.get("/login/passkey/", headers={"accept": "application/json"}).json()["request_options"]
    answer = {"clientDataJSON": "e30", "authenticatorData": "AA", "signature": "AA"}
    handle = urlsafe_b64encode(user_pk_to_url_str(dora).encode()).decode().rstrip("=")
    whole = {"id": "AA", "rawId": "AA", "type": "public-key", "response": {**answer, "userHandle": handle}}
    for sent in ("", "x", "null", "[]", "7", "{}", '{"response": 7}', json.dumps(whole), json.dumps(whole | {"id": 7})):
        refused = client.post("/login/passkey/", {"credential": sent})
        assert (refused.status_code, refused.headers["Location"]) == (302, "/login/"), sent
    assert not is_in(client)
