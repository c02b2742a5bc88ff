"""Run a recipe on the outcomes: rounds of drawing, filtering, pairing and training, to the optimum or for some steps.

Without steps each training continues until its expected gradient is zero. With steps it is plain gradient descent on
the logits with that gradient, draws and anchor moving as the recipe says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from prefloop.config import ConfigError
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.parts import Filter, Pairing
from prefloop.recipes.recipe import Recipe
from prefloop.seeds import derive_seed
from prefloop.tabular import methods
from prefloop.tabular.draws import all_groups
from prefloop.tabular.groups import KeptLaw, finite_rejection_law, pair_law
from prefloop.tabular.methods import Method, Wins
from prefloop.tabular.options import ASK_STEPS, Request, anchor_moves, check_request, replays, why_no_rest
from prefloop.tabular.solve import gradient_of, solve
from prefloop.tabular.world import World, given_law

REPLICATES = 8  # whole runs, from which Monte Carlo's standard error is taken


@dataclass(slots=True)
class Outcome:
    """The result of the laboratory. `se` is the policy's standard error (m,), if groups were not enumerated."""

    policy: Tensor
    steps: int = 0
    data_law: Tensor | None = None
    acceptance: float | None = None
    pair_law: Tensor | None = None  # (m, m) sums to 1: the comparisons made, the better by score first
    dropped: float | None = None  # comparisons of a group that were dropped as equal
    scores: Tensor | None = None  # a reward model's, mean 0 under the reference
    loss: float | None = None
    se: Tensor | None = None
    finite_law: tuple[Tensor, Tensor] | None = None  # of as many candidates as the recipe draws; its standard error
    path: list[Tensor] = field(default_factory=list)  # the policy after each round
    note: str = ""


def run(
    request: Request,
    world: World,
    *,
    labels: str = "",
    rounds: int | None = None,
    steps: int | None = None,
    lr: float = 1.0,
    seed: int = 0,
) -> Outcome:
    """Run the recipe. Raises ConfigError if something is missing or there is no optimum, NotSolved if none is found."""
    check_request(request.recipe, world, rounds=rounds, steps=steps)
    told = labels or request.labels or "bt"

    def once(replicate: int) -> tuple[Outcome, bool]:
        one = Run(request, world, told, rounds, steps, lr, derive_seed(seed, "tabular", replicate))
        return one.run(), one.exact

    outcome, exact = once(0)
    return outcome if exact else _mean_of([outcome, *(once(at)[0] for at in range(1, REPLICATES))])


