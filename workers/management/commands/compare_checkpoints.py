from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.labels.models import Judge
from apps.policies.selectors import checkpoint_by_name
from apps.projects.models import Project
from apps.training.rounds.meetings import meeting_group, meeting_result, meeting_start
from prefloop.stats.ppi import Rate
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Let two checkpoints answer the same held-out prompts and have the answers compared, here and now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("first", help="name of a policy; the win rate is this one's")
        parser.add_argument("second", help="name of another policy")
        parser.add_argument("--project", required=True, help="slug")
        parser.add_argument("--prompts", type=int, default=20, help="held-out prompts; 0: all")
        parser.add_argument("-n", type=int, default=2, help="answers of each to a prompt")
        parser.add_argument("--judge", default="", help="by name (default: one that labelled nothing of either)")
        parser.add_argument("--people", type=int, default=0, help="pairs that people are given blind in Annotate")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        from workers.foreground import run_group

        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"no project {options['project']!r}")
        quiet = options["json"]
        try:
            group = meeting_start(
                project=project,
                first=checkpoint_by_name(project, options["first"]),
                second=checkpoint_by_name(project, options["second"]),
                n_prompts=options["prompts"],
                n=options["n"],
                judge=options["judge"],
                people=options["people"],
                seed=options["seed"],
            )
            run_group(group, quiet=quiet)
            told = group.jobs.get().result
            asking = meeting_group(told)
            if asking is not None:
                run_group(asking, quiet=quiet)
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        found = meeting_result(told)
        judge = Judge.objects.filter(pk=told["judge"]).first() if told["judge"] else None
        said = {
            "first": options["first"],
            "second": options["second"],
            "judge": judge.name if judge else None,
            "n_prompts": found.n_prompts,
            "n_pairs": found.n_games,
            "n_undecided": found.n_undecided,
            "n_for_people": len(told.get("people") or ()),
            "win_rate": found.win_rate.rate,
            "win_rate_ci95": _ends(found.win_rate),
            "lc_win_rate": found.length_controlled.rate,
            "lc_win_rate_ci95": _ends(found.length_controlled),
        }
        if options["json"]:
            self.stdout.write(json.dumps(said))
            return
        for key, value in said.items():
            self.stdout.write(f"{key} {value}")


def _ends(rate: Rate) -> list[float] | None:
    return [rate.interval.low, rate.interval.high] if rate.interval else None
