"""Addresses of what allauth does. Their names are those by which it asks for them, so they stand in no namespace."""

from __future__ import annotations

from django.urls import URLPattern, path

from apps.accounts import factor_views as factors
from apps.accounts import sso, views

urlpatterns: list[URLPattern] = [
    path("login/", views.login_view, name="account_login"),
    path("login/second-factor/", factors.authenticate, name="mfa_authenticate"),
    path("login/passkey/", factors.passkey_login, name="mfa_login_webauthn"),
    path("login/sso/", sso.sso_login, {"provider_id": sso.PROVIDER}, name="openid_connect_login"),
    path("login/sso/callback/", sso.sso_callback, {"provider_id": sso.PROVIDER}, name="openid_connect_callback"),
    path("account/confirm/", factors.confirm_password, name="account_reauthenticate"),
    path("account/confirm/code/", factors.confirm_code, name="mfa_reauthenticate"),
    path("account/confirm/passkey/", factors.confirm_passkey, name="mfa_reauthenticate_webauthn"),
    path("account/second-factor/", factors.index, name="mfa_index"),
    path("account/second-factor/app/", factors.app_add, name="mfa_activate_totp"),
    path("account/second-factor/app/remove/", factors.app_remove, name="mfa_deactivate_totp"),
    path("account/second-factor/passkeys/", factors.passkey_add, name="mfa_add_webauthn"),
    path("account/second-factor/passkeys/<int:pk>/remove/", factors.passkey_remove, name="mfa_remove_webauthn"),
    path("account/second-factor/passkeys/<int:pk>/", factors.passkey_rename, name="mfa_edit_webauthn"),
    path("account/second-factor/codes/", factors.codes, name="mfa_view_recovery_codes"),
    path("account/second-factor/codes/new/", factors.codes_new, name="mfa_generate_recovery_codes"),
    path("account/second-factor/codes/download/", factors.codes_download, name="mfa_download_recovery_codes"),
]
