from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.hashers import ScryptPasswordHasher
from django.core.cache import cache
from django.utils import timezone

from apps.accounts import services, throttle
from apps.accounts.models import LoginLink, User

pytestmark = pytest.mark.django_db
GOOD = "correct horse staple"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def dora(make_user):
    return make_user("dora", password=GOOD)


def _sign_in(client, name="dora", password=GOOD, **extra):
    return client.post("/login/", {"username": name, "password": password}, **extra)


def _path(url):
    return urlsplit(url).path


# --- password --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_person_signs_in_and_is_sent_where_they_wanted(client, dora):
    response = client.post("/login/", {"username": "dora", "password": GOOD, "next": "/projects/new/"})
    assert response.headers["Location"] == "/projects/new/"


@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "\t//e.x",
    ],
)
def test_next_never_leads_to_another_site(client, dora, target):
    response = client.post("/login/", {"username": "dora", "password": GOOD, "next": target})
    assert response.headers["Location"] == "/"
    assert client.get("/login/", {"next": target}).headers["Location"] == "/"


@pytest.mark.slow
def test_the_session_key_changes_at_sign_in(client, dora):
    client.cookies["sessionid"] = "a" * 32
    _sign_in(client)
    assert client.cookies["sessionid"].value != "a" * 32
    assert client.cookies["sessionid"]["httponly"]
    assert client.cookies["sessionid"]["samesite"] == "Lax"


def test_an_unknown_name_and_a_wrong_password_get_the_same_answer(client, dora, make_user):
    make_user("waiting")  # no password yet
    make_user("gone", password=GOOD, is_active=False)
    pages = []
    for name, password in (("dora", "wrong"), ("nobody", "wrong"), ("waiting", "wrong"), ("gone", GOOD)):
        response = _sign_in(client, name, password)
        assert response.status_code == 400
        text = re.sub(r'value="[^"]*"|"X-CSRFToken": "[^"]*"', "", response.content.decode())
        pages.append(text)
    assert len(set(pages)) == 1


def test_an_unknown_name_costs_as_many_hashes_as_a_wrong_password(client, dora, monkeypatch):
    """Hashing is nearly all the time that signing in takes, so its length says nothing of who is known."""
    made = []
    real = ScryptPasswordHasher.encode
    monkeypatch.setattr(ScryptPasswordHasher, "encode", lambda *args, **more: made.append(1) or real(*args, **more))

    def hashes(name):
        made.clear()
        _sign_in(client, name, "wrong")
        return len(made)

    assert hashes("dora") == hashes("nobody") == 1


@pytest.mark.slow
def test_ten_wrong_passwords_close_the_account_for_a_while_even_for_the_right_one(client, dora):
    for _ in range(throttle.MOST_PER_ACCOUNT):
        assert _sign_in(client, password="wrong").status_code == 400
    blocked = _sign_in(client)
    assert blocked.status_code == 429
    assert b"Too many attempts" in blocked.content


def test_an_unknown_name_is_throttled_with_the_same_words(client):
    for _ in range(throttle.MOST_PER_ACCOUNT):
        _sign_in(client, "nobody", "wrong")
    assert _sign_in(client, "NOBODY", "wrong").status_code == 429


@pytest.fixture
def busy_address(monkeypatch, settings):
    """Behind a trusted proxy: busy_address(client, "203.0.113.9") fails there as often as an address may."""
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.0/8")]
    monkeypatch.setattr(throttle, "MOST_PER_ADDRESS", 5)

    def fail(client, address, proxied=True):
        for number in range(throttle.MOST_PER_ADDRESS):
            _sign_in(client, f"nobody{number}", "wrong", **(_from(address) if proxied else {"REMOTE_ADDR": address}))

    return fail


def _from(client_address, written_before="1.2.3.4"):
    forwarded = f"{written_before}, {client_address}"
    return {"REMOTE_ADDR": "10.0.0.2", "headers": {"x-forwarded-for": forwarded}}


def _failures_until_closed(client, name, **where):
    return next(n for n in range(99) if _sign_in(client, name, "wrong", **where).status_code == 429)


def test_one_persons_failures_shut_nobody_else_out_at_the_same_address(client, client_for, dora, busy_address):
    busy_address(client, "203.0.113.9")
    assert _sign_in(client_for(None), **_from("203.0.113.9")).status_code == 302
    link = _path(services.login_link_create(user=dora, now=timezone.now()))
    assert client_for(None).post(link, **_from("203.0.113.9")).status_code == 302


