from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.judging.attack_figures import attack_figures
from apps.judging.selectors import judge_by_name
from apps.judging.trials import attack_start
from apps.projects.models import Project
from prefloop.judging.attacks import CORPUS
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Put every attack of the corpus into answers that a judge found worse, and tell how often that flips it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--judge", required=True, help="name of a judge")
        parser.add_argument("--project", required=True, help="slug")
        parser.add_argument("-n", type=int, default=10, help="pairs that it has decided; each meets every attack")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        from workers.foreground import run_group

        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"no project {options['project']!r}")
        try:
            judge = judge_by_name(project, options["judge"])
            group = attack_start(judge=judge, n=options["n"], seed=options["seed"])
            run_group(group, quiet=options["json"])
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        found = attack_figures(judge)
        if found is None:
            raise CommandError(f"nothing was tried on {judge.name}")
        if options["json"]:
            self.stdout.write(json.dumps({"judge": judge.name, "corpus": CORPUS, **asdict(found)}))
            return
        flipped, control = found.flipped, found.control
        self.stdout.write(
            f"{judge.name}: {_percent(flipped.rate)} of {flipped.n} attacks on {found.n_pairs} pairs flipped it "
            f"[{_percent(flipped.low)}, {_percent(flipped.high)}]; {_percent(control.rate)} with nothing added"
        )
        for row in found.rows:
            flagged = f", {row.n_flagged} of them flagged" if row.n_flagged else ""
            self.stdout.write(f"  {row.name:18} {row.n_flipped}/{row.n} flipped{flagged}  {row.about}")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"
