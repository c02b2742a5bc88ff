from __future__ import annotations

import io
import json
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.accounts.models import LoginLink, User
from apps.projects.models import Membership

pytestmark = pytest.mark.django_db


def _run(*arguments):
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_create_user_makes_a_member_and_prints_a_link_that_works(project, client):
    result = json.loads(_run("create_user", "dora", "--project", "letters-test", "--role", "lead", "--json"))
    assert {key: result[key] for key in ("username", "project", "role", "created")} == {
        "username": "dora",
        "project": "letters-test",
        "role": "lead",
        "created": True,
    }
    assert client.post(urlsplit(result["login_link"]).path).status_code == 302
    assert not User.objects.get(username="dora").has_usable_password()


def test_create_user_makes_an_admin_who_may_make_projects_and_needs_no_project(client_for):
    for is_new in (True, False):  # as at every start of the containers
        result = json.loads(_run("create_user", "admin", "--admin", "--no-link", "--json"))
        assert (result["admin"], result["project"], result["role"]) == (True, None, None)
        assert (result["created"], result["login_link"]) == (is_new, None)
    admin = User.objects.get()
    assert not LoginLink.objects.exists()
    assert client_for(admin).get("/projects/new/").status_code == 200
    assert "/login/" in _run("login_link", "admin")
    assert "dora is an admin." in _run("create_user", "dora", "--admin")


def test_a_member_becomes_no_admin_unless_told_so(project):
    assert json.loads(_run("create_user", "dora", "--project", "letters-test", "--json"))["admin"] is False
    assert not User.objects.get().is_superuser


def test_create_user_again_changes_the_role_and_keeps_the_person(project):
    _run("create_user", "dora", "--project", "letters-test")
    assert "dora is engineer of letters-test" in _run(
        "create_user", "dora", "--project", "letters-test", "--role", "engineer"
    )
    assert Membership.objects.get().role == "engineer"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create_user", "dora", "--project", "nowhere"), "no project 'nowhere'"),
        (("create_user", "dora"), "--project SLUG"),
        (("create_user", "a b", "--project", "letters-test"), "A username has"),
        (("create_user", "dora", "--project", "letters-test", "--role", "king"), "invalid choice"),
        (("login_link", "nobody"), "no active user 'nobody'"),
        (("create_token", "nobody"), "no active user 'nobody'"),
        (("create_token", "eve", "--days", "0"), "--days must be 1 to 365"),
        (("create_token", "eve", "--days", "366"), "--days must be 1 to 365"),
        (("create_token", "eve", "--days", "9999999999"), "--days must be 1 to 365"),
        (("create_token", "eve", "--scope", "all"), "invalid choice: 'all'"),
    ],
)
def test_bad_input_is_refused_with_one_clear_line(project, make_user, arguments, words):
    make_user("eve")
    with pytest.raises(CommandError, match=words) as caught:
        _run(*arguments)
    assert "\n" not in str(caught.value)


def test_login_link_prints_an_address(make_user):
    make_user("eve")
    assert "/login/" in _run("login_link", "eve")
    assert json.loads(_run("login_link", "eve", "--json"))["username"] == "eve"


def test_create_token_prints_a_token_that_authenticates(make_user):
    from knox.auth import TokenAuthentication

    eve = make_user("eve")
    token = _run("create_token", "eve").strip()
    assert TokenAuthentication().authenticate_credentials(token.encode())[0] == eve
    result = json.loads(_run("create_token", "eve", "--days", "3", "--scope", "annotate", "--json"))
    assert result["scope"] == "annotate"
    left = datetime.fromisoformat(result["expires_at"]) - timezone.now()
    assert timedelta(days=2) < left <= timedelta(days=3)


def test_links_begin_with_the_address_of_this_instance(project, tmp_path, monkeypatch, settings):
    """`up` records where it listens; a command that is started later reads it, and may be told otherwise."""
    from config import env
    from workers.addresses import addresses
    from workers.management.commands.up import Command

    monkeypatch.delenv("PREFLOOP_BASE_URL", raising=False)
    settings.BASE_URL_FILE = tmp_path / "base-url"
    assert env.base_url(settings.BASE_URL_FILE) == "http://127.0.0.1:8000"
    command = Command(stdout=io.StringIO())
    command.began = 0.0
    children = command._environment(addresses(host="127.0.0.1", port=8137))
    assert children["PREFLOOP_BASE_URL"] == env.base_url(settings.BASE_URL_FILE) == "http://127.0.0.1:8137"
    assert "http://127.0.0.1:8137/login/" in _run("create_user", "dora", "--project", "letters-test")
    assert _run("login_link", "dora").startswith("http://127.0.0.1:8137/login/")
    elsewhere = ("--base-url", "https://prefs.example/")
    assert _run("login_link", "dora", *elsewhere).startswith("https://prefs.example/login/")
    made = json.loads(_run("create_user", "dora", "--project", "letters-test", "--json", *elsewhere))
    assert made["login_link"].startswith("https://prefs.example/login/")
    monkeypatch.setenv("PREFLOOP_BASE_URL", "https://set.example")
    assert env.base_url(settings.BASE_URL_FILE) == "https://set.example"


def test_links_lead_to_the_port_in_use_or_to_the_address_that_is_asked_for(project, settings, tmp_path, monkeypatch):
    from workers.addresses import addresses
    from workers.management.commands.up import Command

    monkeypatch.delenv("PREFLOOP_BASE_URL", raising=False)
    settings.BASE_URL_FILE = tmp_path / "base-url"
    settings.BASE_URL = "http://127.0.0.1:8000"
    assert (
        Command()._environment(addresses(host="127.0.0.1", port=8137))["PREFLOOP_BASE_URL"] == "http://127.0.0.1:8137"
    )
    assert settings.BASE_URL_FILE.read_text().strip() == "http://127.0.0.1:8137"  # what a command reads when it starts
    assert "http://127.0.0.1:8137/login/" in _run("create_user", "dora", "--project", "letters-test")
    assert _run("login_link", "dora").startswith("http://127.0.0.1:8137/login/")
    assert _run("login_link", "dora", "--base-url", "http://labels.lan:9000/").startswith(
        "http://labels.lan:9000/login/"
    )
