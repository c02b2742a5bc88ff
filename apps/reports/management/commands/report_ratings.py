"""`manage.py report_ratings --project SLUG`: what people's ratings say by each item of the rubric."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext

from apps.core.json import dumps
from apps.projects.models import Project
from apps.projects.selectors import criterion_named
from apps.reports.ratings import Asked, report_of
from apps.reports.ratings_words import is_share, ratings_sentence
from apps.reports.reasons import guideline_named
from apps.reports.words import with_interval
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Report what people's ratings say of answers' sources and of each other, by each item of the rubric."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--guideline", default="", metavar="vN", help="ratings under one version (default: all)")
        parser.add_argument(
            "--criterion", default="", metavar="NAME", help="of the votes on pairs (default: the unnamed one)"
        )
        parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default 0)")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"there is no project {options['project']!r}")
        if options["seed"] < 0:
            raise CommandError("--seed must be 0 or more")
        try:
            asked = Asked(
                guideline=guideline_named(project, options["guideline"]),
                criterion=criterion_named(project, options["criterion"]),
            )
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        report = report_of(project, asked, seed=options["seed"])
        if options["json"]:
            self.stdout.write(dumps(report))
            return
        if not report["items"]:
            self.stdout.write("Nobody has rated an answer yet.")
            return
        self.stdout.write(ratings_sentence(report))
        total = report["total"] | {"item": gettext("Total of all items")}
        for item in [*report["items"], *([total] if len(report["items"]) > 1 else [])]:
            mean = with_interval(item["mean"], item["ci95"], n=item["n"], percent=is_share(item))
            self.stdout.write(f"  {item['item']}: {mean}")
            if item["alpha"]:
                alpha = with_interval(item["alpha"]["value"], item["alpha"]["ci95"], percent=False)
                self.stdout.write(f"    people agree with α {alpha} on {item['alpha']['n_answers']} answers")
            if item["pairs"]["n"]:
                pairs = with_interval(item["pairs"]["rate"], item["pairs"]["ci95"], n=item["pairs"]["n"])
                self.stdout.write(f"    the answer chosen of a pair is rated higher: {pairs}")
            for source in item["sources"]:
                mean = with_interval(source["mean"], source["ci95"], n=source["n"], percent=is_share(item))
                self.stdout.write(f"    {source['name'] or '(no model named)'}: {mean}")