class Run:
    """One run: the policy's logits, the anchor's, and what earlier rounds left in memory."""

    def __init__(
        self, request: Request, world: World, labels: str, rounds: int | None, steps: int | None, lr: float, seed: int
    ) -> None:
        self.recipe, self.thresholds, self.world, self.labels = request.recipe, request.thresholds, world, labels
        self.rounds, self.steps, self.lr, self.seed = rounds, steps, lr, seed
        self.logits = world.reference.log()
        self.anchor = self.logits.clone()
        self.past: list[Tensor] = []  # pairs, or laws of answers, that earlier rounds trained on
        self.exact = True
        self.outcome = Outcome(world.reference)

    def run(self) -> Outcome:
        objective = self.recipe.objective
        if not objective.trains:
            self.outcome.policy = self._kept(self.recipe.filter, self.world.reference)
            self._check_sampled()
        elif objective.makes_reward_model:
            self.outcome.scores = self._fit_rewards(self.recipe)
        elif replays(self.recipe):
            self._replay()
        else:
            for _ in range(self.rounds or 1):
                self._round()
                self.outcome.path.append(self.outcome.policy)
        self.outcome.note = objective.declared.note
        return self.outcome

    # One round

    def _round(self) -> None:
        recipe = self.recipe
        previous = self.logits.log_softmax(0)
        if recipe.objective.start_from == "initial":
            self.logits = self.world.reference.log()
        pull = previous if recipe.objective.reference == "previous" else self.world.reference.log()
        for method, wins in self._trainings(previous, pull):
            self._train(method, wins)
        self.outcome.policy = self.logits.softmax(0)
        if self.steps is None and anchor_moves(recipe):
            self._move_anchor()

    def _trainings(self, previous: Tensor, pull: Tensor) -> list[tuple[Method, Wins | None]]:
        """The trainings of this round, one after another: ReST's Improve steps are several."""
        recipe, objective, current = self.recipe, self.recipe.objective, previous.exp()
        rows = objective.rows
        if objective.declared.expectation:
            return [(methods.own_expectation(objective, self, pull), None)]
        if rows == "samples":
            return [(methods.samples(objective, self, pull), None)]
        if rows == "groups":
            law = self._kept(recipe.filter, self._drawn_law(current))
            return [(methods.groups(objective, *self.groups(law), self.scores()), None)]
        if rows == "demonstrations":
            return [(methods.completions(objective, law), None) for law in self._answers(current)]
        wins = self._wins(current)
        if rows == "answers":
            return [(methods.answers(objective, wins, pull), wins)]
        held = None if recipe.anchor.moves and objective.pairs_with_reference else pull
        return [(methods.pairs(objective, wins, held, self._target(current)), wins)]

    def _target(self, current: Tensor) -> Tensor | None:
        """The law (m,) of the answer that the loss keeps likely in addition to a pair; None if it keeps none."""
        if self.recipe.objective.target in ("data", "reference"):
            return self._data() if self.recipe.objective.target == "data" else self.world.reference
        if self.recipe.objective.target == "best":
            return self._kept(Filter(kind="best"), self._drawn_law(current), report=False)
        return None

    # What a loss with an expectation of its own asks (`methods.Bed`)

    def scores(self) -> Tensor:
        return torch.tensor(self.world.scores(), dtype=torch.float64)

    def learned_scores(self) -> Tensor:
        return self._fit_rewards(_reward_model(self.recipe))

    def groups(self, law: Tensor) -> tuple[Tensor, Tensor]:
        groups, probability, exact = all_groups(law.numpy(), self._group_size(), seed=self.seed)
        self.exact &= exact
        return torch.from_numpy(groups), torch.from_numpy(probability)

    def teacher(self) -> Tensor:
        return given_law("--teacher", self.world.teacher)

    def _train(self, method: Method, wins: Wins | None) -> None:
        """Train to the optimum of the method, or for so many steps towards it."""
        if self.steps is not None:
            self._descend([method] * self.steps)
        else:
            start = self.logits.softmax(0)
            if reason := why_no_rest(self.recipe, None if wins is None else wins(start)):
                raise ConfigError(f"{self.recipe.name} has no optimum here: {reason}; {ASK_STEPS}")
            anchor = self.anchor.log_softmax(0)
            own = any(draw.source == "current" for draw in self.recipe.draws) and self.recipe.is_online
            own &= self.recipe.objective.target != "reference"  # whose gradient is no multiple of the policy's law
            rest = solve(lambda x: method(x, x.detach().softmax(0), anchor), self.logits, own_draws=own)
            self.logits = rest.logits
            self.outcome.steps += rest.steps
        if not self.recipe.objective.declared.surrogate:
            now = self.logits.softmax(0)
            self.outcome.loss = float(method(self.logits, now, self.anchor.log_softmax(0)))

    def _descend(self, path: list[Method]) -> None:
        """Take a step of plain descent along each method; draws and anchor are renewed as the recipe says."""
        drawn = self.logits.softmax(0)
        for step, method in enumerate(path):
            if step % self._refresh_steps() == 0:
                drawn = self.logits.softmax(0)
            surrogate = partial(method, drawn=drawn, anchor=self.anchor.log_softmax(0))
            self.logits = self.logits - self.lr * gradient_of(surrogate, self.logits)
            if not bool(self.logits.isfinite().all()):
                raise ConfigError(f"the logits left what float64 can hold at step {step + 1}: give a smaller --lr")
            if self.recipe.anchor.kind == "ema" or (
                self.recipe.anchor.kind == "copy" and (step + 1) % self.recipe.anchor.every == 0
            ):
                self._move_anchor()
        self.outcome.steps += len(path)

    def _move_anchor(self) -> None:
        rate = 1.0 if self.recipe.anchor.kind == "copy" else self.recipe.anchor.rate
        self.anchor = (1 - rate) * self.anchor + rate * self.logits

    def _refresh_steps(self) -> int:
        """Steps between two times of drawing: PPO passes several times over what it drew."""
        objective = self.recipe.objective
        passes = math.prod(
            getattr(objective, name) for name in ("passes", "minibatches") if name in objective.declared.defaults
        )
        return max(self.recipe.refresh_steps, 1) * passes

    # What is drawn, kept and compared

    def _data(self) -> Tensor:
        """The law of stored answers; by default the reference's own."""
        return self.world.reference if self.world.data is None else self.world.data

    def _drawn_law(self, current: Tensor) -> Tensor:
        (source,) = {draw.source for draw in self.recipe.draws if draw.source != "data"} or {"data"}
        laws = {"initial": self.world.reference, "data": self._data(), "anchor": self.anchor.softmax(0)}
        return laws.get(source, current)

    def _group_size(self) -> int:
        """How many answers to a prompt are compared: those drawn, or those that rejection sampling keeps."""
        if self.recipe.filter.kind == "rejection":
            return self.recipe.filter.keep
        return sum(draw.n for draw in self.recipe.draws if draw.source != "data")

    def _kept(
        self,
        settings: Filter,
        law: Tensor,
        *,
        threshold: float | None = None,
        n: int | None = None,
        report: bool = True,
    ) -> Tensor:
        """The law of what the filter keeps, which is reported; everything if there is no filter."""
        if settings.kind == "all":
            return law
        n = n or sum(draw.n for draw in self.recipe.draws if draw.source != "data")
        keeper = KeptLaw(settings, self.world.scores(), n, seed=self.seed, threshold=threshold)
        self.exact &= keeper.exact
        kept, acceptance = keeper.of(law.numpy())
        if report:
            self.outcome.data_law, self.outcome.acceptance = torch.from_numpy(kept), acceptance
        return torch.from_numpy(kept)

    def _check_sampled(self) -> None:
        """Report the law of RSO's actual sampler, with finitely many candidates, next to the limit's."""
        if self.recipe.filter.kind == "rejection":
            n = sum(draw.n for draw in self.recipe.draws)
            found = finite_rejection_law(
                self.recipe.filter, self.world.scores(), self.world.reference.numpy(), n, seed=self.seed
            )
            self.outcome.finite_law = found

    def best_of(self, n: int) -> Callable[[Tensor], Tensor]:
        """The law of the best of n of a law, kept while that law stays."""
        keeper = KeptLaw(Filter(kind="best"), self.world.scores(), n, seed=self.seed)
        self.exact &= keeper.exact
        known: dict[bytes, Tensor] = {}

        def best_of(law: Tensor) -> Tensor:
            key = law.numpy().tobytes()
            if key not in known:
                known.clear()
                kept, acceptance = keeper.of(law.numpy())
                known[key] = torch.from_numpy(kept)
                self.outcome.data_law, self.outcome.acceptance = known[key], acceptance
            return known[key]

        return best_of

    def _answers(self, current: Tensor) -> list[Tensor]:
        """The laws of answers to imitate, one for each training of the round."""
        recipe = self.recipe
        if not recipe.samples:
            return [self._data()]
        law = self._drawn_law(current)
        if recipe.filter.kind == "thresholds":
            kept = [self._kept(recipe.filter, law, threshold=threshold) for threshold in self.thresholds]
        else:
            kept = [self._kept(recipe.filter, law)]
        return [self._with_past(one) for one in kept]

    def _wins(self, current: Tensor) -> Wins:
        """The mass of "a is labelled better than b": fixed, or by the policy's own law at each step."""
        recipe, world = self.recipe, self.world
        spin = recipe.pairing.kind == "real-against-generated"
        prefers = None if spin else world.prefers(self.labels, noise=recipe.label.noise)
        scores = None if spin or recipe.pairing.kind in ("as-given", "the-two") else world.scores()
        size = 2 if recipe.pairing.kind in ("as-given", "the-two") else self._group_size()
        others = [world.reference] if recipe.objective.target == "reference" else []
        table = pair_law(recipe.pairing, scores, size, world.m, seed=self.seed, two_laws=bool(others))
        self.exact &= table.exact

        def wins_of(laws: list[Tensor]) -> Tensor:
            made, dropped = table.of([law.numpy() for law in laws])
            if made.sum() <= 0:
                raise ConfigError("no comparison is made: all answers that can be drawn are equal, or score the same")
            self.outcome.pair_law, self.outcome.dropped = torch.from_numpy(made / made.sum()), dropped
            return methods.labelled(made, prefers)

        if recipe.is_online:
            return lambda drawn: wins_of([drawn, *others])
        if spin:
            laws = [self._data(), current]
        elif not recipe.samples:
            laws = [world.reference if world.mu is None else world.mu]
        else:
            laws = [self._kept(recipe.filter, self._drawn_law(current))]
            self._check_sampled()
        fixed = self._with_past(wins_of(laws * table.n_sources if len(laws) == 1 else laws))
        return lambda drawn: fixed

    def _with_past(self, now: Tensor) -> Tensor:
        """Mix the memory into this round's pairs or answers, and remember these."""
        memory = self.recipe.memory
        if memory.kind != "rounds":
            return now
        held = self.past[-memory.k :]
        self.past.append(now)
        mixed = now + memory.weight * sum(held, torch.zeros_like(now))
        return mixed / mixed.sum()

    # Reward models, and replays of online runs

    def _fit_rewards(self, recipe: Recipe) -> Tensor:
        """Fit Bradley-Terry scores to all pairs; (m,), mean 0 under the reference."""
        given = self.world.reference if self.world.mu is None else self.world.mu
        table = pair_law(Pairing(kind="as-given"), None, 2, self.world.m, seed=self.seed)
        made, _ = table.of([given.numpy()])
        wins = methods.labelled(made, self.world.prefers(self.labels, noise=recipe.label.noise))
        zero = torch.zeros_like(given)
        method = methods.pairs(recipe.objective, lambda drawn: wins, zero)
        asked = self.recipe.objective.makes_reward_model
        if self.steps is not None and asked:
            rewards = zero
            for _ in range(self.steps):
                rewards = rewards - self.lr * gradient_of(lambda x: method(x, zero, zero), rewards)
            self.outcome.steps = self.steps
        else:
            if reason := why_no_rest(recipe, wins):
                advice = ASK_STEPS if self.recipe.name == recipe.name else "give --labels bt"
                raise ConfigError(f"the reward model has no optimum here: {reason}; {advice}")
            rest = solve(lambda x: method(x, zero, zero), zero)
            rewards = rest.logits
            if asked:
                self.outcome.steps = rest.steps
        if asked:
            self.outcome.loss = float(method(rewards, zero, zero))
        return rewards if recipe.objective.center else rewards - self.world.reference @ rewards

    def _replay(self) -> None:
        """Run the online recipe, then train again on its pairs, in the order that the memory says."""
        (needed,) = self.recipe.needs
        online = replace(get_recipe(needed), objective=self.recipe.objective, label=self.recipe.label)
        logged: list[Tensor] = []
        first = Run(Request(online, None, ()), self.world, self.labels, None, self.steps, self.lr, self.seed)
        online_wins = first._wins(first.logits.softmax(0))

        def watched(drawn: Tensor) -> Tensor:
            logged.append(online_wins(drawn))
            return logged[-1]

        pull = self.world.reference.log()
        first._descend([methods.pairs(online.objective, watched, pull)] * (self.steps or 0))
        order, window = self.recipe.memory.order, self.recipe.memory.window
        size = 1 if order == "logged" else window or max(len(logged), 1)
        shuffled = [
            torch.stack(logged[at - at % size : at - at % size + size]).mean(dim=0) for at in range(len(logged))
        ]
        self._descend([methods.pairs(self.recipe.objective, partial(_always, wins), pull) for wins in shuffled])
        self.outcome.policy = self.logits.softmax(0)
        if shuffled:
            self.outcome.pair_law = first.outcome.pair_law


