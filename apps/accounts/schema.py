"""The API's description of itself, with the scope that each operation's tokens need."""

from __future__ import annotations

from drf_spectacular.openapi import AutoSchema

from apps.accounts.permissions import scope_needed


class ScopedSchema(AutoSchema):
    """An operation of the API's description, with the scope that its tokens need."""

    def get_description(self) -> str:  # type: ignore[override]
        return f"{super().get_description()}\n\nScope of the token: {scope_needed(self.view, self.method).value}."
