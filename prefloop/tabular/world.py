"""The few outcomes of the laboratory: their laws, rewards and preferences, and what is measured on a policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from prefloop.config import ConfigError
from prefloop.recipes.labelling import label_by_scores
from prefloop.recipes.parts import Label
from prefloop.types import Completion, Group, Pair

MOST_OUTCOMES = 200
SLACK = 1e-6  # how far a law's sum, or p(i over j) + p(j over i), may be from 1


@dataclass(frozen=True)
class World:
    """Everything given. Laws are (m,) float64 and sum to 1; `preference[i, j]` is the probability that i beats j."""

    reference: Tensor  # (m,) positive: where every policy starts
    reward: Tensor | None = None  # (m,)
    preference: Tensor | None = None  # (m, m), in place of Bradley-Terry on the rewards
    data: Tensor | None = None  # (m,) the law of stored answers
    mu: Tensor | None = None  # (m,) the law of both answers of stored pairs
    teacher: Tensor | None = None  # (m,)

    @property
    def m(self) -> int:
        return len(self.reference)

    def scores(self) -> tuple[float, ...]:
        """The rewards, as scores of the outcomes. Raises ConfigError where none were given."""
        if self.reward is None:
            raise ConfigError("this recipe scores answers: give --reward")
        return tuple(self.reward.tolist())

    def prefers(self, labels: str, *, noise: float = 0.0) -> Tensor:
        """Give the label (m, m) in expectation: the probability that i is said to be better than j.

        labels "bt": the preference itself, Bradley-Terry's on the rewards where no other was given; "hard": the
        likelier of both wins for certain, and equals are a tie. A share `noise` of labels is turned round.
        """
        if self.preference is not None:
            said = self.preference if labels == "bt" else (self.preference - 0.5).sign() / 2 + 0.5
        else:
            rule = Label(by="scores", labels="soft" if labels == "bt" else "hard")
            group = Group("outcomes", tuple(answer(at) for at in range(self.m)), self.scores())
            pairs = [Pair(i, j) for i in range(self.m) for j in range(i + 1, self.m)]
            said = torch.full((self.m, self.m), 0.5, dtype=torch.float64)
            for pair in label_by_scores(rule, group, pairs, seed=0):
                p = pair.p if pair.p is not None else 0.5
                said[pair.i, pair.j], said[pair.j, pair.i] = p, 1 - p
        return said * (1 - noise) + (1 - said) * noise

    def win_rate(self, policy: Tensor) -> float:
        """How often the policy's answer beats the reference's, ties half: by reward, else by the preference given."""
        if self.preference is not None:
            beats = self.preference
        else:
            reward = given_law("--reward", self.reward)
            beats = (reward[:, None] - reward[None]).sign() / 2 + 0.5
        return float(policy @ beats @ self.reference)

    def kl(self, policy: Tensor) -> float:
        """KL(policy || reference) in nats; an outcome with probability 0 adds nothing."""
        return float(torch.special.xlogy(policy, policy / self.reference).sum())

    def expected_reward(self, policy: Tensor) -> float | None:
        return None if self.reward is None else float(policy @ self.reward)


def given_law(option: str, numbers: Tensor | None) -> Tensor:
    """Give the option's numbers (m,). Raises ConfigError if they were not given."""
    if numbers is None:
        raise ConfigError(f"give {option}")
    return numbers


def answer(outcome: int, source: str = "") -> Completion:
    """Make an outcome an answer, as filters and pairings need it: equal outcomes are equal texts."""
    return Completion(text=str(outcome), source=source)


def make_world(
    *,
    reference: Sequence[float],
    reward: Sequence[float] | None = None,
    preference: Sequence[Sequence[float]] | None = None,
    data: Sequence[float] | None = None,
    mu: Sequence[float] | None = None,
    teacher: Sequence[float] | None = None,
) -> World:
    """Check the numbers and make the world of them. Raises ConfigError, naming the option that is wrong."""
    m = len(reference)
    if not 2 <= m <= MOST_OUTCOMES:
        raise ConfigError(f"--reference must name from 2 to {MOST_OUTCOMES} outcomes, not {m}")
    if any(p == 0 for p in reference):
        raise ConfigError("--reference must be positive everywhere: a log-ratio to 0 means nothing")
    if reward is None and preference is None:
        raise ConfigError("give --reward, or --preference for a recipe that needs no scores")
    if reward is not None:
        _check_numbers("--reward", reward, m)
    return World(
        reference=_law("--reference", reference, m),
        reward=None if reward is None else torch.tensor(reward, dtype=torch.float64),
        preference=None if preference is None else _preference(preference, m),
        data=None if data is None else _law("--data", data, m),
        mu=None if mu is None else _law("--mu", mu, m),
        teacher=None if teacher is None else _law("--teacher", teacher, m),
    )


def _check_numbers(option: str, numbers: Sequence[float], m: int) -> None:
    if len(numbers) != m:
        raise ConfigError(f"{option} must have {m} numbers, one for each outcome of --reference, not {len(numbers)}")
    if not all(math.isfinite(number) for number in numbers):
        raise ConfigError(f"{option} must be finite numbers")


def _law(option: str, numbers: Sequence[float], m: int) -> Tensor:
    _check_numbers(option, numbers, m)
    if any(number < 0 for number in numbers) or abs(sum(numbers) - 1) > SLACK:
        raise ConfigError(f"{option} must be probabilities that sum to 1; they sum to {sum(numbers):.9g}")
    law = torch.tensor(numbers, dtype=torch.float64)
    return law / law.sum()


def _preference(rows: Sequence[Sequence[float]], m: int) -> Tensor:
    if len(rows) != m:
        raise ConfigError(f"--preference must have {m} rows, one for each outcome of --reference, not {len(rows)}")
    for row in rows:
        _check_numbers("each row of --preference", row, m)
    matrix = torch.tensor(rows, dtype=torch.float64)
    if bool(((matrix < 0) | (matrix > 1)).any()):
        raise ConfigError("--preference must hold probabilities")
    if float((matrix + matrix.T - 1).abs().max()) > SLACK:
        raise ConfigError("--preference: p(i over j) + p(j over i) must be 1, and ½ on the diagonal")
    return (matrix + 1 - matrix.T) / 2
