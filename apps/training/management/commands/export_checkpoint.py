"""`manage.py export_checkpoint NAME --project SLUG --out DIR`: export a checkpoint with its model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.json import dumps
from apps.policies.models import Checkpoint
from apps.projects.models import Project
from apps.training.lineage.takeaway import checkpoint_export
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Write a checkpoint's verified files and its model card to DIR/NAME. Needs no torch."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="of a policy or a reward model of the project")
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--out", required=True, metavar="DIR", help="output directory; DIR/NAME must not exist yet")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"there is no project {options['project']!r}")
        rows = Checkpoint.objects.filter(project=project).select_related("project", "parent", "approved_by")
        checkpoint = rows.filter(name=options["name"]).first()
        if checkpoint is None:
            there = ", ".join(rows.order_by("id").values_list("name", flat=True)) or "none yet"
            raise CommandError(f"no checkpoint {options['name']!r} in project {project.slug}; there are: {there}")
        try:
            made = checkpoint_export(checkpoint=checkpoint, folder=Path(options["out"]))
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        said = {"checkpoint": checkpoint.name, "directory": str(made), "fingerprint": checkpoint.fingerprint}
        self.stdout.write(dumps(said) if options["json"] else f"{checkpoint.name} is in {made}")
