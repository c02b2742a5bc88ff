"""The fixed cast, the factories, and the rule that a skip needs an allowed reason.

Cast: `alice` owner, `bob` lead, `erin` engineer, `ann` annotator of `project`; `charlie` belongs to another
project and must see nothing of this one. Fixtures whose names begin with `make_` are factories.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
import pytest
from django.conf import settings

from tests.factories import (  # noqa: F401 - fixtures
    at_once,
    make_comparison,
    make_comparisons,
    make_completion,
    make_judge,
    make_prompt,
    make_verdict,
    make_vote,
    unsettled,
)
from tests.letters_project import letters_policy_dir, make_letters_project  # noqa: F401 - fixtures

ALLOWED_SKIPS = ("gpu", "docker", "shared-data")
_skips: dict[str, list[str]] = {}
_numbers = itertools.count(1)
ROOT = Path(__file__).resolve().parents[1]

# Importing and collecting make millions of objects that all stay: looking through them for garbage again and again was
# a quarter of the time of either, and slows down every test after them.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


# --- skips -----------------------------------------------------------------------------------------------------------


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what drives a real browser or kills real processes a second try: a busy machine may miss a deadline once.

    The closing lines count reruns, so that a test that needs them is seen.
    """
    for item in items:
        parts = item.path.parts
        if "browser" in parts or "faults" in parts:
            item.add_marker(pytest.mark.flaky(reruns=1))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ").strip()


def _allowed(reason: str) -> bool:
    return reason.startswith(ALLOWED_SKIPS)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skips.setdefault(_reason(report), []).append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skips.setdefault(_reason(report), []).append(report.nodeid)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Close with what was not run, and why."""
    if not _skips:
        return
    terminalreporter.section("not run, and why")
    for reason, names in sorted(_skips.items()):
        forbidden = "" if _allowed(reason) or os.environ.get("CI") != "true" else "   <- not allowed under CI=true"
        terminalreporter.write_line(f"{len(names):5d}  {reason}{forbidden}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    is_worker = hasattr(session.config, "workerinput")
    if os.environ.get("CI") == "true" and not is_worker and any(not _allowed(reason) for reason in _skips):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# --- the database ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory, migrated: str
) -> Iterator[None]:
    """Give the suite a copy of a database that was migrated once, with the product's own settings.

    SQLite's is a file: in memory with one shared cache a second writer (a thread, the live server) fails at once with
    "database table is locked" instead of waiting, so that nothing about writing at the same time could be tested.
    """
    from django.db import connections

    connection = connections["default"]
    if connection.vendor == "sqlite":
        path = tmp_path_factory.mktemp("database") / "test.sqlite3"
        shutil.copyfile(migrated, path)
        connection.settings_dict["TEST"]["NAME"] = str(path)
        yield
        return
    name = connection.creation._get_test_db_name()
    for statement in (f'DROP DATABASE IF EXISTS "{name}"', f'CREATE DATABASE "{name}" TEMPLATE "{migrated}"'):
        on_server(statement)
    yield
    connection.close()
    on_server(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """What is there already is a copy of a migrated database."""
    return True


@pytest.fixture(scope="session")
def migrated() -> str:
    """A migrated, empty database to copy: the path of SQLite's file, or the name of PostgreSQL's."""
    return migrated_file() if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3") else migrated_template()


def on_server(statement: str) -> list[Any]:
    """Send PostgreSQL what can't be said to a database that is copied or dropped; give the first column."""
    import psycopg

    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as link:
        rows = link.execute(statement)
        return [row[0] for row in rows] if rows.description else []


