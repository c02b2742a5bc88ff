"""Allauth's forms of second factors, with prefloop's labels."""

from __future__ import annotations

from allauth.account.forms import ReauthenticateForm as PasswordAgain
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import TOTP
from allauth.mfa.webauthn.forms import AddWebAuthnForm, EditWebAuthnForm
from django import forms
from django.utils.translation import gettext_lazy as _

_CODE = {"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}


class SignInCodeForm(AuthenticateForm):  # type: ignore[misc]
    code = forms.CharField(label=_("Code"), max_length=20, widget=forms.TextInput(attrs=_CODE))


class ConfirmCodeForm(ReauthenticateForm):  # type: ignore[misc]
    code = forms.CharField(label=_("Code"), max_length=20, widget=forms.TextInput(attrs=_CODE))


class ConfirmPasswordForm(PasswordAgain):  # type: ignore[misc]
    password = forms.CharField(
        label=_("Password"),
        max_length=1000,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )


class AppCodeForm(ActivateTOTPForm):  # type: ignore[misc]
    """The first code of an authenticator app; it is used up by this, and signs nobody in."""

    code = forms.CharField(label=_("Code that the app shows"), max_length=20, widget=forms.TextInput(attrs=_CODE))

    def clean_code(self) -> str:
        code = str(super().clean_code())
        TOTP(Authenticator(user=self.user))._mark_code_used(code)
        return code


class NewPasskeyForm(AddWebAuthnForm):  # type: ignore[misc]
    name = forms.CharField(label=_("Name"), max_length=60, required=False)
    passwordless = None  # each of them signs in alone


class PasskeyNameForm(EditWebAuthnForm):  # type: ignore[misc]
    name = forms.CharField(label=_("Name"), max_length=60)
