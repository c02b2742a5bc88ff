"""Pages of second factors: allauth's views, with prefloop's templates."""

from __future__ import annotations

from typing import Any

from allauth.account.views import ReauthenticateView as PasswordAgain
from allauth.mfa.base.views import AuthenticateView, IndexView, ReauthenticateView
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.views import (
    DownloadRecoveryCodesView,
    GenerateRecoveryCodesView,
    ViewRecoveryCodesView,
)
from allauth.mfa.totp.views import ActivateTOTPView, DeactivateTOTPView
from allauth.mfa.webauthn.internal.auth import begin_registration
from allauth.mfa.webauthn.views import (
    AddWebAuthnView,
    EditWebAuthnView,
    LoginWebAuthnView,
    ReauthenticateWebAuthnView,
    RemoveWebAuthnView,
)
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.views.decorators.http import require_safe
from django.views.generic.edit import FormView

from apps.accounts.adapters import passkeys_work


class Index(IndexView):  # type: ignore[misc]
    """What second factors the person has."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        codes = context["authenticators"].get(Authenticator.Type.RECOVERY_CODES)
        return {
            **context,
            "app": context["authenticators"].get(Authenticator.Type.TOTP),
            "passkeys": context["authenticators"].get(Authenticator.Type.WEBAUTHN, []),
            "codes": codes,
            "passkeys_work": passkeys_work(self.request),
            "tab": "factors",
        }


class AddPasskey(AddWebAuthnView):  # type: ignore[misc]
    """Add a passkey: a key that the browser finds by itself and opens by a finger, a face or a PIN."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = FormView.get_context_data(self, **kwargs)
        return {**context, "js_data": {"creation_options": begin_registration(self.request.user, True)}}


class RecoveryCodesShown:
    """Recovery codes, or the list of factors with a sentence if the server's key was changed since they were made."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response: HttpResponse = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
            return redirect("mfa_index")
        return response


class Codes(RecoveryCodesShown, ViewRecoveryCodesView):  # type: ignore[misc]
    """The recovery codes that are left."""


class CodesAsFile(RecoveryCodesShown, DownloadRecoveryCodesView):  # type: ignore[misc]
    """The recovery codes that are left, as a text file."""


class NewCodes(GenerateRecoveryCodesView):  # type: ignore[misc]
    """New recovery codes in place of the old ones, which need not be readable."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return FormView.get_context_data(self, **kwargs)


_IN_ACCOUNT = {"extra_context": {"tab": "factors"}}

index = login_required(Index.as_view(template_name="accounts/factors.html"))
authenticate = AuthenticateView.as_view(template_name="accounts/factor_sign_in.html")
passkey_login = LoginWebAuthnView.as_view()
confirm_password = login_required(PasswordAgain.as_view(template_name="accounts/confirm.html"))
confirm_code = login_required(ReauthenticateView.as_view(template_name="accounts/confirm.html"))
confirm_passkey = login_required(ReauthenticateWebAuthnView.as_view(template_name="accounts/confirm.html"))
app_add = login_required(ActivateTOTPView.as_view(template_name="accounts/factor_app.html", **_IN_ACCOUNT))
app_remove = login_required(DeactivateTOTPView.as_view(template_name="accounts/factor_remove.html", **_IN_ACCOUNT))
passkey_add = login_required(AddPasskey.as_view(template_name="accounts/factor_passkey.html", **_IN_ACCOUNT))
passkey_remove = login_required(
    RemoveWebAuthnView.as_view(
        template_name="accounts/factor_remove.html", success_url=reverse_lazy("mfa_index"), **_IN_ACCOUNT
    )
)
passkey_rename = login_required(
    EditWebAuthnView.as_view(
        template_name="accounts/factor_passkey_name.html", success_url=reverse_lazy("mfa_index"), **_IN_ACCOUNT
    )
)
codes = login_required(Codes.as_view(template_name="accounts/factor_codes.html", **_IN_ACCOUNT))
codes_download = login_required(require_safe(CodesAsFile.as_view(template_name="accounts/factor_codes.txt")))
codes_new = login_required(NewCodes.as_view(template_name="accounts/factor_codes_new.html", **_IN_ACCOUNT))