def digest_of_migrations(database: str) -> str:
    from django.apps import apps

    digest = hashlib.sha256(f"{django.VERSION} {database}".encode())
    for app in apps.get_app_configs():
        for file in sorted(Path(app.path).glob("migrations/*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def migrate(url: str) -> None:
    command = [sys.executable, "manage.py", "migrate", "--skip-checks", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "DATABASE_URL": url}, check=True, timeout=900)


@contextlib.contextmanager
def one_at_a_time() -> Iterator[Path]:
    folder = ROOT / "var" / "test-cache"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "migrated.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def migrated_file() -> str:
    """Make it once a machine and set of migrations."""
    with one_at_a_time() as folder:
        made = folder / f"migrated-{digest_of_migrations(sqlite3.sqlite_version)}.sqlite3"
        if not made.exists():
            new = made.with_suffix(".new")
            new.unlink(missing_ok=True)
            migrate(f"sqlite:///{new}")
            new.rename(made)
    return str(made)


def migrated_template() -> str:
    """Make it once a server and set of migrations; drop those of others, and what was given up half way."""
    name = f"test_migrated_{digest_of_migrations('postgresql')}"
    with one_at_a_time():
        there = on_server("SELECT datname FROM pg_database WHERE datname ~ '^test_migrated_[0-9a-f]{16}(_new)?$'")
        if name not in there:
            for old in there:
                on_server(f'DROP DATABASE "{old}"')
            on_server(f'CREATE DATABASE "{name}_new"')
            migrate(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}_new").geturl())
            on_server(f'ALTER DATABASE "{name}_new" RENAME TO "{name}"')
    return name


@pytest.fixture(scope="session", autouse=True)
def one_nursery_for_all_tests() -> None:
    """Let training runs of different tests be forked from one process: pytest names the test in the environment."""
    from workers.processes import OF_A_RUN

    OF_A_RUN.add("PYTEST_CURRENT_TEST")


@pytest.fixture(scope="session", autouse=True)
def cheap_password_hashes() -> None:
    """Hash passwords as the product does, at a thousandth of the cost: its cost is what it is for, and no test's."""
    from django.contrib.auth.hashers import ScryptPasswordHasher

    ScryptPasswordHasher.work_factor = 2**4


@pytest.fixture(scope="session", autouse=True)
def static_files_are_found_once() -> None:
    """Let each test client take over what the first one found: looking through the folders cost more than a page."""
    from whitenoise.middleware import WhiteNoiseMiddleware

    look, found = WhiteNoiseMiddleware.add_files_from_finders, {}

    def add_files_from_finders(self: Any) -> None:
        if not found:
            look(self)
            found.update(self.files)
        self.files.update(found)

    WhiteNoiseMiddleware.add_files_from_finders = add_files_from_finders


@pytest.fixture(scope="session", autouse=True)
def what_tests_commit_is_removed() -> None:
    """Empty the tables after a test that committed, without making Django's permissions, which nobody asks, anew.

    What forbids it is lifted for the audit log: nothing else may empty that.
    """
    from django.core.management import call_command
    from django.db import connection
    from django.test import TransactionTestCase

    table = "core_auditevent"

    def teardown(self: Any) -> None:
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s", [table])
                kept = dict(cursor.fetchall())
                off, on = [f"DROP TRIGGER {name}" for name in kept], list(kept.values())
            else:
                names = ("audit_rows", "audit_truncate")
                off = [f"ALTER TABLE {table} DISABLE TRIGGER {name}" for name in names]
                on = [f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}" for name in names]
            for statement in off:
                cursor.execute(statement)
        try:
            call_command("flush", verbosity=0, interactive=False, reset_sequences=False, inhibit_post_migrate=True)
        finally:
            with connection.cursor() as cursor:
                for statement in on:
                    cursor.execute(statement)

    TransactionTestCase._fixture_teardown = teardown


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    """Let no test see figures that another kept: a database that is emptied gives the same ids again."""
    from django.core.cache import caches

    yield
    for one in caches.all(initialized_only=True):
        one.clear()


# --- the cast --------------------------------------------------------------------------------------------------------


@pytest.fixture
def make_user(db: None) -> Callable[..., Any]:
    """make_user("dora", password="…", **fields): a person who is in no project."""
    from apps.accounts.models import User

    def make(username: str = "", *, password: str | None = None, **fields: Any) -> Any:
        user = User(username=username or f"person{next(_numbers)}", **fields)
        if password is None:
            user.set_unusable_password()
        else:
            user.set_password(password)
        user.save()
        return user

    return make


@pytest.fixture
def make_project(db: None) -> Callable[..., Any]:
    """make_project("slug", owner=user, **fields): a project; the owner becomes a member where given."""
    from apps.projects.models import Membership, Project

    def make(slug: str = "", *, owner: Any = None, **fields: Any) -> Any:
        slug = slug or f"project-{next(_numbers)}"
        fields.setdefault("random_share", 0)  # pairs that nobody judged come in the order of their ids
        project = Project.objects.create(slug=slug, name=fields.pop("name", slug.replace("-", " ").title()), **fields)
        if owner is not None:
            Membership.objects.create(project=project, user=owner, role="owner")
        return project

    return make


@pytest.fixture
def project(make_project: Callable[..., Any]) -> Any:
    return make_project("letters-test", name="Thank-you letters", criterion="The kinder and more correct letter.")


@pytest.fixture
def member(project: Any, make_user: Callable[..., Any]) -> Callable[..., Any]:
    """member("dora", "lead"): a new person with that role in `project`."""
    from apps.projects.models import Membership

    def make(username: str, role: str, *, of: Any = None) -> Any:
        user = make_user(username)
        Membership.objects.create(project=of or project, user=user, role=role)
        return user

    return make


@pytest.fixture
def alice(member: Callable[..., Any]) -> Any:
    return member("alice", "owner")


@pytest.fixture
def bob(member: Callable[..., Any]) -> Any:
    return member("bob", "lead")


@pytest.fixture
def erin(member: Callable[..., Any]) -> Any:
    return member("erin", "engineer")


@pytest.fixture
def ann(member: Callable[..., Any]) -> Any:
    return member("ann", "annotator")


@pytest.fixture
def other_project(make_project: Callable[..., Any]) -> Any:
    return make_project("elsewhere", name="Elsewhere")


@pytest.fixture
def charlie(member: Callable[..., Any], other_project: Any) -> Any:
    return member("charlie", "owner", of=other_project)


@pytest.fixture
def client_for() -> Callable[..., Any]:
    """client_for(user): a browser of that person; client_for(None): a stranger's. enforce_csrf=True to check tokens."""
    from django.test import Client

    def make(user: Any = None, *, enforce_csrf: bool = False) -> Any:
        client = Client(enforce_csrf_checks=enforce_csrf)
        if user is not None:
            client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return make


@pytest.fixture
def api_for() -> Callable[..., Any]:
    """api_for(user, scope="manage"): an API client with a real token of that person."""
    from rest_framework.test import APIClient

    from apps.accounts.models import Scope
    from apps.accounts.services import token_create

    def make(user: Any, scope: str = "manage") -> Any:
        client = APIClient()
        if user is not None:
            _, token = token_create(user=user, scope=Scope(scope))
            client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
        return client

    return make
