"""Judge demonstrations (EFT rows): answers with the judgement that a policy should learn to write about them.

They are kept if their scores rank two answers to one prompt as a trusted label does, and of an over-represented score
only as many as of the others. Source: Yuan et al. 2024 (Self-Rewarding), arXiv:2401.10020, § 3.1.1, where an SFT model
wrote them, people's rankings were the trusted label, and 4 was the score that was thinned out.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prefloop.types import Outcome, PromptContent


@dataclass(frozen=True, slots=True)
class JudgeDemonstration:
    """One judgement: `prompt` asks for a score of an answer, `text` gives reasons and ends with `score`."""

    id: str
    prompt: PromptContent
    text: str
    score: int


Judged = tuple[JudgeDemonstration, JudgeDemonstration, Outcome]  # two answers to one prompt, and which is better


def agreeing(pairs: Iterable[Judged]) -> list[JudgeDemonstration]:
    """Keep both judgements of a pair if their scores rank it as its label does; equal judgements are kept once.

    Equal scores agree only with a tie. A pair that is both bad does not define a ranking and is left out.
    """
    kept: dict[str, JudgeDemonstration] = {}
    for first, second, outcome in pairs:
        ranked = "tie" if first.score == second.score else "first" if first.score > second.score else "second"
        if ranked == outcome:
            kept.setdefault(first.id, first)
            kept.setdefault(second.id, second)
    return list(kept.values())


def thinned(rows: Sequence[JudgeDemonstration], n: int, *, seed: int) -> list[JudgeDemonstration]:
    """Take n rows (all, if there are fewer) in which no score has more than a common cap, in the rows' order.

    The cap is the smallest that leaves n rows: rare scores stay whole, and the others share what is left evenly.
    """
    if n >= len(rows):
        return list(rows)
    counts = Counter(row.score for row in rows)
    quotas = dict.fromkeys(sorted(counts), 0)
    left = n
    while left:  # a row to each score in turn; the turns are at most n
        open_scores = [score for score in quotas if quotas[score] < counts[score]][:left]
        for score in open_scores:
            quotas[score] += 1
        left -= len(open_scores)
    rng = random.Random(seed)
    chosen: set[int] = set()
    for score, quota in quotas.items():
        chosen.update(rng.sample([at for at, row in enumerate(rows) if row.score == score], quota))
    return [row for at, row in enumerate(rows) if at in chosen]
