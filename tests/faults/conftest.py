"""A database of its own for every fault test, which real worker processes and the test share.

pytest-django's test database lives in one process (in memory on SQLite); here it is a file, or a fresh PostgreSQL
database copied from the migrated one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection, connections

ROOT = Path(__file__).resolve().parents[2]
POSTGRES = os.environ.get("DATABASE_URL", "").startswith("postgres")


@contextmanager
def using_database(name: str) -> Iterator[None]:
    """Point Django's default connection, and those of new threads, at another database."""
    settings = connections.settings["default"]
    before, old = settings["NAME"], connections["default"]
    settings["NAME"] = name
    connections["default"] = connections.create_connection("default")
    try:
        yield
    finally:
        connection.close()
        settings["NAME"] = before
        connections["default"] = old


def postgres_admin(statement: str) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as link:
        link.execute(statement)


@dataclass
class Site:
    """The database, and the processes started on it."""

    directory: Path
    database_url: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        log = (self.directory / f"process-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-u", "manage.py", *arguments],
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **os.environ,
                "DATABASE_URL": self.database_url,
                "PREFLOOP_VAR": str(self.directory),
                "PREFLOOP_JOB_MODULES": "fault_handlers",
                "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH")))),
                "OMP_NUM_THREADS": "1",
                "PREFLOOP_THREADS": "1",  # the same number everywhere: losses repeat only then
                **env,
            },
        )
        self.processes.append(process)
        return process

    def worker(self, *, queue: str = "cpu", slots: int = 1, **env: str) -> subprocess.Popen[bytes]:
        return self.start("worker", "--queue", queue, "--slots", str(slots), **env)

    def log(self, process: subprocess.Popen[bytes]) -> str:
        return (self.directory / f"process-{self.processes.index(process)}.log").read_text()

    def wait_for(self, condition: Callable[[], Any], what: str, *, seconds: float = 60) -> None:
        """Look until it holds; on a machine that is too slow, fail with every process's log."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                logs = "\n".join(self.log(process)[-2000:] for process in self.processes)
                raise AssertionError(f"{what}: not within {seconds} s\n{logs}")
            time.sleep(0.05)

    def end(self) -> None:
        for process in self.processes:
            for send in (signal.SIGCONT, signal.SIGKILL):
                try:
                    os.killpg(process.pid, send)
                except ProcessLookupError:
                    break
            process.wait()


@contextmanager
def opened_site(migrated: str, directory: Path) -> Iterator[Site]:
    """A database of its own, Django pointed at it; at the end its processes are killed."""
    directory.mkdir(parents=True, exist_ok=True)
    if POSTGRES:
        name = f"faults_{uuid.uuid4().hex[:8]}"
        postgres_admin(f'CREATE DATABASE "{name}" TEMPLATE "{migrated}"')
        url = os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{name}"
    else:
        name = str(directory / "site.sqlite3")
        shutil.copy(migrated, name)
        url = f"sqlite:///{name}"
    site = Site(directory=directory, database_url=url)
    with using_database(name):
        try:
            yield site
        finally:
            site.end()
    if POSTGRES:
        postgres_admin(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def open_site(migrated, django_db_blocker, tmp_path) -> Iterator[Callable[[str], AbstractContextManager[Site]]]:
    """`with open_site("name") as site:` for a test that needs two, one after the other."""
    with django_db_blocker.unblock():
        yield lambda name: opened_site(migrated, tmp_path / name)


@pytest.fixture
def site(open_site) -> Iterator[Site]:
    with open_site("site") as site:
        yield site


@pytest.fixture
def redis_url() -> str:
    """Database 9 of the Redis on this machine, empty."""
    import redis

    url = os.environ.get("PREFLOOP_TEST_REDIS", "redis://127.0.0.1:6379/9")
    client = redis.Redis.from_url(url, socket_connect_timeout=1)
    try:
        client.flushdb()
    except redis.ConnectionError:
        pytest.skip("redis: none at " + url)
    return url
