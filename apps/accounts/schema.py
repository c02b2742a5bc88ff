"""The API's OpenAPI description, with the scope that each operation needs."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema

from apps.accounts.permissions import scope_needed


class ScopedSchema(AutoSchema):
    """An operation in the API's description, with the scope that tokens need for it."""

    def get_description(self) -> str:  # type: ignore[override]
        return f"{super().get_description()}\n\nScope of the token: {scope_needed(self.view, self.method).value}."

    def get_serializer_name(self, serializer: Any, direction: str) -> str:
        """Name a body after its view too: most views call theirs Input and Output, which would describe only one."""
        del direction
        return str(type(serializer).__qualname__.replace(".", ""))
