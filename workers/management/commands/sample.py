from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.policies.selectors import checkpoint_by_name, endpoint_by_name
from apps.projects.models import Project
from apps.prompts.selectors import prompt_list, prompt_set_by_name
from apps.samples.models import Completion
from apps.samples.next_steps import in_a_line, next_steps
from apps.samples.pairs import MadeComparisons, comparisons_from_run, pairing_of
from apps.samples.services import APIS, sampling_run_create
from prefloop.recipes.engines import OURS, TRANSFORMERS
from prefloop.types import PrefloopError


class Command(BaseCommand):
    help = "Sample n answers of a checkpoint (or an endpoint) for every prompt of a set, here and now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("--checkpoint", default="", help="name of a policy")
        who.add_argument("--endpoint", default="", help="name of an endpoint: a model that others serve")
        parser.add_argument(
            "--engine",
            choices=OURS,
            default=TRANSFORMERS.name,
            help="what draws a checkpoint's answers: transformers here, a vLLM server started for it, or auto, which "
            "takes vllm for many answers on a GPU",
        )
        parser.add_argument(
            "--api",
            choices=APIS,
            default="chat",
            help="how an endpoint is asked: by chat messages, or by the prompt's text to be continued",
        )
        parser.add_argument("--prompts", required=True, help="name of a prompt set")
        parser.add_argument("-n", type=int, required=True, help="answers for each prompt")
        parser.add_argument("--project", default="", help="slug; needed where several projects have the checkpoint")
        parser.add_argument("--temperature", type=float, default=1.0)
        parser.add_argument("--top-p", type=float, default=1.0)
        parser.add_argument("--top-k", type=int, default=0)
        parser.add_argument("--max-tokens", type=int, default=128)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument(
            "--pairs",
            default="",
            metavar="two|random:K|all:K",
            help="make comparisons of the answers: the first two of each prompt, or K pairs a prompt",
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        from workers.foreground import run_group

        made: MadeComparisons | None = None
        try:
            pairing = pairing_of(options["pairs"]) if options["pairs"] else None
            project = _project(options["project"], options["checkpoint"], options["endpoint"])
            source: dict[str, Any]
            if options["endpoint"]:
                source = {"endpoint": endpoint_by_name(project, options["endpoint"]), "api": options["api"]}
            else:
                source = {
                    "checkpoint": checkpoint_by_name(project, options["checkpoint"]),
                    "engine": options["engine"],
                }
            prompt_set = prompt_set_by_name(project, options["prompts"])
            ids = list(prompt_list(project, set_name=prompt_set.name).values_list("id", flat=True))
            run = sampling_run_create(
                project=project,
                **source,
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
                run.refresh_from_db(fields=["engine"])  # auto is one of them by now
            if pairing is not None:
                name, per_prompt = pairing
                made = comparisons_from_run(run=run, pairing=name, per_prompt=per_prompt, seed=options["seed"])
        except PrefloopError as error:
            raise CommandError(str(error)) from error
        n = Completion.objects.filter(run=run).count()
        if options["json"]:
            said = {"run": run.pk, "engine": run.engine, "n_prompts": len(ids), "n_samples": n}
            said["n_comparisons"] = made.n_new if made is not None else 0
            kind = "endpoint" if run.endpoint is not None else "checkpoint"
            self.stdout.write(json.dumps({kind: run.source_name} | said))
        else:
            self.stdout.write(f"run {run.pk}: {n} answers of {run.source_name} to {len(ids)} prompts")
            if made is not None:
                same = f"; {made.n_same} pairs were left out: both answers say the same" if made.n_same else ""
                self.stdout.write(f"{made.n_new} comparisons wait at /p/{project.slug}/annotate/{same}")
            elif found := next_steps(project):
                self.stdout.write(in_a_line(found))


def _project(slug: str, checkpoint: str, endpoint: str) -> Project:
    if slug:
        found = Project.objects.filter(slug=slug).first()
        if found is None:
            raise CommandError(f"no project {slug!r}")
        return found
    what, name = ("endpoint", endpoint) if endpoint else ("policy", checkpoint)
    if endpoint:
        having = list(Project.objects.filter(endpoints__name=name)[:2])
    else:
        having = list(Project.objects.filter(checkpoints__name=name, checkpoints__role="policy")[:2])
    if not having:
        raise CommandError(f"no {what} {name!r} in any project")
    if len(having) > 1:
        raise CommandError(f"several projects have a {what} {name!r}: say which with --project")
    return having[0]
