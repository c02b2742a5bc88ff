"""A small letters project with everything a loop needs: prompts, a tiny trained policy, labelled pairs, gold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def letters_policy_dir() -> Path:
    """The tiny trained letters policy, made once a machine and code version; nothing may write into it."""
    from prefloop.worlds.letters.cache import cached_letters_policy

    return cached_letters_policy(ROOT / "var" / "test-cache")


@pytest.fixture
def make_letters_project(letters_policy_dir: Path, settings: Any, tmp_path: Path) -> Callable[..., Any]:
    """make_letters_project(slug, n_train=32, n_eval=12, n_labelled=40, store=None): prompts of both splits, the tiny
    policy as the default one, corpus letters in pairs, each with a verdict of the judge `world-preference` and the
    label that follows; four held-out pairs with gold. Everything lies under `store`, STORE_DIR from then on.
    """
    from django.utils import timezone

    from apps.jobs.models import Job
    from apps.judging.services import judge_create
    from apps.labels.selectors import orders_for
    from apps.labels.services import NewVerdict, preferences_derive, verdicts_add
    from apps.policies.services import checkpoint_import, checkpoint_make_default
    from apps.projects.models import Project
    from apps.prompts.models import Prompt
    from apps.prompts.services import NewPrompt, prompts_add
    from apps.samples.models import Comparison, Completion
    from apps.samples.services import comparisons_create
    from prefloop.judging.verdicts import ORDER_CODES
    from prefloop.model_sources import Directory
    from prefloop.types import LabelledVerdict
    from prefloop.worlds.letters.corpus import answers
    from prefloop.worlds.letters.world import WORLD_JUDGE, LettersWorld

    def make(
        slug: str = "letters-test",
        *,
        n_train: int = 32,
        n_eval: int = 12,
        n_labelled: int = 40,
        store: Path | None = None,
    ) -> Any:
        settings.STORE_DIR = store or tmp_path / "store"
        world = LettersWorld(0)
        project = Project.objects.create(
            slug=slug, name="Letters", world="letters", label_judge=WORLD_JUDGE, criterion="Kind and correct."
        )
        pairs = []
        for split, n_prompts, n_pairs in (("train", n_train, n_labelled), ("eval", n_eval, 4)):
            chosen = world.prompts(split)[:n_prompts]  # type: ignore[arg-type]
            prompts_add(
                project=project,
                set_name=f"letters-{split}",
                prompts=[NewPrompt(text=prompt.text, external_id=prompt.id, split=split) for prompt in chosen],
            )
            rows = {row.external_id: row for row in Prompt.objects.filter(project=project)}
            at = 0
            while n_pairs > 0:
                prompt = chosen[at % n_prompts]
                texts = answers(prompt, 2 * (at // n_prompts + 1), seed=0)[-2:]
                made = [
                    Completion.objects.create(
                        project=project, prompt=rows[prompt.id], index=2 * (at // n_prompts) + k, text=text
                    )
                    for k, text in enumerate(texts)
                ]
                pairs.append((made[0], made[1]))
                at, n_pairs = at + 1, n_pairs - 1
        comparisons = comparisons_create(project=project, pairs=pairs, origin="seed")
        judge = judge_create(project=project, name=WORLD_JUDGE, kind="world", options={"noise": 0.0})
        for comparison in Comparison.objects.filter(project=project).select_related("prompt", "first", "second"):
            said = world.gold(comparison.prompt.text, comparison.first.text, comparison.second.text)
            if comparison.held_out:
                Comparison.objects.filter(pk=comparison.pk).update(gold=said)
            else:
                order = ORDER_CODES[orders_for(judge, comparison.pk)[0]]
                verdict = NewVerdict(comparison.pk, order, LabelledVerdict(state="ok", outcome=said))
                verdicts_add(judge=judge, run=None, verdicts=[verdict])
        preferences_derive(
            project=project, comparison_ids=[comparison.pk for comparison in comparisons], now=timezone.now()
        )
        checkpoint_make_default(
            checkpoint=checkpoint_import(
                project=project, name="tiny", role="policy", source=Directory(letters_policy_dir)
            )
        )
        Job.objects.filter(project=project, kind="policies.speed").delete()  # a test's machine is not worth measuring
        return project

    return make
