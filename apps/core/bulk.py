"""Inserting many rows of one model: ids are reserved first, and values are sent without one object or round trip per
row.

`bulk_create` makes a model's object and an SQL expression for every value and reads the ids back. An import makes five
or six rows per record, so that would take most of its time. Here ids are reserved first (SQLite: the table's sequence,
safe in a transaction that holds the write lock; PostgreSQL: nextval), then tuples are inserted with executemany or
COPY. Constraints are checked as usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.utils import timezone

_PLAIN = frozenset({str, int, float, bool, type(None)})


def ids_reserve(model: type[models.Model], n: int, *, using: str = DEFAULT_DB_ALIAS) -> list[int]:
    """Reserve the next n ids of a model's table, ascending. Only inside a transaction."""
    connection = connections[using]
    if not connection.in_atomic_block:
        raise RuntimeError("ids are reserved in the transaction that uses them")
    meta = model._meta
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)",
                [connection.ops.quote_name(meta.db_table), meta.pk.column, n],
            )
            return sorted(pk for (pk,) in cursor.fetchall())
    # The transaction is IMMEDIATE: nobody else writes, so the sequence stands still until it ends.
    last = last_id(model, using=using)
    return list(range(last + 1, last + 1 + n))


def last_id(model: type[models.Model], *, using: str = DEFAULT_DB_ALIAS) -> int:
    """Return the highest id that a model's table has given; it never falls, also where rows are removed."""
    connection, meta = connections[using], model._meta
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            name = connection.ops.quote_name(meta.db_table)
            cursor.execute(
                "SELECT pg_sequence_last_value(pg_get_serial_sequence(%s, %s)::regclass)", [name, meta.pk.column]
            )
        else:
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [meta.db_table])
        found = cursor.fetchone()
    return int(found[0] or 0) if found else 0


def rows_insert(
    model: type[models.Model],
    names: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    *,
    ids: Sequence[int] | None = None,
    using: str = DEFAULT_DB_ALIAS,
) -> list[int]:
    """Insert new rows, in order, and give their ids, which ascend in that order.

    A row's values are those of the columns `names` ("project_id", not "project"); every other column gets its field's
    default, the same for all rows. `ids` were reserved, if rows refer to each other. Only inside a transaction. Raises
    IntegrityError if a constraint is broken. No signals, no `save`.
    """
    if not rows:
        return []
    connection = connections[using]
    keys = ids_reserve(model, len(rows), using=using) if ids is None else list(ids)
    meta = model._meta
    fields = {field.attname: field for field in meta.local_concrete_fields if not field.generated and field != meta.pk}
    rest = [field for name, field in fields.items() if name not in names]
    columns = [
        _prepared(fields[name], values, connection) for name, values in zip(names, zip(*rows, strict=True), strict=True)
    ]
    columns += [[_default(field, connection)] * len(rows) for field in rest]
    quoted = [connection.ops.quote_name(str(f.column)) for f in (meta.pk, *(fields[name] for name in names), *rest)]
    table, into = connection.ops.quote_name(meta.db_table), ", ".join(quoted)
    tuples = zip(keys, *columns, strict=True)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # the cursor's own copy() raises the driver's errors, not Django's
            with connection.wrap_database_errors, cursor.copy(f"COPY {table} ({into}) FROM STDIN") as copy:
                for one in tuples:
                    copy.write_row(one)
        else:
            marks = ", ".join(["%s"] * len(quoted))
            cursor.executemany(f"INSERT INTO {table} ({into}) VALUES ({marks})", list(tuples))  # noqa: S608 - names of ours
    return keys


@contextmanager
def file_not_mapped(*, using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Let SQLite read its file instead of mapping it: an import or export touches all of it, and mapped memory (up
    to 128 MB) counts as this process's memory.
    """
    connection = connections[using]
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        before = cursor.execute("PRAGMA mmap_size").fetchone()
        cursor.execute("PRAGMA mmap_size=0")
    try:
        yield
    finally:
        if before is not None:  # None: a database in memory
            with connection.cursor() as cursor:
                cursor.execute(f"PRAGMA mmap_size={int(before[0])}")


def _prepared(field: Any, values: Sequence[Any], connection: Any) -> list[Any]:
    """Convert a column's values for the database."""
    if isinstance(field, models.JSONField):
        adapt = connection.ops.adapt_json_value  # what the field calls, past its looks for expressions
        empty = adapt({}, field.encoder)
        return [empty if value == {} else None if value is None else adapt(value, field.encoder) for value in values]
    if _PLAIN.issuperset(map(type, values)):
        return list(values)
    prepared: list[Any] = []
    last, ready = object(), None  # a time, say, is often one object for all the rows
    for value in values:
        if type(value) not in _PLAIN and value is not last:
            last, ready = value, field.get_db_prep_save(value, connection=connection)
        prepared.append(ready if value is last else value)
    return prepared


def _default(field: Any, connection: Any) -> Any:
    is_stamp = getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
    return field.get_db_prep_save(timezone.now() if is_stamp else field.get_default(), connection=connection)
