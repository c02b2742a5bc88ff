"""`manage.py import_checkpoint MODEL --project SLUG --name NAME`: bring a model into the store."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.json import dumps
from apps.policies.services import checkpoint_import, checkpoint_make_default
from apps.policies.store import store_path
from apps.projects.models import Project
from prefloop.model_sources import Directory, read_source
from prefloop.models import ModelFacts
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = (
        "Bring a model into the store, check and hash it, and record it as a checkpoint. MODEL is a directory of "
        "safetensors and JSON, a GGUF file, or hf:ORG/NAME@REVISION on a model hub."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "model", metavar="MODEL", help="a directory (save_pretrained), a .gguf file, or hf:ORG/NAME@REVISION"
        )
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--name", required=True, help="name of the checkpoint in the project")
        parser.add_argument("--role", default="policy", choices=["policy", "reward"])
        parser.add_argument("--default", action="store_true", help="make it the default for sampling and new loops")
        parser.add_argument("--check", action="store_true", help="only inspect it; import nothing")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"there is no project {options['project']!r}")
        try:
            source = read_source(options["model"])
            if options["check"]:
                self._say(source.look(), as_json=options["json"])
                return
            checkpoint = checkpoint_import(
                project=project, name=options["name"], role=options["role"], source=source, told=self._tell
            )
            if options["default"]:
                checkpoint_make_default(checkpoint=checkpoint)
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        for note in Directory(store_path(checkpoint.path)).look().notes:
            self.stderr.write(f"note: {note}")
        said = {"checkpoint": checkpoint.name, "role": checkpoint.role, "fingerprint": checkpoint.fingerprint}
        if options["json"]:
            self.stdout.write(dumps(said | {"n_parameters": checkpoint.n_parameters}))
        else:
            self.stdout.write(f"{checkpoint.name} ({checkpoint.role}) is in {project.slug}: {checkpoint.fingerprint}")

    def _tell(self, done: int, total: int, what: str) -> None:
        self.stderr.write(f"{100 * done // max(total, 1):3d} %  {what}")

    def _say(self, facts: ModelFacts, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(dumps(facts.to_json()))
            return
        gib = 2**30
        self.stdout.write(f"{facts.architecture}, {facts.n_parameters:,} parameters, {facts.n_bytes / gib:.2f} GiB")
        self.stdout.write(
            f"memory at most, on a CPU: sampling {facts.sampling_bytes / gib:.2f} GiB, training all weights "
            f"{facts.training_bytes / gib:.2f} GiB, LoRA {facts.lora_bytes / gib:.2f} GiB"
        )
        self.stdout.write(f"trains by default: {facts.trains_by_default} (adapter.kind)")
        for note in facts.notes:
            self.stdout.write(f"note: {note}")
