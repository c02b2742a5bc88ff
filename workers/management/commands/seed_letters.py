from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.accounts.models import User
from apps.jobs.models import Job, JobState


class Command(BaseCommand):
    help = "Make the demo project: prompts, a policy trained here, answers, verdicts, labels."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--owner", default="admin", help="who owns it (default: admin, if there is one)")
        parser.add_argument("--seed", type=int, default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        from workers import demo
        from workers.foreground import run_until

        if demo.demo_is_seeded():
            self.stdout.write("the demo project is there already")
            return
        began = time.monotonic()
        owner = User.objects.filter(username=options["owner"]).first()
        demo.demo_seed(owner=owner, seed=options["seed"])
        jobs = Job.objects.filter(project__slug=demo.SLUG)

        def done() -> bool:
            return demo.demo_is_seeded() or jobs.filter(state=JobState.FAILED).exists()

        run_until(done, quiet=options["verbosity"] == 0)
        failed = jobs.filter(state=JobState.FAILED).first()
        if failed is not None:
            raise CommandError(f"{failed.title or failed.kind} failed: {failed.error}")
        self.stdout.write(f"the demo project is ready after {time.monotonic() - began:.0f} s")