def test_an_account_is_allowed_fewer_failures_from_an_address_with_very_many(client, dora, make_user, busy_address):
    busy_address(client, "203.0.113.9")
    assert _failures_until_closed(client, "dora", **_from("203.0.113.9")) == throttle.FEW_PER_ACCOUNT
    # elsewhere that many are nothing yet; and what a client writes itself is no other address
    assert _sign_in(client, **_from("203.0.113.10")).status_code == 302
    client.logout()
    make_user("eve", password=GOOD)
    forged = _from("203.0.113.9", written_before="9.9.9.9")
    assert _failures_until_closed(client, "eve", **forged) == throttle.FEW_PER_ACCOUNT


def test_who_is_no_trusted_proxy_has_one_address_whatever_they_write(client, dora, busy_address):
    busy_address(client, "198.51.100.7", proxied=False)
    stranger = {"REMOTE_ADDR": "198.51.100.7", "headers": {"x-forwarded-for": "203.0.113.77"}}
    assert _failures_until_closed(client, "dora", **stranger) == throttle.FEW_PER_ACCOUNT
    assert _sign_in(client, REMOTE_ADDR="198.51.100.8").status_code == 302


def test_the_limit_of_an_address_is_far_above_that_of_an_account():
    assert throttle.FEW_PER_ACCOUNT < throttle.MOST_PER_ACCOUNT <= throttle.MOST_PER_ADDRESS / 20


def test_wrong_links_close_nothing(client, dora):
    for path in ("/login/no-such-link/", "/invitation/no-such-link/"):
        codes = {client.get(path).status_code for _ in range(throttle.MOST_PER_ACCOUNT + 1)}
        assert codes == {404}
    assert client.get(_path(services.login_link_create(user=dora, now=timezone.now()))).status_code == 200
    assert _sign_in(client).status_code == 302


@pytest.mark.slow
def test_a_success_clears_the_accounts_count(client, dora):
    for _ in range(throttle.MOST_PER_ACCOUNT - 1):
        _sign_in(client, password="wrong")
    assert _sign_in(client).status_code == 302
    client.post("/account/logout/")
    assert _sign_in(client, password="wrong").status_code == 400


def test_signing_in_needs_the_csrf_token(client_for, dora):
    assert _sign_in(client_for(None, enforce_csrf=True)).status_code == 403


def test_signing_out_is_a_post(client_for, dora):
    client = client_for(dora)
    assert client.get("/account/logout/").status_code == 405
    assert client.get("/account/").status_code == 200
    client.post("/account/logout/")
    assert client.get("/account/").status_code == 302


def test_a_deactivated_persons_session_ends_at_once(client_for, dora):
    client = client_for(dora)
    assert client.get("/account/").status_code == 200
    User.objects.filter(pk=dora.pk).update(is_active=False)
    assert client.get("/account/").status_code == 302


def test_nobody_can_make_an_account_by_themselves(client):
    for path in ("/signup/", "/register/", "/accounts/signup/", "/admin/"):
        assert client.get(path).status_code == 404


# --- one-time links --------------------------------------------------------------------------------------------------


def test_a_link_is_looked_at_without_being_used_and_works_once(client, client_for, make_user):
    eve = make_user("eve")
    path = _path(services.login_link_create(user=eve, now=timezone.now()))
    for _ in range(3):  # previews in chats and mail scanners
        assert client.get(path).status_code == 200
    response = client.post(path)
    assert response.headers["Location"] == "/account/password/set/"
    assert client_for(None).post(path).status_code == 404


def test_after_a_link_comes_a_password_of_twelve_and_then_it_works(client, make_user):
    eve = make_user("eve")
    client.post(_path(services.login_link_create(user=eve, now=timezone.now())))
    short = client.post("/account/password/set/", {"password": "short"})
    assert short.status_code == 400
    assert b"at least 12" in short.content
    assert client.post("/account/password/set/", {"password": "eveeveeveeve" + "eve"}).status_code in {302, 400}
    client.post("/account/logout/")
    eve.refresh_from_db()
    services.password_set(user=eve, password=GOOD, now=timezone.now())
    assert _sign_in(client, "eve").status_code == 302


@pytest.mark.parametrize("password", ["password1234", "evelynevelyn", "x" * 11])
def test_a_password_that_is_common_or_like_the_name_or_short_is_refused(make_user, password):
    eve = make_user("evelynevelyn")
    with pytest.raises(services.AccountRefused):
        services.password_set(user=eve, password=password, now=NOW)


