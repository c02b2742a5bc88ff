"""The forgotten route is the classic hole: every route has a declared answer, and gives it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

from apps.accounts.models import Scope
from apps.accounts.permissions import HasScope, scope_needed
from tests.architecture.api_scopes import API_SCOPES

_spec = importlib.util.spec_from_file_location("routes", Path(__file__).parent / "routes.py")
routes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(routes)


def _all(patterns, prefix=""):
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _all(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route, pattern.callback


CALLBACKS = dict(_all(get_resolver().url_patterns))
FOUND = sorted(CALLBACKS)
API = [route for route in FOUND if route.startswith("api/v1/")]


def _path(route):
    """Fill a route: the annotator's project, and objects that do not exist."""
    filled = re.sub(r"<slug:(slug|project_slug|project)>", "letters-test", route)
    filled = re.sub(r"<int:\w+>", "999999", filled)
    filled = re.sub(r"<uuid:\w+>", "00000000-0000-4000-8000-000000000000", filled)
    filled = re.sub(r"<(?:\w+:)?\w+>", "no-such-thing", filled)
    return "/" + filled


def test_every_route_has_a_declared_answer():
    assert [route for route in FOUND if route not in routes.ROUTES] == []


def test_no_declared_route_has_gone():
    assert [route for route in routes.ROUTES if route not in FOUND] == []


def _check(response, expected, who, path):
    if expected == "login":
        assert response.status_code == 302, f"{who} {path}: {response.status_code}"
        assert response.headers["Location"].startswith("/login/?next="), f"{who} {path}: {response.headers['Location']}"
    else:
        allowed = {expected} if isinstance(expected, int) else set(expected)
        assert response.status_code in allowed, f"{who} GET {path}: {response.status_code}, declared {sorted(allowed)}"


@pytest.mark.parametrize("route", FOUND)
def test_a_get_answers_what_is_declared(route, ann, charlie, client_for, api_for):
    row = routes.ROUTES.get(route)
    assert row is not None, f"undeclared route {route!r}: add it to tests/architecture/routes.py"
    path = _path(route)
    is_api = route.startswith("api/")
    people = (("a stranger", None), ("an annotator", ann), ("a member of another project", charlie))
    for (who, user), expected in zip(people, row, strict=True):
        response = (api_for if is_api else client_for)(user).get(path)
        _check(response, expected, who, path)
        _check_headers(response, path)


def _check_headers(response, path):
    headers = response.headers
    assert headers["X-Content-Type-Options"] == "nosniff", path
    assert headers["Referrer-Policy"] == "same-origin", path
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin", path
    assert "camera=()" in headers["Permissions-Policy"], path
    assert "Access-Control-Allow-Origin" not in headers, path
    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy, path
    for directive in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
        assert directive in policy, path
    if not path.startswith(("/healthz", "/readyz", "/favicon.ico", "/api/schema/")):
        assert "no-store" in headers["Cache-Control"], path


@pytest.mark.parametrize("route", [route for route in FOUND if not route.startswith("api/")])
def test_an_unsafe_request_without_the_csrf_token_is_refused(route, alice, client_for):
    """With a session but no token, no POST may do anything: 403 (or 405 where a POST is not taken at all)."""
    client = client_for(alice, enforce_csrf=True)
    response = client.post(_path(route), {"name": "x", "role": "owner", "theme": "dark"})
    assert response.status_code in {403, 405}, f"POST {_path(route)}: {response.status_code}"


@pytest.mark.parametrize("route", API)
def test_the_api_takes_no_session_cookie(route, alice, client_for):
    assert client_for(alice).get(_path(route)).status_code == 401
    assert client_for(alice).post(_path(route), {}, content_type="application/json").status_code in {401}


def _methods(view):
    return {name for name in ("get", "post", "put", "patch", "delete") if hasattr(view, name)}


def test_every_route_of_the_api_has_a_declared_scope_for_each_of_its_methods():
    assert {route: set(scopes) for route, scopes in API_SCOPES.items()} == {
        route: _methods(CALLBACKS[route].cls) for route in API
    }
    assert all(HasScope in CALLBACKS[route].cls.permission_classes for route in API)


def test_the_description_names_what_a_token_made_to_read_does_not_get():
    description = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text("utf-8")
    (line,) = (line for line in description.splitlines() if line.startswith("| `read` |"))
    others = [route for route, scopes in API_SCOPES.items() if scopes.get("get", "read") != "read"]
    assert others
    words = [re.sub(r"<[^>]+>/", "", route).rstrip("/").rpartition("/")[2] for route in others]
    assert [word for word in words if word not in line.partition(":")[0]] == []


@pytest.mark.parametrize("scope", Scope.values)
@pytest.mark.parametrize("route", API)
def test_a_token_of_another_scope_is_refused_whatever_its_person_may(route, scope, alice, api_for):
    client = api_for(alice, scope)
    for method, needed in API_SCOPES.get(route, {}).items():
        response = getattr(client, method)(_path(route), {}, format="json" if method != "get" else None)
        refused = scope not in {needed, "manage"}
        assert (response.status_code == 403) is refused, f"{method} {route}: {response.status_code}"
        if refused:
            assert response.json()["detail"] == f"This token has the scope '{scope}'; this address needs '{needed}'."


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", ""])
def test_what_writes_needs_a_token_that_may_manage_unless_the_view_says_otherwise(method):
    assert scope_needed(APIView(), method) is Scope.MANAGE
    assert scope_needed(APIView(), "GET") is Scope.READ
