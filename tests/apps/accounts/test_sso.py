"""Single sign-on with a provider of its own process's loopback: real codes, real keys, real signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from allauth.socialaccount.models import SocialAccount
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.cache import cache
from django.core.management import CommandError, call_command
from knox.models import AuthToken

from apps.accounts.models import User
from apps.core.models import AuditEvent
from apps.jobs import checks
from config import env

pytestmark = [pytest.mark.django_db, pytest.mark.slow]
KEY, OTHER_KEY = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
START, BACK = "/login/sso/", "/login/sso/callback/"


def signed(claims):
    return jwt.encode(claims, KEY, "RS256", {"kid": "k1"})


class Provider:
    """An identity provider on loopback. `person` is who signs in there; `sign` makes the id_token of the claims."""

    def __init__(self):
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(provider.get(self.path, self.headers.get("Authorization")))

            def do_POST(self):
                sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.answer(provider.token({key: values[0] for key, values in parse_qs(sent).items()}))

            def answer(self, body):
                self.send_response(200 if body is not None else 400)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body or {"error": "invalid_grant"}).encode())

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.open, self.person, self.userinfo, self.sign = {}, {}, {}, signed
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def get(self, path, authorization):
        if path == "/jwks":
            return {"keys": [{**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "k1"}]}
        if path == "/userinfo":
            return self.userinfo if authorization == "Bearer the-access-token" else None
        assert path == "/.well-known/openid-configuration"
        places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        places["userinfo_endpoint"] = "userinfo"
        return {"issuer": self.issuer, **{name: f"{self.issuer}/{place}" for name, place in places.items()}}

    def approve(self, address):
        """What somebody does who signs in at the address: they come back with a code."""
        asked = {key: values[0] for key, values in parse_qs(urlsplit(address).query).items()}
        assert address.startswith(f"{self.issuer}/authorize?")
        assert (asked["client_id"], asked["response_type"], asked["code_challenge_method"]) == ("us", "code", "S256")
        assert set(asked["scope"].split()) == {"openid", "profile", "email"}
        code = secrets.token_hex(8)
        self.open[code] = asked
        return {"code": code, "state": asked["state"]}

    def token(self, sent):
        asked = self.open.pop(sent["code"], None)
        if asked is None or (sent["client_id"], sent["client_secret"]) != ("us", "shh"):
            return None
        proof = hashlib.sha256(sent["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(proof).decode().rstrip("=") != asked["code_challenge"]:
            return None
        assert sent["redirect_uri"] == asked["redirect_uri"]
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": "us", "sub": "7", "iat": now, "exp": now + 60, **self.person}
        token = self.sign({key: value for key, value in claims.items() if value is not None})
        return {"access_token": "the-access-token", "token_type": "Bearer", **({"id_token": token} if token else {})}


@pytest.fixture(scope="module")
def one_provider():
    provider = Provider()
    yield provider
    provider.server.shutdown()


@pytest.fixture
def provider(one_provider, settings, monkeypatch):
    cache.clear()
    for name, value in (("ISSUER", one_provider.issuer), ("CLIENT_ID", "us"), ("SECRET", "shh"), ("NAME", "Acme")):
        monkeypatch.setenv(f"PREFLOOP_OIDC_{name}", value)
    settings.OIDC = env.oidc()
    one_provider.person = {"email": "dora@example.com", "email_verified": True}
    one_provider.userinfo, one_provider.sign = {}, signed
    return one_provider


@pytest.fixture
def dora(make_user):
    user = make_user("dora", email="old@example.com")
    call_command("set_email", "dora", "Dora@Example.com", stdout=StringIO())
    return user


def come_in(client, provider, then="/account/"):
    asked = client.get(START, {"next": then})
    assert asked.status_code == 302
    return client.get(BACK, provider.approve(asked.headers["Location"]))


def who(client):
    page = client.get("/account/")
    return page.context["user"].username if page.status_code == 200 else None


def refused(client, response, *words):
    assert (response.status_code, response.headers["Location"]) == (302, "/login/")
    page = client.get("/login/").content.decode()
    assert who(client) is None
    assert all(word in page for word in words), page
    return True


def test_somebody_with_an_account_comes_in_by_their_verified_address_and_then_by_who_they_are(
    dora, make_user, provider, client_for, settings
):
    make_user("mallory", email="dora@example.com")  # written on her own profile: lets nobody in
    client = client_for(None)
    assert b"Sign in with Acme" in client.get("/login/?next=/p/x/").content
    before = client.cookies.get("sessionid")
    response = come_in(client, provider)
    assert (response.status_code, response.headers["Location"]) == (302, "/account/")
    assert who(client) == "dora"
    assert before is None or client.cookies["sessionid"].value != before.value
    provider.person = {"email": "married@example.com", "email_verified": False}
    again = client_for(None)
    come_in(again, provider)
    assert who(again) == "dora", "who they are does not hang on their address"
    verbs = list(AuditEvent.objects.filter(actor=dora).order_by("id").values_list("verb", flat=True))
    assert verbs == ["sso.link", "sign_in.sso", "sign_in.sso"]
    # whom the next provider calls 7 is not whom this one calls 7
    kept, another = settings.OIDC, provider.issuer.replace("127.0.0.1", "localhost")
    settings.OIDC, provider.person = {**kept, "issuer": another}, {"iss": another, "email": "dora@example.net"}
    provider.userinfo = {"sub": "7"}
    other = client_for(None)
    assert refused(other, come_in(other, provider), "has verified your address")
    settings.OIDC = kept
    # the provider gives the address to somebody else
    provider.person = {"sub": "8", "email": "dora@example.com", "email_verified": True}
    taken = client_for(None)
    assert refused(taken, come_in(taken, provider), "belongs to somebody else with that address")
    # the operator gives the account another address: whom the earlier one let in is no longer known
    AuthToken.objects.create(user=dora)
    call_command("set_email", "dora", "dora.new@example.com", stdout=StringIO())
    assert [who(client), who(again), AuthToken.objects.count()] == [None, None, 0]
    provider.person = {"email": "dora@example.com", "email_verified": True}
    third = client_for(None)
    assert refused(third, come_in(third, provider), "No account here has your address")
    with pytest.raises(CommandError, match="address of another account"):
        call_command("set_email", "mallory", "DORA.new@example.com")
    with pytest.raises(CommandError, match="no e-mail address"):
        call_command("set_email", "mallory", "mallory")


def _unsigned(claims):
    return jwt.encode(claims, None, "none", {"kid": "k1"})


def _with_public_key_as_secret(claims):
    part = [json.dumps(x).encode() for x in ({"alg": "HS256", "kid": "k1", "typ": "JWT"}, claims)]
    head = b".".join(base64.urlsafe_b64encode(one).rstrip(b"=") for one in part)
    mac = hmac.new(PEM, head, "sha256").digest()
    return (head + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


def test_a_token_that_is_not_the_providers_for_us_now_lets_nobody_in(dora, provider, client_for):
    claims = {"expired": {"exp": int(time.time()) - 120}, "never expires": {"exp": None}, "nobody": {"sub": None}}
    claims |= {"for others": {"aud": "them"}, "for others too": {"aud": ["us", "them"], "azp": "them"}}
    claims |= {"by others": {"iss": "https://elsewhere.example"}, "not said to be verified": {"email_verified": None}}
    claims |= {"not verified": {"email_verified": False}, "verified in a word": {"email_verified": "no"}}
    claims |= {"nobody's address": {"email": "eve@example.com"}, "no address": {"email": ""}}
    signs = {
        "another key": lambda found: jwt.encode(found, OTHER_KEY, "RS256", {"kid": "k1"}),
        "an unknown key": lambda found: jwt.encode(found, OTHER_KEY, "RS256", {"kid": "k2"}),
        "unsigned": _unsigned,
        "the public key as a secret": _with_public_key_as_secret,
        "changed": lambda found: signed(found)[:-4] + "AAAA",
        "no token": lambda found: "not.a.token",
        "none at all": lambda found: None,
    }
    person = provider.person
    for name, changed in claims.items():
        provider.person = {**person, **changed}
        client = client_for(None)
        assert refused(client, come_in(client, provider)), name
    provider.person = person
    for name, sign in signs.items():
        provider.sign = sign
        client = client_for(None)
        assert refused(client, come_in(client, provider), "did not work"), name
    assert not SocialAccount.objects.exists()
    # an address from userinfo counts only if it is of the same person
    provider.sign, provider.person = signed, {}
    provider.userinfo = {"sub": "8", **person}
    client = client_for(None)
    assert refused(client, come_in(client, provider), "did not work")
    provider.person, provider.userinfo = {"email": person["email"]}, {"sub": "7", "email": "eve@example.com"}
    assert refused(client, come_in(client, provider)), "nor if another one was verified"
    provider.person, provider.userinfo = {}, {"sub": "7", **person}
    come_in(client, provider)
    assert who(client) == "dora"


def test_nobody_is_brought_in_by_another_browser_or_site(dora, provider, client_for, settings):
    home, other = client_for(None), client_for(None)
    back = provider.approve(home.get(START).headers["Location"])
    assert refused(other, other.get(BACK, back), "did not work"), "a code that somebody else was given"
    assert home.get(BACK, back).headers["Location"] == "/"
    assert who(home) == "dora"
    home.post("/account/logout/")
    assert refused(home, home.get(BACK, back), "did not work"), "twice"
    ours = ({"process": "connect"}, {}), ({"auth_params": "redirect_uri=x"}, {}), ({}, {"Sec-Fetch-Site": "cross-site"})
    for query, headers in ours:
        assert home.get(START, query, headers=headers).headers["Location"] == "/login/"
    away = home.get(START, {"next": "https://evil.example/"})
    assert home.get(BACK, provider.approve(away.headers["Location"])).headers["Location"] == "/"
    dora.is_active = False
    dora.save()
    assert refused(other, come_in(other, provider), "This account is closed")
    assert refused(other, other.get(BACK, {"error": "access_denied"}))
    settings.OIDC = {**settings.OIDC, "issuer": "http://127.0.0.1:9"}
    assert refused(other, other.get(START), "Acme can&#x27;t be reached")
    settings.OIDC = {}
    assert b"Acme" not in other.get("/login/").content
    assert [other.get(path).headers["Location"] for path in (START, BACK)] == ["/login/"] * 2


def test_an_account_is_made_where_the_operator_wants_it_and_is_in_no_project(provider, make_user, client_for, settings):
    make_user("dora")
    provider.person |= {"preferred_username": "Dora <script>", "given_name": "Dora", "family_name": "Diaz"}
    client = client_for(None)
    assert refused(client, come_in(client, provider), "No account here has your address")
    settings.OIDC = {**settings.OIDC, "create": True}
    come_in(client, provider)
    made = User.objects.get(email="dora@example.com")
    assert (made.username, str(made)) == ("Dorascript", "Dora Diaz")
    assert not made.is_superuser
    assert not made.has_usable_password()
    assert not made.memberships.exists()
    provider.person |= {"sub": "8", "email": "dora@example.org", "preferred_username": "DORA"}
    second = client_for(None)
    come_in(second, provider)
    assert who(second) == "DORA-2"
    # no password and no second factor: the provider confirms who changes how they sign in
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = -1
    asked = second.get("/account/second-factor/app/")
    assert asked.headers["Location"] == "/login/sso/?next=%2Faccount%2Fsecond-factor%2Fapp%2F"
    settings.ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
    back = provider.approve(second.get(asked.headers["Location"]).headers["Location"])
    assert second.get(BACK, back).headers["Location"] == "/account/second-factor/app/"
    assert second.get("/account/second-factor/app/").status_code == 200
    # their own second factor is asked after the provider; and they may be required to have one
    settings.MFA_REQUIRED = "everybody"
    assert second.get("/account/").headers["Location"] == "/account/second-factor/?needed=1"
    TOTP.activate(made, "JBSWY3DPEHPK3PXP")
    provider.person |= {"sub": "7"}
    third = client_for(None)
    assert come_in(third, provider).headers["Location"] == "/login/second-factor/"
    assert who(third) is None
    assert "the-access-token" not in str(dict(third.session))
    # the operator ends what the provider's person was let into; the second factor then comes too late
    call_command("set_email", made.username, "", stdout=StringIO())
    code = RecoveryCodes.activate(made).get_unused_codes()[0]
    assert third.post("/login/second-factor/", {"code": code}).headers["Location"] == "/login/"
    assert who(third) is None


def test_the_doctor_says_whether_the_provider_is_there_and_is_called_so(provider, settings):
    assert checks._single_sign_on().state == "ok"
    settings.OIDC = {**settings.OIDC, "issuer": provider.issuer.replace("127.0.0.1", "localhost")}
    assert checks._single_sign_on().remedy == f"PREFLOOP_OIDC_ISSUER={provider.issuer}"
    settings.OIDC = {**settings.OIDC, "issuer": "http://127.0.0.1:9"}
    assert "does not answer" in checks._single_sign_on().detail


def test_a_provider_is_set_up_whole_or_the_start_stops(monkeypatch):
    from django.core.exceptions import ImproperlyConfigured

    assert env.oidc() == {}
    monkeypatch.setenv("PREFLOOP_OIDC_ISSUER", "https://id.example/realm")
    for name, value in (("CLIENT_ID", "us"), ("SECRET", "shh")):
        with pytest.raises(ImproperlyConfigured, match=f"PREFLOOP_OIDC_{name}"):
            env.oidc()
        monkeypatch.setenv(f"PREFLOOP_OIDC_{name}", value)
    assert env.oidc()["name"] == "id.example"
    for issuer in ("http://id.example", "https://user@id.example", "id.example", "http://localhost.example"):
        monkeypatch.setenv("PREFLOOP_OIDC_ISSUER", issuer)
        with pytest.raises(ImproperlyConfigured, match="https"):
            env.oidc()