def test_only_the_hash_of_a_link_is_kept(make_user):
    url = services.login_link_create(user=make_user("eve"), now=NOW)
    token = url.rstrip("/").rsplit("/", 1)[1]
    link = LoginLink.objects.get()
    assert token not in str(link.__dict__)
    assert len(token) >= 43


def test_a_link_ends_after_an_hour_with_the_next_link_and_with_a_new_password(make_user):
    eve = make_user("eve")

    def token():
        return services.login_link_create(user=eve, now=NOW).rstrip("/").rsplit("/", 1)[1]

    first = token()
    services.login_link_find(token=first, now=NOW + timedelta(minutes=59))
    with pytest.raises(services.LinkInvalid):
        services.login_link_find(token=first, now=NOW + timedelta(minutes=61))
    second = token()
    with pytest.raises(services.LinkInvalid):
        services.login_link_find(token=first, now=NOW)
    services.password_set(user=eve, password=GOOD, now=NOW)
    with pytest.raises(services.LinkInvalid):
        services.login_link_find(token=second, now=NOW)


def test_the_link_of_an_inactive_person_does_not_work(make_user):
    eve = make_user("eve")
    token = services.login_link_create(user=eve, now=NOW).rstrip("/").rsplit("/", 1)[1]
    User.objects.filter(pk=eve.pk).update(is_active=False)
    with pytest.raises(services.LinkInvalid):
        services.login_link_use(token=token, now=NOW)


def test_a_link_names_the_configured_host_whatever_the_request_says(make_user, settings):
    settings.BASE_URL = "https://prefloop.example"
    assert services.login_link_create(user=make_user("eve"), now=NOW).startswith("https://prefloop.example/login/")


def test_the_page_that_sets_a_password_without_the_old_one_opens_only_after_a_link(client_for, dora):
    response = client_for(dora).post("/account/password/set/", {"password": "another long secret"})
    assert response.headers["Location"] == "/account/password/"
    dora.refresh_from_db()
    assert dora.check_password(GOOD)


# --- a person's own pages --------------------------------------------------------------------------------------------


def test_changing_a_password_asks_for_the_old_one_and_ends_other_sessions(client_for, dora):
    here, elsewhere = client_for(dora), client_for(dora)
    wrong = here.post("/account/password/", {"current": "wrong", "password": "another long secret"})
    assert wrong.status_code == 400
    right = here.post("/account/password/", {"current": GOOD, "password": "another long secret"})
    assert right.status_code == 302
    assert here.get("/account/").status_code == 200
    assert elsewhere.get("/account/").status_code == 302


@pytest.mark.slow
def test_the_old_password_cannot_be_guessed_through_the_change_page(client_for, dora):
    client = client_for(dora)
    for _ in range(throttle.MOST_PER_ACCOUNT):
        client.post("/account/password/", {"current": "wrong", "password": "another long secret"})
    assert client.post("/account/password/", {"current": GOOD, "password": "another long secret"}).status_code == 400


def test_a_profile_cannot_be_used_to_gain_rights(client_for, dora):
    client_for(dora).post(
        "/account/",
        {"first_name": "Dora", "theme": "dark", "is_staff": "on", "is_superuser": "on", "username": "alice"},
    )
    dora.refresh_from_db()
    assert (dora.first_name, dora.theme) == ("Dora", "dark")
    assert (dora.is_staff, dora.is_superuser, dora.username) == (False, False, "dora")


def test_a_theme_that_does_not_exist_is_refused(client_for, dora):
    assert client_for(dora).post("/account/theme/", {"theme": "pink"}).status_code == 400
    assert client_for(dora).post("/account/theme/", {"theme": "light"}).status_code == 204


@pytest.mark.parametrize("name", ["", " ", "a b", "x" * 151, "a/b", "<b>", "\u202ea"])
def test_a_strange_username_is_refused(name):
    with pytest.raises(services.AccountRefused):
        services.user_create(username=name)


def test_a_username_is_taken_whatever_its_case(dora):
    with pytest.raises(services.AccountRefused, match="taken"):
        services.user_create(username="DORA")


@pytest.mark.parametrize("name", ["\u0430dmin", "adm\u0131n", "\u03b1lice", "a\u200bnn", "a b"])
def test_a_name_that_looks_like_anothers_can_not_sign_up(name, db):
    with pytest.raises(services.AccountRefused):
        services.user_create(username=name)
