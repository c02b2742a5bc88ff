from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.models import User
from apps.dashboard.demos import demo_is_seeded, demo_seed
from apps.jobs.models import Job, JobState
from prefloop.demos import DEMOS
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Make a demo project: prompts, a policy, answers, verdicts, labels."

    def add_arguments(self, parser: ArgumentParser) -> None:
        abouts = "; ".join(f"{demo.world}: {demo.button}" for demo in DEMOS.values())
        parser.add_argument("world", nargs="?", default="letters", choices=DEMOS, help=abouts)
        parser.add_argument("--owner", default="admin", help="who owns it (default: admin, if there is one)")
        parser.add_argument("--seed", type=int, default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        from workers.foreground import run_until

        demo = DEMOS[options["world"]]
        if demo_is_seeded(demo):
            self.stdout.write(f"the demo project {demo.world} is there already")
            return
        began = time.monotonic()
        try:
            demo_seed(demo, owner=User.objects.filter(username=options["owner"]).first(), seed=options["seed"])
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        jobs = Job.objects.filter(project__slug=demo.world)

        def done() -> bool:
            return demo_is_seeded(demo) or jobs.filter(state=JobState.FAILED).exists()

        run_until(done, quiet=options["verbosity"] == 0)
        failed = jobs.filter(state=JobState.FAILED).first()
        if failed is not None:
            raise CommandError(f"{failed.title or failed.kind} failed: {failed.error}")
        self.stdout.write(f"the demo project {demo.world} is ready after {time.monotonic() - began:.0f} s")
