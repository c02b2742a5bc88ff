from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.policies.models import Checkpoint
from apps.policies.selectors import checkpoint_by_name
from apps.projects.models import Project
from apps.prompts.selectors import prompt_list, prompt_set_by_name
from apps.samples.models import Completion
from apps.samples.services import sampling_run_create
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Sample n answers of a checkpoint for every prompt of a set, here and now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--checkpoint", required=True, help="name of a policy")
        parser.add_argument("--prompts", required=True, help="name of a prompt set")
        parser.add_argument("-n", type=int, required=True, help="answers for each prompt")
        parser.add_argument("--project", default="", help="slug; needed where several projects have the checkpoint")
        parser.add_argument("--temperature", type=float, default=1.0)
        parser.add_argument("--top-p", type=float, default=1.0)
        parser.add_argument("--top-k", type=int, default=0)
        parser.add_argument("--max-tokens", type=int, default=128)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        from workers.foreground import run_group

        try:
            project = _project(options["project"], options["checkpoint"])
            checkpoint = checkpoint_by_name(project, options["checkpoint"])
            prompt_set = prompt_set_by_name(project, options["prompts"])
            ids = list(prompt_list(project, set_name=prompt_set.name).values_list("id", flat=True))
            run = sampling_run_create(
                project=project,
                checkpoint=checkpoint,
                prompt_ids=ids,
                prompt_set=prompt_set,
                n=options["n"],
                temperature=options["temperature"],
                top_p=options["top_p"],
                top_k=options["top_k"],
                max_tokens=options["max_tokens"],
                seed=options["seed"],
            )
            if run.group is not None:
                run_group(run.group, quiet=options["json"])
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        n = Completion.objects.filter(run=run).count()
        if options["json"]:
            self.stdout.write(
                json.dumps({"run": run.pk, "checkpoint": checkpoint.name, "n_prompts": len(ids), "n_samples": n})
            )
        else:
            self.stdout.write(f"run {run.pk}: {n} answers of {checkpoint.name} to {len(ids)} prompts")


def _project(slug: str, checkpoint: str) -> Project:
    if slug:
        found = Project.objects.filter(slug=slug).first()
        if found is None:
            raise CommandError(f"no project {slug!r}")
        return found
    having = list(Checkpoint.objects.filter(name=checkpoint, role="policy").select_related("project")[:2])
    if not having:
        raise CommandError(f"no policy {checkpoint!r} in any project")
    if len(having) > 1:
        raise CommandError(f"several projects have a policy {checkpoint!r}: say which with --project")
    return having[0].project