def _always(wins: Tensor, drawn: Tensor) -> Tensor:
    """Pairs that do not depend on the policy's draws."""
    return wins


def _reward_model(recipe: Recipe) -> Recipe:
    """The reward model that gives the recipe's scores; RLAIF's is trained on its own labels."""
    made = get_recipe("reward-model")
    return replace(made, label=recipe.label) if recipe.label.by == "judge" else made


def _mean_of(outcomes: list[Outcome]) -> Outcome:
    """Average whole runs that drew different groups, and take the policy's standard error from their spread."""
    mean = outcomes[0]
    policies = torch.stack([outcome.policy for outcome in outcomes])
    mean.policy, mean.se = policies.mean(dim=0), policies.std(dim=0) / len(outcomes) ** 0.5
    for name in ("data_law", "pair_law"):
        found = [value for outcome in outcomes if (value := getattr(outcome, name)) is not None]
        if found:
            setattr(mean, name, torch.stack(found).mean(dim=0))
    for name in ("acceptance", "dropped", "loss"):
        numbers = [value for outcome in outcomes if (value := getattr(outcome, name)) is not None]
        if numbers:
            setattr(mean, name, float(np.mean(numbers)))
    mean.path = [torch.stack(list(at)).mean(dim=0) for at in zip(*(o.path for o in outcomes), strict=True)]
    return mean
