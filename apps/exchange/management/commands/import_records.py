"""`manage.py import_records FILE_OR_DIR --project SLUG`: records and other data sets in, all or nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.accounts.models import User
from apps.core.json import dumps
from apps.exchange.reading import formats
from apps.exchange.selectors import batch_counts
from apps.exchange.services import import_file
from apps.projects.models import Project
from apps.projects.services import project_create
from prefloop.formats import Mapping
from prefloop.records import RecordsError
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Import a file or directory of records, or of another format; the project is made if it is missing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", metavar="FILE_OR_DIR")
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--format", default="auto", help=f"auto (default), {', '.join(formats())}")
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="PART=COLUMN",
            help="read a table by its columns: prompt, first, second, label, … (see docs/data-model.md); repeatable",
        )
        parser.add_argument("--json", action="store_true", help="print the counts, or the errors by line, as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        path = Path(options["path"])
        project = Project.objects.filter(slug=options["project"]).first()
        made = project is None
        try:
            if project is None:
                owner = User.objects.filter(is_superuser=True, is_active=True).order_by("id").first()
                project = project_create(name=options["project"], slug=options["project"], owner=owner)
            batch = import_file(
                project=project,
                path=path,
                format=options["format"],
                mapping=Mapping.parse(options["map"]) if options["map"] else None,
                name=path.resolve().name,
                created_by=None,
                now=timezone.now(),
                progress=self._progress if sys.stderr.isatty() else lambda step, n_steps, message: None,
            )
        except RecordsError as error:
            self._unmake(project, made)
            if options["json"]:
                rows = [{"line": e.line, "unit": e.unit, "message": e.message} for e in error.errors]
                self.stdout.write(dumps({"errors": rows, "stopped": error.stopped}))
            for line in error.errors[1:]:
                self.stderr.write(line.text)
            raise CommandError(f"nothing was imported: {error}") from error
        except PrefloopError as error:
            self._unmake(project, made)
            raise CommandError(str(error)) from error
        result = {"project": project.slug, "batch": batch.pk, "format": batch.format} | batch_counts(batch)
        if options["json"]:
            self.stdout.write(dumps(result))
            return
        self.stdout.write(f"{project.slug}: {batch.n_records:,} new records of format {batch.format}", ending="")
        self.stdout.write(f", {batch.n_unchanged:,} unchanged." if batch.n_unchanged else ".")
        parts = [f"{result[f'n_{word}']:,} {word}" for word in ("completions", "comparisons", "votes", "verdicts")]
        self.stdout.write(f"They brought {', '.join(parts)}.")

    def _unmake(self, project: Project | None, made: bool) -> None:
        """A refused file leaves no project behind that it would have made."""
        if made and project is not None and project.pk is not None:
            project.delete()

    def _progress(self, step: int, n_steps: int, message: str) -> None:
        self.stderr.write(f"\x1b[K  {message}\r", ending="")
        self.stderr.flush()
