from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.jobs.clock import database_now
from apps.projects.models import Project
from apps.reports.laboratory.report import as_json, study_report
from apps.reports.laboratory.running import study_start
from apps.reports.models import StudyState
from prefloop.studies.catalogue import STUDIES, get_study
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Run a study of the laboratory to its end, here and now; run again, it goes on where it stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", default="", help="study, for instance gap; without one they are listed")
        parser.add_argument("--project", default="", help="slug")
        parser.add_argument("--seeds", type=int, default=None, help="default: the study's own number")
        parser.add_argument("--budget", type=float, default=None, metavar="MINUTES", help="no run starts after that")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["name"]:
            for one in STUDIES.values():
                self.stdout.write(f"{one.name}: {one.finding}")
            return
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"no project {options['project']!r}" if options["project"] else "--project is missing")
        try:
            study = study_start(
                project=project,
                name=options["name"],
                n_seeds=options["seeds"],
                budget_minutes=options["budget"],
                now=database_now(),
            )
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        from workers.foreground import run_until

        def done() -> bool:
            study.refresh_from_db()
            return study.state != StudyState.RUNNING

        run_until(done, quiet=options["json"])
        if study.state == StudyState.FAILED:
            raise CommandError(f"study {study.name}: {study.error}")
        report = study_report(project=project, declared=get_study(study.name))
        if options["json"]:
            self.stdout.write(as_json(report))
            return
        if study.state == StudyState.STOPPED:
            self.stdout.write(f"{report['n_done']} of {report['n_runs']} runs are done; the same command goes on.")
        self.stdout.write(report["sentence"])
        self.stdout.write(f"Its figure: /p/{project.slug}/reports/laboratory/{study.name}/")
