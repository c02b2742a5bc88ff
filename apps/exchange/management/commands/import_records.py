"""`manage.py import_records FILE_OR_DIR --project SLUG`: import records and other data sets, all or nothing.

`hf:ORG/NAME[@REVISION][:CONFIG][:SPLIT]` for the file fetches a data set from a hub.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.accounts.models import User
from apps.core.json import dumps
from apps.exchange.fetching import name_of
from apps.exchange.reading import formats
from apps.exchange.selectors import batch_counts, batch_notes
from apps.exchange.services import import_file
from apps.projects.models import Project
from apps.projects.services import project_create
from apps.samples.next_steps import in_a_line, next_steps
from prefloop.formats import Mapping
from prefloop.hub_data import is_address, read_address
from prefloop.records import RecordsError
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Import a file or directory in prefloop's or another format. Creates the project if it is missing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", metavar="FILE_OR_DIR", help="or hf:ORG/NAME[@REVISION][:CONFIG][:SPLIT]")
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
        slug = options["project"]

        def make() -> Project:
            owner = User.objects.filter(is_superuser=True, is_active=True).order_by("id").first()
            return project_create(name=slug, slug=slug, owner=owner)

        try:
            with self._found(options["path"]) as (path, name):
                batch = import_file(
                    project=Project.objects.filter(slug=slug).first() or make,
                    path=path,
                    format=options["format"],
                    mapping=Mapping.parse(options["map"]) if options["map"] else None,
                    name=name,
                    created_by=None,
                    now=timezone.now(),
                    progress=self._progress,
                )
        except RecordsError as error:
            if options["json"]:
                rows = [{"line": e.line, "unit": e.unit, "message": e.message} for e in error.errors]
                self.stdout.write(dumps({"errors": rows, "stopped": error.stopped}))
            for line in error.errors[1:]:
                self.stderr.write(line.text)
            raise CommandError(f"nothing was imported: {error}") from error
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        result = {"project": slug, "batch": batch.pk, "format": batch.format} | batch_counts(batch)
        notes = batch_notes(batch)
        if options["json"]:
            self.stdout.write(dumps(result | {"notes": notes}))
            return
        self.stdout.write(f"{slug}: {batch.n_records:,} new records of format {batch.format}", ending="")
        self.stdout.write(f", {result['n_added']:,} existing ones with new labels" * bool(batch.added), ending="")
        self.stdout.write(f", {batch.n_unchanged:,} unchanged." if batch.n_unchanged else ".")
        parts = [f"{result[f'n_{word}']:,} {word}" for word in ("completions", "comparisons", "votes", "verdicts")]
        parts += [
            f"{result[f'n_{word}']:,} {word}"
            for word in ("rankings", "ratings", "scores", "overrides")
            if result[f"n_{word}"]
        ]
        self.stdout.write(f"They contain {', '.join(parts)}.")
        if result["n_same_answers"]:
            self.stdout.write(
                f"{result['n_same_answers']:,} of the comparisons have two equal answers: their labels are "
                "kept but are "
                "not preferences."
            )
        for note in notes:
            self.stdout.write(f"Note: {note}")
        if found := next_steps(batch.project):
            self.stdout.write(in_a_line(found))

    @contextmanager
    def _found(self, text: str) -> Iterator[tuple[Path, str]]:
        """Give the path to read and what to call it; a hub's data set lies there while the block runs."""
        if not is_address(text):
            path = Path(text)
            yield path, path.resolve().name
            return
        data = read_address(text)
        with TemporaryDirectory(prefix="prefloop-hub-") as folder:
            most_bytes = shutil.disk_usage(folder).free
            fetched = data.fetch(Path(folder), told=self._progress, most_bytes=most_bytes)
            yield fetched.path, name_of(data, fetched)

    def _progress(self, step: int, n_steps: int, message: str) -> None:
        if not sys.stderr.isatty():
            return
        self.stderr.write(f"\x1b[K  {message}\r", ending="")
        self.stderr.flush()
