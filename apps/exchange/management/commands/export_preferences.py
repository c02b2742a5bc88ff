"""`manage.py export_preferences --project SLUG --format FORMAT --out FILE`: export labels in trainers' formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.json import dumps
from apps.exchange.exports import LABELS, SHAPES, export_file, why_empty
from apps.projects.models import Project
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Write a project's preferences to a file. Training formats never contain gold or evaluation items."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--format", required=True, help=", ".join(shape.name for shape in SHAPES))
        parser.add_argument("--labels", default="effective", choices=list(LABELS))
        parser.add_argument("--criterion", default="", metavar="NAME", help="labels by a named criterion")
        parser.add_argument(
            "--out", required=True, metavar="FILE", help="output file: .csv, .parquet, anything else is JSON Lines"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"there is no project {options['project']!r}")
        path = Path(options["out"])
        shape, labels, criterion = options["format"], options["labels"], options["criterion"]
        what = {"format": shape, "labels": labels, "criterion": criterion}
        try:
            made = export_file(project=project, **what, path=path, actor=None)
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        result = {"project": project.slug, **what, "file": str(path)}
        if options["json"]:
            counts = {"n_lines": made.n_lines, "n_bytes": made.n_bytes, "left_out": dict(made.left_out.counts)}
            self.stdout.write(dumps(result | counts))
        else:
            self.stdout.write(f"{made.n_lines:,} lines of {shape} in {path}.")
        if not made.n_lines:
            self.stderr.write(f"the file is empty: {why_empty(project=project, **what)}")
            return
        for n, why in made.left_out.reasons:
            self.stderr.write(f"left out: {n:,} ({why})")
