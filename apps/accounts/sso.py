"""Single sign-on: who comes from the identity provider (OpenID Connect), and which account is theirs."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import jwt
import requests
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, get_adapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.accounts.addresses import account_of_address, sso_account_create
from apps.accounts.services import AccountRefused
from apps.core.services import audit

PROVIDER = "sso"  # the only one there is, in addresses and rows
# Signatures by a key pair alone: a secret that both sides know would let whoever reads our settings sign.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_OF_ADDRESS = {"email", "email_verified"}
_KEPT = ("iss", "sub", "email", "email_verified", "preferred_username", "given_name", "family_name")
_NOT_THERE = (requests.RequestException, OAuth2Error, ValueError, KeyError)
_log = logging.getLogger(__name__)


class VerifiedIdentity(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """Allauth's OpenID Connect, more strictly: the identity comes from a signed id_token, whose signature is checked.

    Allauth leaves the signature out where TLS brought the token, and lets the userinfo of anybody replace it.
    """

    def complete_login(self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any) -> SocialLogin:
        try:
            claims = self._decode_id_token(app, kwargs["response"]["id_token"])
            if not claims.keys() >= _OF_ADDRESS and "userinfo_endpoint" in self.openid_config:
                told = self._fetch_user_info(token.token)
                if told["sub"] != claims["sub"]:
                    raise OAuth2Error("userinfo of somebody else")
                # the address and whether it was verified come from one answer
                claims = {**told, **{name: value for name, value in claims.items() if name not in _OF_ADDRESS}}
        except (KeyError, TypeError, ValueError, jwt.PyJWTError) as error:
            raise OAuth2Error(f"id_token: {error}") from error
        # whom a provider calls 7 is not whom the next one calls so
        uid = hashlib.sha256(f"{claims['iss']}\0{claims['sub']}".encode()).hexdigest()
        kept = {name: claims[name] for name in _KEPT if name in claims}
        return self.get_provider().sociallogin_from_response(request, {"id_token": {**kept, "uid": uid}})

    def _decode_id_token(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        """Check the signature, for whom, by whom and until when it is."""
        with get_adapter().get_requests_session() as session:
            found = session.get(self.openid_config["jwks_uri"])
            found.raise_for_status()
        keys = jwt.PyJWKSet.from_dict(found.json()).keys
        kid = jwt.get_unverified_header(id_token).get("kid")
        fitting = [key for key in keys if kid in (None, key.key_id)]
        if len(fitting) != 1:
            raise OAuth2Error("no key for the id_token, or several")
        claims: dict[str, Any] = jwt.decode(
            id_token,
            key=fitting[0],
            algorithms=_ALGORITHMS,
            audience=app.client_id,
            issuer=settings.OIDC["issuer"],
            leeway=30,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
        if claims.get("azp", app.client_id) != app.client_id:
            raise OAuth2Error("id_token for another client")
        return claims


class SingleSignOn(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Which account somebody has: the one they came to before, else the one of their verified address."""

    def list_apps(self, request: HttpRequest, provider: str | None = None, client_id: str | None = None) -> list[Any]:
        oidc = settings.OIDC
        if not oidc:
            return []
        options = {
            "server_url": oidc["issuer"].rstrip("/") + "/.well-known/openid-configuration",
            "uid_field": "uid",
            "oauth_pkce_enabled": True,
        }
        app = SocialApp(provider="openid_connect", provider_id=PROVIDER, name=oidc["name"], settings=options)
        app.client_id, app.secret = oidc["client_id"], oidc["secret"]
        return [app]

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return False  # an account is made below or not at all

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        sociallogin.token = None  # else it lies in the session until the second factor is shown
        if sociallogin.is_existing:
            if not sociallogin.user.is_active:
                raise _refusal(request, _("This account is closed."))
            return
        verified = next((row.email for row in sociallogin.email_addresses if row.verified), "")
        if not verified:
            text = _("%(name)s does not say that it has verified your address.")
            raise _refusal(request, text % {"name": settings.OIDC["name"]})
        user = account_of_address(verified)
        if user is None and settings.OIDC["create"]:
            told = sociallogin.account.extra_data["id_token"]
            try:
                user = sso_account_create(email=verified, told=told)
            except AccountRefused as error:
                raise _refusal(request, str(error)) from error
        if user is None or not user.is_active:
            raise _refusal(request, _("No account here has your address. Ask whoever runs this server."))
        if SocialAccount.objects.filter(user=user).exists():
            # the address went from one person to another, or the operator has not said that both are the same
            text = _("This account belongs to somebody else with that address. Ask whoever runs this server.")
            raise _refusal(request, text)
        sociallogin.connect(request, user)
        audit(actor=user, verb="sso.link", target=f"user:{user.pk}")

    def on_authentication_error(self, request: HttpRequest, provider: Any, error: Any = None, **more: Any) -> None:
        _log.warning("single sign-on failed: %s %r", error, more.get("exception"))
        raise _refusal(request, _("Signing in with %(name)s did not work. Try again.") % {"name": provider.name})


def _refused(request: HttpRequest, text: str) -> HttpResponse:
    messages.error(request, text)
    return redirect("accounts:login")


def _refusal(request: HttpRequest, text: str) -> ImmediateHttpResponse:
    return ImmediateHttpResponse(_refused(request, text))


@never_cache
@require_safe
def sso_login(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Send somebody to the identity provider, if they ask for it here: no other site begins it for them."""
    from_here = request.headers.get("Sec-Fetch-Site", "same-origin") in {"same-origin", "none"}
    # allauth would let other parameters change what the provider is asked
    as_we_ask = request.GET.keys() <= {"next", "process"} and request.GET.get("process", "login") == "login"
    if not settings.OIDC or not from_here or not as_we_ask:
        return redirect("accounts:login")
    try:
        view = OAuth2LoginView.adapter_view(VerifiedIdentity(request, provider_id))
        response: HttpResponse = view(request)
    except _NOT_THERE as error:
        _log.warning("single sign-on: the provider is not there: %r", error)
        text = _("%(name)s can't be reached. Try again later.") % {"name": settings.OIDC["name"]}
        return _refused(request, text)
    return response


@never_cache
@require_safe
def sso_callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Take somebody in who comes back from the identity provider."""
    if not settings.OIDC:
        return redirect("accounts:login")
    view = OAuth2CallbackView.adapter_view(VerifiedIdentity(request, provider_id))
    response: HttpResponse = view(request)
    return response
