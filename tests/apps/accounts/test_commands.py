from __future__ import annotations

import io
import json
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import User
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
        (("create_user", "a b", "--project", "letters-test"), "A username has"),
        (("create_user", "dora", "--project", "letters-test", "--role", "king"), "invalid choice"),
        (("login_link", "nobody"), "no active person 'nobody'"),
        (("create_token", "nobody"), "no active person 'nobody'"),
    ],
)
def test_bad_input_is_refused_with_one_clear_line(project, arguments, words):
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
    result = json.loads(_run("create_token", "eve", "--days", "3", "--json"))
    assert result["expires_at"] is not None
