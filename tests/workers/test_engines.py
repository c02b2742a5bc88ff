"""What draws in this worker, where a run leaves the choice to it."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import call_command

from apps.samples.models import SamplingRun

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.slow
def test_auto_becomes_an_engine_with_its_reason_and_is_not_chosen_again(make_letters_project, settings):
    settings.VLLM_PYTHON = ""
    project = make_letters_project("letters", n_train=2, n_eval=1, n_labelled=1)
    policy, prompts = project.checkpoints.get(), project.prompt_sets.first()
    out = StringIO()
    call_command(
        "sample", "--checkpoint", policy.name, "--project", "letters", "--prompts", prompts.name, "-n", 1,
        "--max-tokens", 4, "--engine", "auto", "--json", stdout=out,
    )  # fmt: skip
    run = SamplingRun.objects.get()
    assert json.loads(out.getvalue())["engine"] == run.engine == "transformers"
    assert run.engine_why == "auto: vLLM is not installed"
    assert run.completions.count() == len(run.prompt_ids)
