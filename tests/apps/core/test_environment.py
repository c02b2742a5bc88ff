"""What the environment says reaches the settings, and a malformed value stops the start by its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import env

HERE = Path("/var/lib/prefloop")


def test_a_postgres_url_gives_every_part_and_its_query_becomes_options():
    found = env.database("postgres://us%40er:p%2Fw%23@db.example:5433/labels?sslmode=require&connect_timeout=5", HERE)
    assert found["ENGINE"] == "django.db.backends.postgresql"
    assert (found["NAME"], found["USER"], found["PASSWORD"]) == ("labels", "us@er", "p/w#")
    assert (found["HOST"], str(found["PORT"])) == ("db.example", "5433")
    assert found["OPTIONS"] == {"sslmode": "require", "connect_timeout": 5}
    assert found["CONN_HEALTH_CHECKS"] is True
    assert found["CONN_MAX_AGE"] == 60


def test_a_query_may_say_how_long_a_connection_lives():
    assert env.database("postgres://db.example/labels?CONN_MAX_AGE=0", HERE)["CONN_MAX_AGE"] == 0


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("", "/var/lib/prefloop/prefloop.sqlite3"),
        ("sqlite:////srv/my%20labels.sqlite3", "/srv/my labels.sqlite3"),
        ("sqlite:///labels.sqlite3", "labels.sqlite3"),
    ],
)
def test_sqlite_is_opened_so_that_writers_wait_for_each_other(url, name):
    found = env.database(url, HERE)
    assert found["NAME"] == name
    assert found["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL" in found["OPTIONS"]["init_command"]


def test_a_directory_with_strange_characters_can_hold_the_database():
    assert env.database("", Path("/srv/50% of #1?"))["NAME"] == "/srv/50% of #1?/prefloop.sqlite3"


@pytest.mark.parametrize("url", ["mysql://db/labels", "labels.sqlite3", "postgres://db:port/labels"])
def test_another_url_stops_the_start_and_no_password_is_said(url):
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
        env.database(url, HERE)


@pytest.mark.parametrize("value", ["yes please", "flase", "2"])
def test_a_switch_is_true_or_false_and_nothing_else(monkeypatch, value):
    monkeypatch.setenv("DEBUG", value)
    with pytest.raises(ImproperlyConfigured, match="DEBUG must be True or False"):
        env.env_bool("DEBUG", False)


def test_a_secret_may_lie_in_a_file(monkeypatch, tmp_path):
    (tmp_path / "key").write_text("  a secret that nobody guesses, long enough\n")
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "key"))
    assert env.env_str("SECRET_KEY") == "a secret that nobody guesses, long enough"
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(ImproperlyConfigured, match=r"SECRET_KEY_FILE=.* cannot be read"):
        env.env_str("SECRET_KEY")


def test_a_value_with_a_dollar_is_taken_as_it_is(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "$not-another-variable")
    assert env.env_str("SECRET_KEY") == "$not-another-variable"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("", (None, "")),
        ("file:", (None, "")),
        ("file:/srv/prefloop", (Path("/srv/prefloop"), "")),
        ("file:///srv/prefloop", (Path("/srv/prefloop"), "")),
        ("s3://bucket/a/prefix/", (None, "s3://bucket/a/prefix")),
        ("gs://bucket", (None, "gs://bucket")),
    ],
)
def test_a_store_is_a_directory_or_a_url(monkeypatch, given, found):
    monkeypatch.setenv("PREFLOOP_STORE", given)
    assert env.store() == found


@pytest.mark.parametrize("given", ["file:store", "/srv/prefloop", "s3://key:secret@bucket", "s3:bucket", "s3://b?x=1"])
def test_another_store_stops_the_start(monkeypatch, given):
    monkeypatch.setenv("PREFLOOP_STORE", given)
    with pytest.raises(ImproperlyConfigured, match="PREFLOOP_STORE"):
        env.store()


def test_machines_that_share_a_store_need_one_key(monkeypatch, tmp_path):
    monkeypatch.delenv("SECRET_KEY", raising=False)
    with pytest.raises(ImproperlyConfigured, match=r"set SECRET_KEY .*, the same on every machine"):
        env.secret_key(tmp_path, shared="s3://bucket")
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("SECRET_KEY", "k" * 40)
    assert env.secret_key(tmp_path, shared="s3://bucket") == "k" * 40


@pytest.mark.slow
def test_what_happens_is_logged_beside_what_a_command_prints():
    code = "import structlog; print('{}'); structlog.get_logger().info('precision')"
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[3])
    assert done.stdout == "{}\n"
    assert "precision" in done.stderr


def test_links_begin_with_the_address_that_up_recorded_unless_the_operator_names_one(tmp_path, monkeypatch):
    recorded = tmp_path / "base-url"
    monkeypatch.delenv("PREFLOOP_BASE_URL", raising=False)
    assert env.base_url(recorded) == "http://127.0.0.1:8000"
    recorded.write_text("http://127.0.0.1:8137\n")
    assert env.base_url(recorded) == "http://127.0.0.1:8137"
    monkeypatch.setenv("PREFLOOP_BASE_URL", "https://labels.example.org")
    assert env.base_url(recorded) == "https://labels.example.org"
