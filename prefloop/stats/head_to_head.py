"""How often one policy's answers beat another's on the same prompts: by a judge or a truth, by people, by both.

A game is one answer of ours against one of theirs to the same prompt. All intervals are over prompts, whose games are
correlated, and never over games or verdicts. Two equal answers are a tie without asking anybody.

People see only some games, chosen at random by `games_for_people`. With them the rate is prediction-powered
(`prefloop.stats.ppi`): their votes correct the judge, which judged every game. There the unit is the prompt too: a
prompt's score by people is the mean over the games that they saw of it, next to the judge's mean over the same games;
for the other prompts it is the judge's mean over all of their games.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean

import numpy as np

from prefloop.stats.bradley_terry import NotConverged
from prefloop.stats.length_control import interval_of, length_controlled
from prefloop.stats.ppi import Rate, win_rates
from prefloop.stats.winrate import win_rate_by_prompt
from prefloop.types import Interval


@dataclass(frozen=True, slots=True)
class Game:
    """`score`: 1 if ours is better, 0 if theirs is, ½ for a tie; None: not known (yet).

    `human` is the mean score of the people who saw the game. `longer`: characters of our answer less those of theirs.
    """

    prompt: Hashable
    score: float | None
    longer: int = 0
    human: float | None = None
    same_answers: bool = False

    @property
    def decided(self) -> float | None:
        return 0.5 if self.same_answers else self.score


@dataclass(frozen=True, slots=True)
class HeadToHead:
    """Win rates of us against them. `n_undecided`: games without a readable verdict of the judge.

    `length_controlled` is the rate at equal lengths; without one `why_not` gives the reason.
    """

    win_rate: Rate
    length_controlled: Rate
    why_not: str
    n_games: int
    n_prompts: int
    n_undecided: int


@dataclass(frozen=True, slots=True)
class WithPeople:
    """The same games by the people who saw some of them, and by people and judge together; `n` counts prompts."""

    n_games: int  # that people have decided
    human: Rate
    both: Rate
    judge_weight: float | None  # λ of the prediction-powered rate: 0 where the judge's word is of no use


def head_to_head(games: Iterable[Game]) -> HeadToHead:
    """Average the decided games, and once more at equal lengths."""
    all_games = list(games)
    decided = [game for game in all_games if game.decided is not None]
    scores = np.array([game.decided for game in decided], dtype=np.float64)
    owners = _numbered([game.prompt for game in decided])
    plain = win_rate_by_prompt(scores, owners)
    controlled, why_not = _controlled(decided, scores, owners)
    return HeadToHead(
        win_rate=Rate(plain.n, plain.rate, plain.interval),
        length_controlled=controlled,
        why_not=why_not,
        n_games=len(decided),
        n_prompts=len(set(owners)),
        n_undecided=len(all_games) - len(decided),
    )


def games_of_scores(
    ours: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
    *,
    lengths: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]] | None = None,
    same_draws: bool = False,
) -> list[Game]:
    """Compare every score of ours with every one of theirs on the same prompt, ties half; `lengths` in characters.

    `same_draws`: answers with the same number share their random numbers, and are not compared.
    """
    games = []
    for prompt, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
        for i, a in enumerate(mine):
            for j, b in enumerate(yours):
                if not (same_draws and i == j):
                    longer = lengths[0][prompt][i] - lengths[1][prompt][j] if lengths else 0
                    games.append(Game(prompt, 0.5 if a == b else float(a > b), longer))
    return games


def against_itself(n_games: int, n_prompts: int) -> HeadToHead:
    """A policy against itself: exactly one half, so that nothing was estimated."""
    half = Rate(n_games, 0.5, Interval(0.5, 0.5))
    return HeadToHead(half, half, "", n_games, n_prompts, 0)


def _controlled(decided: Sequence[Game], scores: np.ndarray, owners: Sequence[int]) -> tuple[Rate, str]:
    n = len(decided)
    longer = np.array([game.longer for game in decided], dtype=np.float64)
    try:
        found = length_controlled(np.zeros(n), np.ones(n), scores, longer, n_players=2, item=np.array(owners))
    except NotConverged as error:
        return Rate(n, None, None), str(error)
    return Rate(n, float(found.win_rate[0]), interval_of(found, 0)), ""


def with_people(games: Iterable[Game]) -> WithPeople:
    """Combine people's and the judge's labels, prompt by prompt.

    Prompts whose answers are all equal are ties by definition: they are a separate share of the rate, without
    uncertainty.
    """
    by_prompt: dict[Hashable, list[Game]] = defaultdict(list)
    for game in games:
        by_prompt[game.prompt].append(game)
    open_prompts = [rows for rows in by_prompt.values() if not all(game.same_answers for game in rows)]
    human, judge = [], []
    n_games = 0
    for rows in open_prompts:
        different = [game for game in rows if not game.same_answers]
        ties = 1 - len(different) / len(rows)
        seen = [game for game in different if game.human is not None]
        n_games += len(seen)
        human.append(_mixed(ties, [game.human for game in seen]))
        judge.append(_mixed(ties, [game.score for game in seen or different if game.score is not None]))
    found = win_rates(human, judge)
    settled = 1 - len(open_prompts) / len(by_prompt) if by_prompt else 0.0
    return WithPeople(n_games, _settled(settled, found.human), _settled(settled, found.both), found.lam)


def games_for_people(by_prompt: Iterable[Sequence[int]], k: int, *, seed: int) -> list[int]:
    """Choose k games at random for people: one of each prompt in turn, so that they cover many prompts.

    `by_prompt`: the ids of each prompt's games whose answers differ, in an order that another run reproduces.
    """
    rng = Random(seed)
    queues = [rng.sample(ids, len(ids)) for ids in by_prompt]
    rng.shuffle(queues)
    longest = max(map(len, queues), default=0)
    return [queue[at] for at in range(longest) for queue in queues if at < len(queue)][:k]


def _mixed(ties: float, scores: Sequence[float | None]) -> float:
    """A prompt's score if a share of its games are ties by definition; NaN if the rest is not known."""
    known = [score for score in scores if score is not None]
    return ties / 2 + (1 - ties) * fmean(known) if known else math.nan


def _settled(share: float, rate: Rate) -> Rate:
    """Turn a rate over the open prompts into one over all of them, of which a share is tied by definition."""
    if rate.rate is None:
        return rate
    ends = rate.interval
    low_high = None if ends is None else Interval(_pulled(share, ends.low), _pulled(share, ends.high))
    return Rate(rate.n, _pulled(share, rate.rate), low_high)


def _pulled(share: float, value: float) -> float:
    return share / 2 + (1 - share) * value


def _numbered(prompts: Sequence[Hashable]) -> list[int]:
    places: dict[Hashable, int] = {}
    return [places.setdefault(prompt, len(places)) for prompt in prompts]
