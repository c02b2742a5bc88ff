"""`manage.py average_checkpoints A B… --project SLUG --name NAME`: one checkpoint from the weights of several."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.core.json import dumps
from apps.policies.averaging import BY
from apps.projects.models import Project
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = (
        "Average the weights of checkpoints that were trained from one: reward models by their mean (WARM), policies "
        "by SLERP of what each has learnt (WARP)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("checkpoints", nargs="+", metavar="NAME", help="two checkpoints or more, by name")
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--name", required=True, help="name of the new checkpoint")
        parser.add_argument("--by", default="mean", choices=list(BY))
        parser.add_argument(
            "--keep", type=float, default=1.0, help="share of the way from their common start (default 1: all of it)"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        from workers.averaging import average_checkpoints

        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"there is no project {options['project']!r}")
        try:
            made = average_checkpoints(
                project=project,
                name=options["name"],
                of=options["checkpoints"],
                by=options["by"],
                keep=options["keep"],
            )
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        start = made.parent.name if made.parent else ""
        said = {"checkpoint": made.name, "role": made.role, "fingerprint": made.fingerprint, "start": start}
        if options["json"]:
            self.stdout.write(dumps(said))
        else:
            self.stdout.write(f"{made.name} ({made.role}), averaged since {start}: {made.fingerprint}")
