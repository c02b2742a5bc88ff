"""The database's clock: leases are compared by one clock, whatever the clocks of the hosts show."""

from __future__ import annotations

import datetime as dt

from django.db import connection
from django.utils import timezone


def database_now() -> dt.datetime:
    """Ask the database for its time (statement time, UTC). SQLite runs on this host and uses its clock."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        row = cursor.fetchone()
    now: dt.datetime = row[0]
    return now
