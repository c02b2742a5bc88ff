"""`manage.py doctor`: what is missing on this machine, and what to do about it."""

from __future__ import annotations

import dataclasses
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.json import dumps
from apps.jobs.checks import findings

SIGNS = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}


class Command(BaseCommand):
    help = "Check what this machine has and lacks. Exits with an error if something necessary is missing."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        found = findings()
        if options["json"]:
            self.stdout.write(dumps([dataclasses.asdict(one) for one in found]))
        else:
            for one in found:
                remedy = f"  ->  {one.remedy}" if one.remedy else ""
                self.stdout.write(f"{SIGNS[one.state]}  {one.name:12s}  {one.detail}{remedy}")
        missing = [one.name for one in found if one.state == "missing"]
        if missing:
            raise CommandError(f"missing: {', '.join(missing)}")
