from __future__ import annotations

import pytest
from django.db import connection
from django.test import override_settings

from apps.core import shell
from apps.core.api import exception_handler
from apps.core.models import AuditEvent
from apps.core.services import audit
from prefloop.types import PrefloopError

pytestmark = pytest.mark.django_db


def test_an_audit_event_says_who_did_what_to_which(alice, project):
    audit(actor=alice, verb="token.create", target="endpoint:3", project=project, data={"host": "x"})
    event = AuditEvent.objects.get()
    assert (event.actor, event.verb, event.target, event.project_slug, event.data) == (
        alice,
        "token.create",
        "endpoint:3",
        "letters-test",
        {"host": "x"},
    )


def test_the_system_may_act_and_a_long_target_is_cut():
    event = audit(actor=None, verb="data.export", target="x" * 500)
    assert event.actor is None
    assert len(event.target) == 200


def test_health_answers_without_a_session_and_readiness_asks_the_database(client):
    assert client.get("/healthz").content == b"ok\n"
    assert client.get("/readyz").json() == {"ready": True}


def test_readiness_says_503_and_not_why(client, monkeypatch):
    from django.db.utils import OperationalError

    def refuse(*args, **kwargs):
        raise OperationalError("password of user postgres")

    monkeypatch.setattr(connection, "cursor", refuse)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert b"postgres" not in response.content


def test_an_error_the_caller_can_put_right_is_400_with_its_one_line():
    response = exception_handler(PrefloopError("n must be positive"), {})
    assert (response.status_code, response.data) == (400, {"detail": "n must be positive"})


def test_an_error_may_name_its_status():
    class Gone(PrefloopError):
        http_status = 409

    assert exception_handler(Gone("the lease ran out"), {}).status_code == 409


def test_an_unknown_error_is_not_swallowed():
    assert exception_handler(RuntimeError("secret"), {}) is None


def test_a_counter_answers_by_name_and_an_unknown_name_is_none():
    shell.register_count("test-only", lambda user, project: 3)
    assert shell.count("test-only", user=None, project=None) == 3
    assert shell.count("nobody", user=None, project=None) is None


def test_a_missing_page_is_designed_and_tells_nothing(client):
    response = client.get("/no/such/page")
    assert response.status_code == 404
    assert b"Page not found" in response.content
    assert b"Traceback" not in response.content


@override_settings(DEBUG=False)
def test_a_broken_page_is_designed_and_tells_nothing(client, monkeypatch):
    def broken(request):
        raise RuntimeError("secret detail")

    client.raise_request_exception = False
    monkeypatch.setattr("django.urls.resolvers.URLResolver.resolve", _resolve_to(broken))
    response = client.get("/anything")
    assert response.status_code == 500
    assert b"Something broke here" in response.content
    assert b"secret" not in response.content


def _resolve_to(view):
    from django.urls import ResolverMatch

    return lambda self, path: ResolverMatch(view, (), {})


def test_a_host_that_is_not_ours_is_refused(client):
    """DNS rebinding against localhost: the Host header gives it away."""
    assert client.get("/login/", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.slow
@pytest.mark.parametrize("name", ["q", "tab", "next", "page", "since"])
def test_a_query_parameter_never_comes_back_as_markup(client_for, alice, project, name):
    evil = "\"'><script>alert(1)</script>"
    for path in ("/", "/login/", "/account/", f"/p/{project.slug}/settings/", "/nope"):
        response = client_for(alice).get(path, {name: evil})
        assert b"<script>alert(1)" not in response.content


def test_the_theme_of_a_stranger_comes_from_a_cookie_and_nonsense_is_ignored(client):
    client.cookies["theme"] = "dark"
    assert b'data-theme="dark"' in client.get("/login/").content
    client.cookies["theme"] = '"><script>'
    assert b'data-theme="auto"' in client.get("/login/").content


def test_the_frame_needs_few_queries(client_for, alice, project, django_assert_max_num_queries):
    client = client_for(alice)
    with django_assert_max_num_queries(20):
        client.get(f"/p/{project.slug}/settings/")
