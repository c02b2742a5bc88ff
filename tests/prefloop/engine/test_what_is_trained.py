"""What a run is told reaches its numbers: references, temperatures, weights, baselines and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from prefloop.engine import train
from prefloop.engine.online.bond import Bond
from prefloop.engine.online.fresh import look_at_fresh
from prefloop.engine.online.judges import labelled_pairs
from prefloop.engine.online.rollouts import Question, draw_answers
from prefloop.engine.online.samplers import OwnSampler
from prefloop.engine.pieces import Piece, pieces_of, token_logps
from prefloop.engine.step_losses import Answers
from prefloop.engine.sums import Sums
from prefloop.policy.batches import PackItem
from prefloop.policy.loading import load_policy, save_model
from prefloop.policy.prompts import encode_completion, encode_prompt
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.scoring import forward_tokens, score_groups
from prefloop.policy.tiny import tiny_policy
from prefloop.recipes.recipe import Draw, Label, Objective
from prefloop.recipes.runspec import RunSpec
from prefloop.seeds import sampler_seed
from prefloop.types import Completion, Group, Pair, TrainingPair


def answers(row: int, answered: Sequence[tuple[str, tuple[int, ...], float]]) -> Answers:
    completions = tuple(Completion(text="", ids=ids, source=source) for source, ids, _ in answered)
    group = Group(f"p{row}", completions, tuple(score for _, _, score in answered))
    return Answers(row, f"p{row}", "Say.", (83, 97, 121), group)


def test_reference_log_probs_are_the_references_and_not_the_starts(
    make_run: Callable[..., Path], story: Any, tmp_path: Path, tiny_policy_dir: Path
) -> None:
    reference = tiny_policy(seed=7, chat=True)
    save_model(reference.model, reference.tokenizer, tmp_path / "reference")
    rows = [TrainingPair(id="r", prompt="Say one.", first=" good", second=" bad", p_first=1.0)]
    run_dir = make_run(rows=rows, objective={"batch": 1, "beta": 0.5}, reference=str(tmp_path / "reference"))
    assert train.run(run_dir).exit_code == 0
    metrics, _ = story(run_dir)
    start, other = (load_policy(path) for path in (tiny_policy_dir, tmp_path / "reference"))
    tokenizer = start.tokenizer
    ids = tuple(encode_completion(tokenizer, text) for text in (" good", " bad"))
    item = PackItem(encode_prompt(tokenizer, "Say one."), ids)
    ((good, bad),), ((ref_good, ref_bad),) = score_groups(start, [item]), score_groups(other, [item])
    margin = 0.5 * ((good - bad) - (ref_good - ref_bad))
    assert abs(margin) > 0.01  # with the start as its own reference it is 0, and the loss log 2
    assert metrics[0][1]["rewards/margins"] == pytest.approx(margin, rel=1e-3, abs=1e-5)
    assert metrics[0][1]["loss"] == pytest.approx(float(-torch.tensor(margin).sigmoid().log()), rel=1e-4)


@pytest.mark.parametrize(("labels", "wanted"), [("hard", None), ("soft", 0.5), ("sampled", {0.0, 1.0})])
def test_a_tie_inside_a_step_makes_no_pair_unless_labels_are_soft(labels: str, wanted: Any) -> None:
    class Tied:
        def labels(self, step: int, wanted: Sequence[tuple[Answers, Pair]]) -> list[float | None]:
            return [0.5] * len(wanted)

    asked = [(answers(row, [("current", (4,), 0.0), ("current", (5,), 0.0)]), Pair(0, 1)) for row in range(40)]
    pairs, n_dropped = labelled_pairs(Tied(), Label(by="judge", labels=labels), asked, step=1, seed=0)  # type: ignore[arg-type]
    found = {pair.p for mine in pairs.values() for pair in mine}
    if wanted is None:
        assert (pairs, n_dropped) == ({}, 40)
    else:
        assert n_dropped == 0
        assert found == (wanted if isinstance(wanted, set) else {wanted})


def looked_at(rows: list[Any], policy: Any, reference: Any) -> Piece:
    (piece,) = pieces_of(policy.model, rows, token_budget=4096)
    piece.kept |= {"old": token_logps(policy.model, piece), "ref": token_logps(reference.model, piece)}
    return piece


def test_bonds_terms_are_weighed_by_jeffreys_and_its_baseline_is_the_other_answers_return() -> None:
    policy, anchor = tiny_policy(seed=1), tiny_policy(seed=2)
    drawn = [
        answers(
            row, [("anchor", (1, row), 0.0), ("anchor", (2,), 2.0), ("current", (4, 9), 1.0), ("current", (5,), 3.0)]
        )
        for row in range(2)
    ]
    n, jeffreys = 2, 0.2
    objective = Bond(Objective(loss="bond", n=n, jeffreys=jeffreys))
    piece = looked_at(objective.rows(drawn, {}), policy, anchor)
    objective.prepare([piece], Sums())
    logp, ref = piece.sums(piece.kept["old"]), piece.sums(piece.kept["ref"])
    own = torch.tensor([index < 2 for _, index in piece.answers()])
    returns = (piece.numbers() - (logp - ref) / (n - 1))[own].reshape(2, 2)
    others = returns.flip(1)
    torch.testing.assert_close(piece.kept["baseline"], others.reshape(-1))
    states = forward_tokens(policy.model, piece.packed, with_grad=True)
    now = piece.sums(states.logps)
    backward = -(n - 1) * (now[own].reshape(2, 2) * (returns - others)).mean(1)
    expected = (1 - jeffreys) * -now[~own] + jeffreys * backward
    torch.testing.assert_close(objective.loss(piece, states, Sums()), expected.sum(), rtol=1e-5, atol=1e-5)


def test_one_own_answer_has_the_other_prompts_as_its_baseline() -> None:
    policy, anchor = tiny_policy(seed=1), tiny_policy(seed=2)
    scores = (-1.0, 0.5, 9.0)
    drawn = [
        answers(row, [("current", (4, row), score), ("anchor", (1,), 0.0), ("anchor", (2,), 1.0)])
        for row, score in enumerate(scores)
    ]
    objective = Bond(Objective(loss="j-bond"))
    piece = looked_at(objective.rows(drawn, {}), policy, anchor)
    objective.prepare([piece], Sums())
    own = torch.tensor([index == 0 for _, index in piece.answers()])
    returns = (piece.numbers() - piece.sums(piece.kept["old"]) + piece.sums(piece.kept["ref"]))[own]
    torch.testing.assert_close(piece.kept["baseline"], (returns.sum() - returns) / 2)


@pytest.mark.parametrize(
    "chosen", [{"temperature": 0.0}, {"temperature": 0.4}, {"top_p": 0.4}, {"top_k": 3}, {"max_tokens": 2}]
)
def test_answers_of_a_step_are_drawn_as_the_draw_says(chosen: dict[str, Any]) -> None:
    policy = tiny_policy(seed=1, std=0.3)
    questions = [Question(f"p{at}", "Say.", (83, 97, 121, at)) for at in range(4)]
    draw = Draw(source="current", n=3, **{"max_tokens": 8, **chosen})
    engine = OwnSampler()
    engine.load(policy)
    drawn = draw_answers(questions, [draw], {"current": engine}, step=5, seed=3)
    told = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_tokens": 8, **chosen}
    prompts = [SamplePrompt(question.id, question.ids) for question in questions]
    wanted = sample(policy, prompts, n=3, seed=sampler_seed(3, "step", 5, 0), source="current", **told)
    ids = [[one.ids for one in answered.group.completions] for answered in drawn]
    assert ids == [[one.ids for one in group.completions] for group in wanted]
    plain = draw_answers(questions, [Draw(source="current", n=3, max_tokens=8)], {"current": engine}, step=5, seed=3)
    assert ids != [[one.ids for one in answered.group.completions] for answered in plain]


SPEC = RunSpec(run_id="1", kind="dpo", start="start", reference="start", objective=Objective(reference="initial"))


def test_the_kl_that_a_step_reports_is_that_of_its_answers() -> None:
    policy, reference = tiny_policy(seed=1), tiny_policy(seed=2)
    drawn = [answers(row, [("current", (4, 9, row), 1.0), ("current", (5,), 0.0)]) for row in range(2)]
    with_anchor = [answers(one.row, [*_flat(one), ("anchor", (1,), 0.5)]) for one in drawn]
    sums = Sums()
    with torch.no_grad():
        look_at_fresh(SPEC, policy.model, reference, with_anchor, sums, token_budget=4096)
    items = [PackItem(one.prompt_ids, tuple(answer.ids for answer in one.group.completions)) for one in drawn]
    gaps = [
        a - b
        for ours, theirs in zip(score_groups(policy, items), score_groups(reference, items), strict=True)
        for a, b in zip(ours, theirs, strict=True)
    ]
    assert sums.means()["objective/kl"] == pytest.approx(sum(gaps) / len(gaps), rel=1e-4)
    assert abs(sum(gaps)) > 0.1


def _flat(one: Answers) -> list[tuple[str, tuple[int, ...], float]]:
    scores = one.group.scores or ()
    return [(answer.source, answer.ids, score) for answer, score in zip(one.group.completions, scores, strict=True)]
