from __future__ import annotations

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "apps.accounts"
    label = "accounts"

    def ready(self) -> None:
        from allauth.mfa import signals

        from apps.accounts import factors

        signals.authenticator_added.connect(factors.note_added)
        signals.authenticator_removed.connect(factors.note_removed)
        signals.authenticator_reset.connect(factors.note_codes)
        signals.authentication_failed.connect(factors.note_refused)
