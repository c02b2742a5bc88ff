"""`manage.py report_agreement --project SLUG`: how far judges agree with people, and people with each other."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.json import dumps
from apps.projects.models import Project
from apps.projects.selectors import criterion_named
from apps.reports.services import ALL_VOTES, UNCHOSEN, agreement_report
from apps.reports.words import agreement_sentence, with_interval
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Report how well a project's judges agree with people, people with each other, and judges with themselves."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
        parser.add_argument(
            "--votes",
            choices=[ALL_VOTES, UNCHOSEN],
            default=ALL_VOTES,
            help="random leaves out votes on pairs that were chosen by what judges said of them",
        )
        parser.add_argument(
            "--criterion", default="", metavar="NAME", help="a named criterion (default: the unnamed one)"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"there is no project {options['project']!r}")
        if options["seed"] < 0:
            raise CommandError("--seed must be 0 or more")
        try:
            criterion = criterion_named(project, options["criterion"])
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        unchosen = options["votes"] == UNCHOSEN
        report = agreement_report(project=project, seed=options["seed"], criterion=criterion, unchosen=unchosen)
        if options["json"]:
            self.stdout.write(dumps(report))
            return
        self.stdout.write(agreement_sentence(report))
        for judge in report["judges"]:
            accuracy = with_interval(judge["accuracy"], judge["accuracy_ci95"], n=judge["n"])
            kappa = with_interval(judge["cohen_kappa"], judge["kappa_ci95"], percent=False)
            unread = f", {judge['n_unparseable']} unparsed" if judge["n_unparseable"] else ""
            self.stdout.write(f"  {judge['name']}: agrees {accuracy}, κ {kappa}{unread}")
