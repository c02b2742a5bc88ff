"""What a deployment relies on: whose word about the client is believed, HSTS, and what goes into an image."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
import yaml
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.http import HttpResponse
from django.test import RequestFactory
from jsonschema import Draft7Validator

from apps.accounts import throttle
from apps.accounts.models import User
from apps.core.middleware import trusted_proxies_only
from config import env

ROOT = Path(__file__).resolve().parents[3]
PROXY, STRANGER = "10.0.0.2", "203.0.113.9"


# --- proxies ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def configured(monkeypatch, settings, tmp_path):
    """configured(NAME="value", …): the settings as a process with these variables would read them."""

    def configure(**variables):
        for name in ("PREFLOOP_BASE_URL", "PREFLOOP_TRUSTED_PROXIES"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PREFLOOP_VAR", str(tmp_path))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        read = runpy.run_path(str(ROOT / "config" / "settings.py"))
        for name in ("TRUSTED_PROXIES", "SECURE_HSTS_SECONDS", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE"):
            setattr(settings, name, read[name])
        settings.SECURE_PROXY_SSL_HEADER = read.get("SECURE_PROXY_SSL_HEADER")

    return configure


HTTPS = {"PREFLOOP_BASE_URL": "https://prefs.example", "PREFLOOP_TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8"}


def _hsts(client_for, address, proto="https"):
    response = client_for(None).get("/healthz", REMOTE_ADDR=address, headers={"x-forwarded-proto": proto})
    return response.headers.get("Strict-Transport-Security", "")


def test_hsts_is_sent_over_a_trusted_proxys_https_and_to_nobody_else(configured, client_for):
    configured(**HTTPS)
    assert _hsts(client_for, PROXY).startswith("max-age=31536000")
    assert _hsts(client_for, "fd00::2").startswith("max-age=31536000")
    assert _hsts(client_for, PROXY, proto="http") == ""
    assert _hsts(client_for, STRANGER) == ""


@pytest.mark.parametrize(
    "variables",
    [
        {"PREFLOOP_BASE_URL": "https://prefs.example"},  # no proxy is trusted
        HTTPS | {"PREFLOOP_BASE_URL": "http://prefs.example"},  # nothing here is said to be https
    ],
)
def test_hsts_is_not_sent_where_https_is_not_sure(configured, client_for, variables):
    configured(**variables)
    assert _hsts(client_for, PROXY) == ""


def test_cookies_are_for_https_alone_where_the_address_is(configured, settings):
    configured(**HTTPS)
    assert (settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE) == (True, True)
    configured(PREFLOOP_BASE_URL="http://prefs.example")
    assert (settings.SESSION_COOKIE_SECURE, settings.CSRF_COOKIE_SECURE) == (False, False)


@pytest.mark.parametrize(
    ("address", "believed"), [(PROXY, True), (STRANGER, False), ("", False), ("unix:", False), ("11.0.0.2", False)]
)
def test_the_scheme_is_believed_of_a_trusted_proxy_alone(configured, address, believed):
    configured(**HTTPS)
    request = RequestFactory().get("/", REMOTE_ADDR=address, headers={"x-forwarded-proto": "https"})
    schemes = []
    trusted_proxies_only(lambda passed: schemes.append(passed.is_secure()) or HttpResponse())(request)
    assert schemes == [believed]


@pytest.mark.parametrize(
    ("sender", "forwarded", "client"),
    [
        (STRANGER, "192.0.2.1", STRANGER),  # whoever is no proxy speaks for nobody
        (PROXY, "192.0.2.1", "192.0.2.1"),
        (PROXY, "1.2.3.4, 192.0.2.1", "192.0.2.1"),  # what the client wrote itself stands before
        (PROXY, "1.2.3.4, 192.0.2.1, 10.0.0.3", "192.0.2.1"),  # two proxies, one behind the other
        (PROXY, "fe80::1, 2001:db8::5", "2001:db8::5"),
        (PROXY, "", ""),  # its clients are not known, and it is none
        (PROXY, "10.0.0.3", ""),
        (PROXY, "not an address", ""),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(configured, sender, forwarded, client):
    configured(**HTTPS)
    request = RequestFactory().get("/", REMOTE_ADDR=sender, headers={"x-forwarded-for": forwarded})
    assert throttle.address_of(request) == client


def test_proxies_that_are_no_addresses_stop_the_start(configured):
    with pytest.raises(ImproperlyConfigured, match="PREFLOOP_TRUSTED_PROXIES must hold addresses or networks"):
        configured(PREFLOOP_TRUSTED_PROXIES="proxy.example")


# --- images ----------------------------------------------------------------------------------------------------------


def _pattern(line):
    """A line of .dockerignore as an expression: from the root on, `**/` any folders, `*` within one name."""
    text = re.escape(line.rstrip("/")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.compile(f"{text}(?:/.*)?")


def _left_out(path):
    left_out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#") and _pattern(line.removeprefix("!")).fullmatch(path):
            left_out = not line.startswith("!")
    return left_out


@pytest.mark.parametrize(
    "path",
    [
        ".env", ".env.production", "docker/.env", "deploy/site/.env.local", "var/secret_key", "var/db.sqlite3",
        "key.pem", "secret_key", "certs/tls.key", "certs/client.p12", "old.sqlite3", "copy/db.sqlite3-wal",
        "backup.dump", "data.db", "var/store/1/model.safetensors", ".git/config", ".venv/bin/python",
    ],
)  # fmt: skip
def test_no_secret_and_nothing_that_people_brought_goes_into_an_image(path):
    assert _left_out(path)


@pytest.mark.slow
def test_all_that_the_product_is_made_of_goes_into_an_image():
    folders = ("apps", "config", "prefloop", "static", "templates", "workers")
    files = [p.relative_to(ROOT).as_posix() for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file()]
    needed = [path for path in files if "__pycache__" not in path]
    assert len(needed) > 100
    assert [path for path in [*needed, "manage.py", "pyproject.toml", ".env.example"] if _left_out(path)] == []


def test_the_images_copy_what_dockerignore_lets_through_and_take_no_secret_as_an_argument():
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    stages = re.split(r"^FROM .*$", text, flags=re.M)[1:]
    assert len(stages) == 4
    assert [re.findall(r"^USER (.*)$", stage, re.M)[-1] for stage in stages[1:]] == ["prefloop"] * 3
    copied = {word for line in re.findall(r"^COPY (.*)$", text, re.M) for word in line.split()[:-1]}
    assert copied == {".", "pyproject.toml", "constraints.txt", "README.md"}
    assert not re.search(r"^(ADD|ARG|ENV)\b.*(SECRET|PASSWORD|TOKEN|_KEY)", text, re.M)


# --- compose ---------------------------------------------------------------------------------------------------------


def test_the_compose_file_is_one(compose):
    """By the schema of github.com/compose-spec/compose-spec (170098b)."""
    schema = json.loads((ROOT / "tests" / "vendor" / "compose-spec.json").read_text(encoding="utf-8"))
    assert [error.message for error in Draft7Validator(schema).iter_errors(compose)] == []


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def _default(value):
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_every_process_of_the_compose_file_knows_which_proxies_to_believe(compose, monkeypatch):
    built = {name: service for name, service in compose["services"].items() if "build" in service}
    ours = {name: service for name, service in built.items() if not name.startswith("ray-")}
    assert set(ours) == {"migrate", "web", "worker-cpu", "worker-gpu", "worker-card"}
    assert all((service["read_only"], service["cap_drop"]) == (True, ["ALL"]) for service in built.values())
    assert all("SECRET_KEY" not in built[name]["environment"] for name in set(built) - set(ours))
    for service in ours.values():
        variables = service["environment"]
        assert variables["PREFLOOP_BASE_URL"].startswith("${PREFLOOP_BASE_URL:-")
        assert variables["PREFLOOP_TRUSTED_PROXIES"].startswith("${PREFLOOP_TRUSTED_PROXIES:-")
        monkeypatch.setenv("PREFLOOP_TRUSTED_PROXIES", _default(variables["PREFLOOP_TRUSTED_PROXIES"]))
        networks = env.networks("PREFLOOP_TRUSTED_PROXIES")
        assert networks
        assert all(network.is_private for network in networks)


def test_the_web_is_reached_by_a_proxy_of_the_same_machine_alone(compose):
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["web"]["ports"])
    published = [name for name, service in compose["services"].items() if "ports" in service]
    assert published == ["web"]


def test_no_secret_of_the_compose_file_has_a_default(compose):
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            for variable in re.findall(r"\$\{(\w*(?:PASSWORD|SECRET)\w*)", value):
                assert f"${{{variable}:?" in value or f"${{{variable}:-}}" in value, name


def test_every_variable_of_the_compose_file_is_listed(compose):
    listed = (ROOT / ".env.example").read_text(encoding="utf-8")
    named = set(compose["services"]["web"]["environment"])
    assert {name for name in named if f"# {name}=" not in listed} == set()


@pytest.mark.slow
def test_the_containers_make_the_admin_whom_the_manual_lets_in(compose, db, client_for):
    """Every `manage.py` call of the first container runs, with nothing swallowed by the shell."""
    command = compose["services"]["migrate"]["command"][-1]
    calls = [shlex.split(part) for part in command.split("&&")]
    assert all(call[:2] == ["python", "manage.py"] for call in calls), command
    for call in calls:
        call_command(*call[2:], verbosity=0)
    assert client_for(User.objects.get(username="admin")).get("/projects/new/").status_code == 200


def test_every_build_names_a_stage_that_the_dockerfile_has(compose):
    builds = [service["build"] for service in compose["services"].values() if "build" in service]
    for build in builds:
        text = (ROOT / build["dockerfile"]).read_text(encoding="utf-8")
        assert re.search(rf"^FROM .* AS {build['target']}$", text, re.M)
