from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.projects.models import Project
from apps.reports.laboratory.document import studies_document
from apps.reports.laboratory.report import laboratory_report


class Command(BaseCommand):
    help = "Write the studies of a project as a Markdown page, with each figure as SVG in the folder figures beside it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="slug")
        parser.add_argument("--to", type=Path, default=Path("docs/laboratory.md"), metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"no project {options['project']!r}")
        to: Path = options["to"]
        if not to.parent.is_dir():
            raise CommandError(f"there is no folder {to.parent}")
        text = studies_document(
            laboratory_report(project=project),
            slug=project.slug,
            command=f"python manage.py document_studies --project {project.slug}",
            figures=to.parent / "figures",
            to=to,
        )
        to.write_text(text, "utf-8")
        self.stdout.write(f"{to} is written")
