"""Many answers to one prompt are written in pieces, and an interrupted job draws only those that are missing."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from apps.jobs.errors import JobCancelled
from apps.policies.services import checkpoint_import
from apps.projects.models import Project
from apps.prompts.models import Prompt
from apps.prompts.services import NewPrompt, prompts_add
from apps.samples.models import Completion, SamplingRun
from prefloop.model_sources import Directory
from workers import pieces
from workers.handlers import sampling

pytestmark = pytest.mark.django_db
N = 8


class Context:
    """Takes progress in, and is cancelled at the n-th look."""

    payload = {}

    def __init__(self, cancelled_at=None):
        self.looks, self.cancelled_at, self.shown = 0, cancelled_at, []

    def check(self):
        self.looks += 1
        if self.looks == self.cancelled_at:
            raise JobCancelled

    def progress(self, step, n_steps, words):
        self.shown.append((step, n_steps))

    def log(self, words):
        pass

    def fenced(self):
        return nullcontext()


@pytest.fixture
def run(settings, tmp_path):
    """Makes runs of the same answers: two prompts, eight answers each."""
    from tests.prefloop.tiny import save_tiny_policy

    settings.STORE_DIR = tmp_path / "store"
    project = Project.objects.create(slug="many", name="Many")
    policy = checkpoint_import(
        project=project, name="tiny", role="policy", source=Directory(save_tiny_policy(tmp_path / "tiny"))
    )
    new = [NewPrompt(text=f"Say {word}.", external_id=word) for word in ("hello", "bye")]
    prompts_add(project=project, set_name="main", prompts=new)
    ids = list(Prompt.objects.filter(project=project).order_by("pk").values_list("pk", flat=True))

    def make():
        return SamplingRun.objects.create(
            project=project, checkpoint=policy, engine="transformers", prompt_ids=ids, n=N, max_tokens=6, seed=3
        )

    return make


def answers(run):
    return list(Completion.objects.filter(run=run).order_by("prompt", "index").values_list("prompt", "index", "text"))


@pytest.mark.slow
@pytest.mark.parametrize("most", [3, N, 2 * N])
def test_an_interrupted_job_keeps_every_piece_and_ends_with_the_same_answers(run, monkeypatch, most):
    monkeypatch.setattr(pieces, "at_once", lambda *a, **k: most)
    undisturbed, stopped = run(), run()
    sampling.draw(ctx=Context(), run=undisturbed, prompt_ids=undisturbed.prompt_ids)
    whole = answers(undisturbed)
    assert len(whole) == 2 * N
    if most < 2 * N:
        with pytest.raises(JobCancelled):
            sampling.draw(ctx=Context(cancelled_at=2), run=stopped, prompt_ids=stopped.prompt_ids)
        assert len(answers(stopped)) == most
    again = Context()
    sampling.draw(ctx=again, run=stopped, prompt_ids=stopped.prompt_ids)
    assert answers(stopped) == whole
    assert again.shown[0] == (most % (2 * N), 2 * N)
    assert again.shown[-1] == (2 * N, 2 * N)


@pytest.mark.slow
def test_answers_of_an_attempt_in_larger_pieces_are_not_drawn_again(run, monkeypatch):
    monkeypatch.setattr(pieces, "at_once", lambda *a, **k: 3)
    stopped = run()
    with pytest.raises(JobCancelled):
        sampling.draw(ctx=Context(cancelled_at=3), run=stopped, prompt_ids=stopped.prompt_ids)
    monkeypatch.setattr(pieces, "at_once", lambda *a, **k: 512)
    again = Context()
    sampling.draw(ctx=again, run=stopped, prompt_ids=stopped.prompt_ids)
    assert [step for step, _ in again.shown] == [6, 14, 16]  # the other prompt's eight, then this one's two
    assert [index for _, index, _ in answers(stopped)] == [*range(N), *range(N)]
