"""The faults that `tests/mutations.py` plants: a text of a file, what replaces it, and the tests that must notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """`old` stands in `file` exactly once; `tests` are paths under tests/, or names after `::`."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


_STEPS = ("prefloop/engine/test_what_is_trained.py", "prefloop/engine/test_online_steps.py")


_ROUND = ("apps/training/test_what_a_round_trains_on.py",)


_EVALUATE = ("prefloop/engine/test_evaluate.py",)


_BOND = ("prefloop/losses/test_bond.py",)


_LOSSES = ("prefloop/losses/test_objectives.py", "prefloop/losses/test_ipo_and_hinges.py")


FAULTS = (
    # who is the reference, whose labels, which answers
    Fault(
        "reference=initial gives the round's own start",
        "apps/training/rounds/stages/sample.py",
        'if source == "initial":\n        return need(loop.initial)',
        'if source == "initial":\n        return need(round_.policy)',
        _ROUND,
    ),
    Fault(
        "offline reference log-probs are the start's",
        "prefloop/engine/source.py",
        "own = fresh and isinstance(loaded, Policy) and path.resolve() == Path(loaded.path).resolve()",
        "own = fresh and isinstance(loaded, Policy)",
        _STEPS[:1],
    ),
    Fault(
        "an offline tie is won by the second",
        "prefloop/preference.py",
        ".get(outcome_at(p_first), 0.5)",
        ".get(outcome_at(p_first), 0.0)",
        ("prefloop/recipes/test_filters_and_pairings.py",),
    ),
    Fault(
        "ReST's scores are not centred",
        "apps/training/rounds/answers.py",
        "mean = sum(scores) / len(scores)",
        "mean = 0.0",
        _ROUND,
    ),
    Fault(
        "RLAIF's reward model learns people's labels",
        "apps/training/rounds/labels.py",
        "labels = [label for label in _labels(_ids(loop), judge=judge) if label.source not in PEOPLE]",
        "labels = [label for label in _labels(_ids(loop), judge=judge)]",
        _ROUND,
    ),
    Fault(
        "GKD's own share is .15",
        "prefloop/recipes/catalogue/rounds.py",
        'loss="gkd", beta=0.5, lambda_=0.5',
        'loss="gkd", beta=0.5, lambda_=0.15',
        ("prefloop/recipes/test_recipe.py", *_ROUND),
    ),
    Fault(
        "GKD's own share is ignored",
        "apps/training/rounds/material.py",
        "takes_own = rng.random() < recipe.objective.lambda_",
        "takes_own = rng.random() < 0.5",
        _ROUND,
    ),
    Fault(
        "stored prompts are the first and not drawn",
        "apps/training/rounds/labels.py",
        "return set(rng.sample(sorted(prompts), min(recipe.prompts.n, len(prompts))))",
        "return set(sorted(prompts)[: recipe.prompts.n])",
        _ROUND,
    ),
    Fault(
        "replays of all seeds shuffle alike",
        "apps/training/rounds/stepwise.py",
        "replay_seed=loop.seed if replays else 0",
        "replay_seed=0",
        _ROUND,
    ),
    # evaluation
    Fault(
        "a judge compares the twins that share their random numbers",
        "prefloop/engine/evaluate.py",
        "(at + 1) % n",
        "(at + 0) % n",
        _EVALUATE,
    ),
    Fault(
        "the KL is over the initial policy's answers",
        "prefloop/engine/evaluate.py",
        "for group in ours.groups\n    ]",
        "for group in theirs[id(initial)].groups\n    ]",
        _EVALUATE,
    ),
    # inside a step
    Fault(
        "a tie inside a step is won by the first",
        "prefloop/engine/online/judges.py",
        'if p is None or (settings.labels == "hard" and outcome_at(p) == "tie"):',
        "if p is None:",
        _STEPS,
    ),
    Fault(
        "Jeffreys' weight is another inside a step",
        "prefloop/engine/online/bond.py",
        "return jeffreys_loss(forward, backward.loss, jeffreys=settings.jeffreys)",
        "return jeffreys_loss(forward, backward.loss, jeffreys=0.5)",
        _STEPS,
    ),
    Fault(
        "BOND's baseline holds its own return",
        "prefloop/engine/online/bond.py",
        "return [(table - rloo_advantages(table)).reshape(-1) for table in tables]",
        "return [table.mean(1, keepdim=True).expand_as(table).reshape(-1) for table in tables]",
        _STEPS,
    ),
    Fault(
        "one own answer is its own baseline",
        "prefloop/losses/bond.py",
        "return (returns.sum() - returns) / (len(returns) - 1)",
        "return returns.mean().expand_as(returns)",
        _BOND,
    ),
    Fault(
        "the temperature of a draw is ignored inside a step",
        "prefloop/engine/online/samplers.py",
        "temperature=settings.temperature",
        "temperature=1.0",
        _STEPS,
    ),
    Fault(
        "the KL that a step reports is 0",
        "prefloop/engine/online/fresh.py",
        'sums.add("objective/kl", old - piece.sums(piece.kept["ref"]))',
        'sums.add("objective/kl", 0 * old)',
        _STEPS,
    ),
    Fault(
        "BOND's reward has its first term alone",
        "prefloop/losses/bond.py",
        "return bond_reward(p_below, p_up_to, n=n) if both_terms else p_up_to.log()",
        "return p_up_to.log()",
        (_STEPS[1], "prefloop/tabular/test_known_optima.py::test_bond_rests_at_best_of_n_for_every_mix"),
    ),
    Fault(
        "an answer that does not end pays nothing",
        "prefloop/engine/online/ppo.py",
        "missing_eos_penalty=self.settings.missing_eos_penalty",
        "missing_eos_penalty=0.0",
        _STEPS[1:],
    ),
    Fault(
        "the extra KL pushes away from the anchor",
        "prefloop/losses/bond.py",
        "jeffreys=jeffreys) + gamma * regulariser",
        "jeffreys=jeffreys) - gamma * regulariser",
        _BOND,
    ),
    # losses
    Fault(
        "J-BOND punishes what equals the worse",
        "prefloop/losses/bond.py",
        "below_both = reward < torch.minimum",
        "below_both = reward <= torch.minimum",
        _BOND,
    ),
    Fault(
        "the value loss is not clipped",
        "prefloop/losses/ppo.py",
        "held = values.clamp(old_values - clip, old_values + clip)",
        "held = values",
        ("prefloop/losses/test_ppo.py",),
    ),
    Fault(
        "the score is one token early",
        "prefloop/losses/ppo.py",
        "last = torch.where(mask, position, -1).amax(dim=1, keepdim=True)",
        "last = torch.where(mask, position, -1).amax(dim=1, keepdim=True) - 1",
        ("prefloop/losses/test_ppo.py",),
    ),
    Fault(
        "IPO per token logs the margin of the sums",
        "prefloop/losses/ipo.py",
        "pair_metrics(batch, tau * (first - ref_first), tau * (second - ref_second))",
        "pair_metrics(batch, tau * (batch.first_logp_sum - ref_first), tau * (batch.second_logp_sum - ref_second))",
        (*_LOSSES, "prefloop/losses/test_ranking_losses.py"),
    ),
    Fault(
        "XPO's bonus draws towards the reference's answers",
        "prefloop/losses/xpo.py",
        "bonus = alpha * drawn_by_ref_logp_sum",
        "bonus = -alpha * drawn_by_ref_logp_sum",
        ("prefloop/losses/test_xpo.py",),
    ),
    Fault(
        "XPO's bonus lies on the policy's own answer",
        "prefloop/engine/step_losses.py",
        "if at not in own), None)",
        "if at in own), None)",
        ("prefloop/losses/test_xpo.py",),
    ),
    Fault(
        "TR-DPO's reference stays",
        "prefloop/engine/source.py",
        "self._anchor.follow(model, step)",
        "self._anchor.follow(model, 0)",
        ("prefloop/engine/test_train.py::test_a_run_agrees_with_a_plain_loop_that_packs_and_caches_nothing",),
    ),
    Fault(
        "WPO's weights are of whole answers",
        "prefloop/losses/wpo.py",
        "return ((logp_sum - collision_sum) / n_tokens).detach()",
        "return (logp_sum - collision_sum).detach()",
        ("prefloop/losses/test_wpo.py",),
    ),
    Fault(
        "R-DPO rewards length",
        "prefloop/losses/r_dpo.py",
        "price = alpha / beta",
        "price = -alpha / beta",
        ("prefloop/losses/test_r_dpo.py",),
    ),
    Fault(
        "SimPO's reward is of the whole answer",
        "prefloop/losses/simpo.py",
        "first, second = batch.first_logp_sum / n_first, batch.second_logp_sum / n_second",
        "first, second = batch.first_logp_sum, batch.second_logp_sum",
        ("prefloop/losses/test_simpo.py",),
    ),
    Fault(
        "SimPO's margin is for the worse answer",
        "prefloop/losses/simpo.py",
        "torch.nn.functional.logsigmoid(h - gamma)",
        "torch.nn.functional.logsigmoid(h + gamma)",
        ("prefloop/losses/test_simpo.py",),
    ),
    Fault(
        "ORPO compares probabilities and no odds",
        "prefloop/losses/orpo.py",
        "return logp - (-torch.expm1(logp)).log()",
        "return logp",
        ("prefloop/losses/test_orpo.py",),
    ),
    Fault(
        "ORPO imitates the worse answer",
        "prefloop/losses/orpo.py",
        "likelihood, _ = by_label(",
        "_, likelihood = by_label(",
        ("prefloop/losses/test_orpo.py",),
    ),
    Fault(
        "a prompt stands beside its own answer",
        "prefloop/engine/examples.py",
        "shift = max(map(len, places.values()))",
        "shift = 0",
        ("prefloop/engine/test_examples.py",),
    ),
    Fault(
        "a tie's answers are undesirable",
        "apps/training/sets/snapshots.py",
        "if pair.p_first == 0.5 and not label.both_bad:",
        "if False:",
        ("apps/training/test_what_a_round_trains_on.py",),
    ),
    Fault(
        "KTO's z may be negative",
        "prefloop/losses/kto.py",
        "mismatched.detach().clamp(min=0)",
        "mismatched.detach()",
        ("prefloop/losses/test_kto.py",),
    ),
    Fault(
        "KTO learns through z",
        "prefloop/losses/kto.py",
        "mismatched.detach().clamp(min=0)",
        "mismatched.clamp(min=0)",
        ("prefloop/losses/test_kto.py",),
    ),
    Fault(
        "RLOO is drawn away from the reference",
        "prefloop/losses/rloo.py",
        "returns = (scores - beta * (old_logp_sum - ref_logp_sum)).detach()",
        "returns = (scores + beta * (old_logp_sum - ref_logp_sum)).detach()",
        ("prefloop/losses/test_rloo.py",),
    ),
    Fault(
        "RLOO measures answers by other prompts' answers",
        "prefloop/losses/rloo.py",
        "returns.reshape(len(group.unique()), -1)",
        "returns.reshape(1, -1)",
        ("prefloop/losses/test_rloo.py",),
    ),
    Fault(
        "Dr. GRPO divides by the deviation",
        "prefloop/losses/grpo.py",
        "by_deviation=not is_dr",
        "by_deviation=True",
        ("prefloop/losses/test_grpo.py",),
    ),
    Fault(
        "GRPO's KL is turned round",
        "prefloop/losses/grpo.py",
        "behind = torch.where(mask, ref_logp - logp, 0.0)",
        "behind = torch.where(mask, logp - ref_logp, 0.0)",
        ("prefloop/losses/test_grpo.py",),
    ),
    Fault(
        "Dr. GRPO divides by an answer's own length",
        "prefloop/losses/grpo.py",
        "length=batch.longest if is_dr else None",
        "length=None",
        ("prefloop/losses/test_grpo.py",),
    ),
    Fault(
        "smoothing takes the label's other side",
        "prefloop/losses/dpo.py",
        "p = batch.p_first * (1 - label_smoothing) + (1 - batch.p_first) * label_smoothing",
        "p = batch.p_first * label_smoothing + (1 - batch.p_first) * (1 - label_smoothing)",
        _LOSSES,
    ),
    # recipes
    Fault(
        "equal scores without noise make no tie",
        "prefloop/preference.py",
        "return 0.5 if difference == 0 else float(difference > 0)",
        "return float(difference >= 0)",
        ("prefloop/worlds/test_letters_utility.py",),
    ),
    Fault(
        "noise turns no label round",
        "prefloop/recipes/labelling.py",
        "return 1.0 - p if settings.noise > 0 and rng.random() < settings.noise else p",
        "return p",
        ("prefloop/recipes/test_filters_and_pairings.py",),
    ),
    Fault(
        "the best of equals is the first",
        "prefloop/recipes/filters.py",
        "tied = [at for at, score in enumerate(scores) if score == best]",
        "tied = [scores.index(best)]",
        ("prefloop/recipes/test_filters_and_pairings.py",),
    ),
    # statistics
    Fault(
        "kappa expects half of the chance agreement",
        "prefloop/stats/agreement.py",
        'expected = np.einsum("...i,ij,...j->...", rows, w, columns) / n**2',
        'expected = np.einsum("...i,ij,...j->...", rows, w, columns) / n**2 / 2',
        ("prefloop/stats/test_agreement.py",),
    ),
    Fault(
        "Wilson's interval is one-sided",
        "prefloop/stats/intervals.py",
        "return float(ndtri(0.5 + confidence / 2))",
        "return float(ndtri(confidence))",
        ("prefloop/stats/test_intervals.py",),
    ),
    # labels
    Fault(
        "a tie is won by the first",
        "prefloop/preference.py",
        '"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5',
        '"first": 1.0, "second": 0.0, "tie": 1.0, "both_bad": 0.5',
        ("prefloop/judging/test_verdicts.py", *_ROUND),
    ),
)
