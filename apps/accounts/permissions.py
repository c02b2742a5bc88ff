"""Who may use a route of the API: a live token of the scope that the route needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from knox.models import AuthToken
from rest_framework.permissions import SAFE_METHODS, IsAuthenticated
from rest_framework.request import Request

from apps.accounts.models import Scope, TokenScope
from apps.core.origin import origin_is_token

if TYPE_CHECKING:  # the views import this module by its name in the settings
    from rest_framework.views import APIView


def scope_needed(view: APIView, method: str) -> Scope:
    """Give the scope that a token needs: what the view declares as its `scope`, else one by the method."""
    declared = getattr(view, "scope", None)
    if isinstance(declared, Scope):
        return declared
    return Scope.READ if method.upper() in SAFE_METHODS else Scope.MANAGE


class HasScope(IsAuthenticated):
    """Let a request through whose token has the scope that the view needs; others are told which one that is."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed = scope_needed(view, request.method or "")
        if not super().has_permission(request, view) or not isinstance(request.auth, AuthToken):
            return False
        origin_is_token(request.auth.token_key)
        row = TokenScope.objects.filter(token=request.auth).first()
        held = row.scope if row is not None else "none"
        self.message = f"This token has the scope {held!r}; this address needs {needed.value!r}."
        return row is not None and Scope(held).allows(needed)
