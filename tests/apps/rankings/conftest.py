"""A database that several writers can really use at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def many_writers(transactional_db: None, tmp_path: Path) -> Iterator[None]:
    """Ask for it before any other fixture that writes.

    The suite's SQLite lives in memory with one shared cache, where a second writer fails at once instead of waiting
    as it does on a file. This moves the test to a file with the product's own settings; PostgreSQL stays as it is.
    """
    from django.db import connections

    memory = connections["default"]
    if memory.vendor != "sqlite":
        yield
        return
    path = tmp_path / "test.sqlite3"
    with memory.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(path)])
    before = connections.databases["default"]
    connections.databases["default"] = {**memory.settings_dict, "NAME": str(path)}
    connections["default"] = connections.create_connection("default")
    try:
        yield
    finally:
        connections["default"].close()
        connections.databases["default"] = before
        connections["default"] = memory
