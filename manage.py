#!/usr/bin/env python
"""Django's command line; `manage.py help` lists the product's own commands."""

from __future__ import annotations

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError

    from apps.core.origin import origin

    try:
        with origin(by=f"command {sys.argv[1] if len(sys.argv) > 1 else 'help'}"):
            execute_from_command_line(sys.argv)
    except DatabaseError as error:
        # the first command of a newcomer: SQLite and PostgreSQL say it each in their way
        if "no such table" not in str(error) and getattr(error.__cause__, "sqlstate", "") != "42P01":
            raise
        sys.exit(
            "the database has no tables yet: run `python manage.py migrate`, or `make run`, which does it by itself"
        )


if __name__ == "__main__":
    main()
