"""`manage.py backup DIR`: copy the database and the files while everything runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.core.backup import BackupRefused, backup_make
from apps.core.json import dumps


class Command(BaseCommand):
    help = (
        "Back up the database, the store, uploads and the secret key into a directory, while everything runs. "
        "Contents that an earlier backup there has are not copied again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", metavar="DIR", type=Path)
        parser.add_argument("--keep", type=int, default=0, metavar="N", help="remove all but the newest N backups")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["keep"] < 0:
            raise CommandError("--keep must be 0 (keep all) or more")
        try:
            made = backup_make(options["folder"], now=timezone.now(), keep=options["keep"], say=self.stderr.write)
        except (BackupRefused, OSError) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(dumps(asdict(made)))
            return
        megabytes, new = made.n_bytes / 1e6, made.n_new / 1e6
        self.stdout.write(f"{made.name}: {made.n_files} files, {megabytes:.1f} MB, of which {new:.1f} MB are new")
