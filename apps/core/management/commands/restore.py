"""`manage.py restore DIR`: put a backup into an empty installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.backup import BackupRefused, backup_names, backup_restore


class Command(BaseCommand):
    help = "Restore a backup, the newest by default, into an empty PREFLOOP_VAR and an empty database."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", metavar="DIR", type=Path)
        parser.add_argument("--name", default="", help="which one (--list shows them)")
        parser.add_argument("--list", action="store_true", help="list the backups and restore none")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["list"]:
            for name in backup_names(options["folder"]):
                self.stdout.write(name)
            return
        try:
            name = backup_restore(options["folder"], name=options["name"], say=self.stderr.write)
        except (BackupRefused, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{name} is restored. Now run: python manage.py migrate")
