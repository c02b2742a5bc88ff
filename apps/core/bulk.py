"""Many new rows of one model at once: ids reserved first, values sent without a round trip a row.

`bulk_create` builds an SQL expression for every value and reads the ids back; an import makes five or six rows a
record, so that is most of its time. Here ids are reserved first (SQLite: the table's sequence, safe in a transaction
that holds the write lock; PostgreSQL: nextval), then rows go by executemany or COPY. Constraints hold as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.utils import timezone

_PLAIN = frozenset({str, int, float, type(None)})


def rows_insert(rows: Sequence[models.Model], *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Insert new rows of one model, in order, and set their ids, which ascend in that order.

    In a transaction only. Raises IntegrityError where a constraint is broken. No signals, no `save`.
    """
    if not rows:
        return
    connection = connections[using]
    if not connection.in_atomic_block:
        raise RuntimeError("rows_insert needs a transaction: ids are reserved before the rows are there")
    model = type(rows[0])
    meta = model._meta
    table = connection.ops.quote_name(meta.db_table)
    fields = [field for field in meta.local_concrete_fields if not field.generated]  # the database fills those
    columns = ", ".join(connection.ops.quote_name(str(field.column)) for field in fields)
    with connection.cursor() as cursor:
        for row, pk in zip(rows, _reserve(cursor, connection, meta, len(rows)), strict=True):
            row.pk = pk
        values = [_value_of(field, connection) for field in fields]
        tuples = ([value(row) for value in values] for row in rows)
        if connection.vendor == "postgresql":
            # the cursor's own copy() raises the driver's errors, not Django's
            with connection.wrap_database_errors, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for one in tuples:
                    copy.write_row(one)
        else:
            marks = ", ".join(["%s"] * len(fields))
            cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(tuples))  # noqa: S608 - names of ours
    for row in rows:
        row._state.adding = False
        row._state.db = using


def _reserve(cursor: Any, connection: Any, meta: Any, n: int) -> list[int]:
    """Take the next n ids of a table; nobody else gets them."""
    if connection.vendor == "postgresql":
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)",
            [connection.ops.quote_name(meta.db_table), meta.pk.column, n],
        )
        return sorted(pk for (pk,) in cursor.fetchall())
    # The transaction is IMMEDIATE: nobody else writes, so the sequence stands still until it ends.
    cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [meta.db_table])
    found = cursor.fetchone()
    last = int(found[0]) if found else 0
    return list(range(last + 1, last + 1 + n))


def _value_of(field: Any, connection: Any) -> Callable[[models.Model], Any]:
    """Make the function that reads a field of a row as the database takes it."""
    name = field.attname
    if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        now = timezone.now()  # of all the rows: they are made at once
        prepared = field.get_db_prep_save(now, connection=connection)

        def stamped(row: models.Model) -> Any:
            setattr(row, name, now)
            return prepared

        return stamped
    if isinstance(field, models.JSONField):
        empty = field.get_db_prep_save({}, connection=connection)

        def json_value(row: models.Model) -> Any:
            found = getattr(row, name)
            return empty if found == {} else field.get_db_prep_save(found, connection=connection)

        return json_value

    def value(row: models.Model) -> Any:
        found = getattr(row, name)
        return found if type(found) in _PLAIN else field.get_db_prep_save(found, connection=connection)

    return value
