from __future__ import annotations

import json
from argparse import ArgumentParser
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.judging.selectors import judge_by_name
from apps.judging.services import judging_run_create
from apps.labels.models import Verdict
from apps.projects.models import Project
from apps.samples.selectors import comparison_list
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Ask a judge about every comparison of a project that it has not judged yet, here and now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--judge", required=True, help="name of a judge")
        parser.add_argument("--project", required=True, help="slug")
        parser.add_argument("--limit", type=int, default=0, help="most comparisons; 0: all")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        from workers.foreground import run_group

        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"no project {options['project']!r}")
        ids = list(comparison_list(project).values_list("id", flat=True))
        if options["limit"]:
            ids = ids[: options["limit"]]
        try:
            judge = judge_by_name(project, options["judge"])
            run = judging_run_create(project=project, judge=judge, comparison_ids=ids, seed=options["seed"])
            if run.group is not None:
                if not options["json"]:
                    self.stderr.write(f"run {run.pk}: asking {judge.name} about {len(ids)} comparisons")
                run_group(run.group, quiet=options["json"])
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        states = Counter(Verdict.objects.filter(run=run).values_list("state", flat=True))
        said = {"run": run.pk, "judge": judge.name, "n_comparisons": len(ids), "n_verdicts": dict(states)}
        if options["json"]:
            self.stdout.write(json.dumps(said))
        else:
            made = ", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "none new"
            self.stdout.write(f"run {run.pk}: verdicts of {judge.name} on {len(ids)} comparisons: {made}")
