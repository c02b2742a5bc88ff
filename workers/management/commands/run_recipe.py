from __future__ import annotations

import dataclasses
import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.projects.models import Project
from apps.training.lineage.measurers import evaluation_of, measurer_in_words
from apps.training.lineage.selectors import loop_rows
from apps.training.loops.starting import loop_start
from apps.training.models import ACTIVE, Loop
from prefloop.config import describe
from prefloop.recipes.catalogue import get_recipe
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Run a recipe to its end, here and now, with progress; --describe lists its keys."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="recipe, for instance iterative-dpo")
        parser.add_argument("--project", default="", help="slug")
        parser.add_argument("--rounds", type=int, default=None)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--start", default="", help="checkpoint to start from (default: the project's default)")
        parser.add_argument("--set", action="append", default=[], metavar="part.key=value", dest="chosen")
        parser.add_argument("--describe", action="store_true", help="print every key: type, default, limits, source")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            recipe = get_recipe(options["name"])
            if options["describe"]:
                self._describe(recipe, options["json"])
                return
            loop = self._start(options)
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        from workers.foreground import run_until

        def done() -> bool:
            loop.refresh_from_db()
            return loop.state not in ACTIVE or loop.state == "waiting"

        run_until(done, quiet=options["json"])
        if loop.state == "waiting":
            raise CommandError(
                f"loop {loop.pk} waits for people at its review gate: decide its labels on the Review page, "
                "then continue it on the Loops page"
            )
        if loop.state != "done":
            raise CommandError(f"loop {loop.pk} {loop.state}: {loop.failure_class}: {loop.error}")
        rows = loop_rows(loop)
        if options["json"]:
            self.stdout.write(json.dumps({"recipe": loop.recipe, "evaluation": evaluation_of(loop), "rounds": rows}))
            return
        for row in rows:
            shown = "  ".join(f"{key} {_short(value)}" for key, value in row.items() if value is not None)
            self.stdout.write(shown)
        if said := measurer_in_words(loop):
            self.stdout.write(said)
        self.stdout.write(f"Next: read and compare its answers at /p/{loop.project.slug}/loops/{loop.pk}/")

    def _start(self, options: dict[str, Any]) -> Loop:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"no project {options['project']!r}" if options["project"] else "--project is missing")
        return loop_start(
            project=project,
            recipe=options["name"],
            settings=_settings(options["chosen"]),
            n_rounds=options["rounds"],
            seed=options["seed"],
            start=options["start"],
        )

    def _describe(self, recipe: Any, as_json: bool) -> None:
        keys = describe(recipe)
        if as_json:
            self.stdout.write(json.dumps([dataclasses.asdict(key) for key in keys]))
            return
        for key in keys:
            self.stdout.write(f"{key.key} = {key.default!r}  ({key.type}; {key.allowed})")
            self.stdout.write(f"    {key.help}" + (f"  Source: {key.source}" if key.source else ""))
        if recipe.departures:
            self.stdout.write(f"Otherwise than in {recipe.paper}:")
        for departure in recipe.departures:
            self.stdout.write(f"  - {departure}")


def _settings(pairs: list[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise CommandError(f"--set takes part.key=value, not {pair!r}")
        settings[key.strip()] = value.strip()
    return settings


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return "[" + ", ".join(_short(item) for item in value) + "]"
    return str(value)
