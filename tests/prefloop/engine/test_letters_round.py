"""One round of iterative DPO in the letters world, by the parts as a loop joins them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from prefloop.config import apply_settings
from prefloop.engine import train
from prefloop.engine.evaluate import EvalPrompt, evaluate
from prefloop.policy.loading import load_policy
from prefloop.policy.prompts import encode_prompt
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.events import read_events
from prefloop.recipes.filters import apply_filter
from prefloop.recipes.labelling import label_by_scores
from prefloop.recipes.pairing import make_pairs
from prefloop.recipes.runspec import RunSpec, write_spec
from prefloop.recipes.snapshots import write_snapshot
from prefloop.types import Completion, TrainingPair
from prefloop.worlds.letters import corpus
from prefloop.worlds.letters.utility import utility


def gold(asked: Sequence[tuple[str, Sequence[Completion]]]) -> list[list[float]]:
    return [[utility(prompt, c.text) for c in completions] for prompt, completions in asked]


@pytest.mark.slow
def test_a_round_of_best_against_worst_dpo_makes_better_letters_and_stays_near(
    letters_policy_dir: Path, tmp_path: Path
) -> None:
    recipe = apply_settings(
        get_recipe("iterative-dpo"),
        {"prompts.n": 256, "draws.max_tokens": 64, "objective.batch": 16, "objective.lr": "3e-4"},
    )
    (draw,) = recipe.draws
    policy = load_policy(letters_policy_dir)
    prompts = corpus.prompts("train")[: recipe.prompts.n]
    asked = [SamplePrompt(prompt.id, encode_prompt(policy.tokenizer, prompt.text)) for prompt in prompts]
    groups = sample(policy, asked, n=draw.n, temperature=draw.temperature, max_tokens=draw.max_tokens, seed=1)
    rows, n_ties = [], 0
    for prompt, group in zip(prompts, groups, strict=True):
        scored = dataclasses.replace(group, scores=tuple(gold([(prompt.text, group.completions)])[0]))
        paired = make_pairs(recipe.pairing, apply_filter(recipe.filter, scored, seed=0), seed=0)
        n_ties += paired.n_ties
        for pair in label_by_scores(recipe.label, scored, paired.pairs, seed=0):
            first, second = group.completions[pair.i], group.completions[pair.j]
            rows.append(
                TrainingPair(
                    id=prompt.id,
                    prompt=prompt.text,
                    first=first.text,
                    second=second.text,
                    p_first=pair.p if pair.p is not None else 0.5,
                    first_ids=first.ids,
                    second_ids=second.ids,
                    source="scores",
                )
            )
    assert len(rows) + n_ties == len(prompts)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    info = write_snapshot(run_dir / "snapshot.jsonl", rows)
    model = str(letters_policy_dir)
    write_spec(
        run_dir,
        RunSpec(
            run_id="1",
            kind="dpo",
            start=model,
            reference=model,
            objective=recipe.objective,
            snapshot_sha256=info.sha256,
        ),
    )
    assert train.run(run_dir).exit_code == 0
    metrics = [event.data["values"] for event in read_events(run_dir / "events.jsonl")[0] if event.type == "metric"]
    assert metrics[0]["rewards/margins"] == 0.0
    assert metrics[-1]["rewards/margins"] > 0.05
    held_out = [EvalPrompt(prompt.id, prompt.text) for prompt in corpus.prompts("eval")[:96]]
    found = evaluate(load_policy(run_dir / "final"), policy, None, held_out, max_tokens=64, seed=0, gold=gold)
    assert found.vs_initial is not None
    assert found.vs_initial.win_rate.interval is not None
    print(found.vs_initial, found.kl, found.gold, found.mean_tokens)
    assert found.vs_initial.win_rate.interval.low > 0.5
    assert 0.0 < found.kl.mean < 1.0
