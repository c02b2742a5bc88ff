"""The database's clock: leases are compared by one clock, whatever the hosts' clocks say."""

from __future__ import annotations

import datetime as dt

from django.db import connection
from django.utils import timezone


def database_now() -> dt.datetime:
    """Ask the database for its time (statement time, UTC). SQLite lives on this host and has this host's clock."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        row = cursor.fetchone()
    now: dt.datetime = row[0]
    return now
