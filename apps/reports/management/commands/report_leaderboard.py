"""`manage.py report_leaderboard --project SLUG`: the models by strength, from people's and judges' preferences."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.json import dumps
from apps.projects.models import Project
from apps.projects.selectors import criterion_named
from apps.reports.selectors import ALL
from apps.reports.services import leaderboard_report
from apps.reports.words import leaderboard_sentence, with_interval
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Report the models of a project by strength (Bradley–Terry), win rate and Elo."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument(
            "--source", default=ALL, metavar="human|JUDGE", help="whose labels count: human or a judge (default: all)"
        )
        parser.add_argument(
            "--criterion", default="", metavar="NAME", help="a named criterion (default: the unnamed one)"
        )
        parser.add_argument("--seed", type=int, default=0, help="of the orders that Elo is averaged over (default 0)")
        parser.add_argument(
            "--style", action="store_true", help="with length, headers, lists and bold text of the answers held equal"
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
            report = leaderboard_report(
                project=project,
                source=options["source"],
                seed=options["seed"],
                criterion=criterion,
                style=options["style"],
            )
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(dumps(report))
            return
        self.stdout.write(leaderboard_sentence(report))
        for model in report["models"]:
            strength = with_interval(model["bt"], model["bt_ci95"], percent=False)
            rate = with_interval(model["win_rate"], None, n=model["n"])
            self.stdout.write(f"  {model['name']}: strength {strength}, wins {rate}, Elo {model['elo']:.0f}")
            if model["style_bt"] is not None:
                told = with_interval(model["style_bt"], model["style_bt_ci95"], percent=False)
                self.stdout.write(f"    at equal style {told}")
        for effect in report["style"]["effects"] if report["style"] else ():
            told = effect["reason"] or with_interval(effect["bt"], effect["ci95"], percent=False)
            self.stdout.write(f"Effect of {effect['name']}: {told}")
        if report["reason"]:
            self.stdout.write(f"Strengths can't be estimated: {report['reason']}.")
