"""`manage.py import_checkpoint DIR --project SLUG --name NAME`: copy a model directory into the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.json import dumps
from apps.policies.services import checkpoint_import, checkpoint_make_default, count_parameters
from apps.projects.models import Project
from prefloop.models import ModelFacts, model_facts
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Copy a directory of safetensors and JSON into the store, check and hash it, and record it as a checkpoint."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", metavar="DIR", help="a model directory (save_pretrained, safetensors)")
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--name", required=True, help="its name in the project")
        parser.add_argument("--role", default="policy", choices=["policy", "reward"])
        parser.add_argument("--default", action="store_true", help="sampling and new loops start from it")
        parser.add_argument("--check", action="store_true", help="only say what it is and what it takes")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"there is no project {options['project']!r}")
        try:
            source = Path(options["directory"])
            facts = model_facts(source, n_parameters=count_parameters(source))
            if options["check"]:
                self._say(facts, as_json=options["json"])
                return
            checkpoint = checkpoint_import(project=project, name=options["name"], role=options["role"], source=source)
            if options["default"]:
                checkpoint_make_default(checkpoint=checkpoint)
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        for note in facts.notes:
            self.stderr.write(f"note: {note}")
        said = {"checkpoint": checkpoint.name, "role": checkpoint.role, "fingerprint": checkpoint.fingerprint}
        if options["json"]:
            self.stdout.write(dumps(said | {"n_parameters": checkpoint.n_parameters}))
        else:
            self.stdout.write(f"{checkpoint.name} ({checkpoint.role}) is in {project.slug}: {checkpoint.fingerprint}")

    def _say(self, facts: ModelFacts, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(dumps(facts.to_json()))
            return
        gib = 2**30
        self.stdout.write(f"{facts.architecture}, {facts.n_parameters:,} parameters, {facts.n_bytes / gib:.2f} GiB")
        self.stdout.write(
            f"on a CPU, without activations: sampling {facts.sampling_bytes / gib:.2f} GiB, training all weights "
            f"{facts.training_bytes / gib:.2f} GiB, LoRA {facts.lora_bytes / gib:.2f} GiB"
        )
        self.stdout.write(f"by default it trains {facts.trains_by_default} (adapter.kind)")
        for note in facts.notes:
            self.stdout.write(f"note: {note}")
