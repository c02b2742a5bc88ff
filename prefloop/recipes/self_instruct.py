"""Self-Instruct's filters: which prompts that a model wrote are new, answerable and of a usable length.

Departure: likeness is measured on lower-case words and numbers without stemming.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_WORD = re.compile(r"[^\W_]+")
# what a text model can't do anything about
KEYWORDS = ("image", "images", "picture", "pictures", "graph", "graphs", "file", "files", "map", "maps", "draw", "plot")


@dataclass(frozen=True, slots=True)
class Instructed:
    """The prompts that are kept, in order, and how many fell to each filter."""

    kept: tuple[str, ...]
    n_refused: dict[str, int] = field(default_factory=dict)  # alike | keyword | length


def rouge_l(one: str, other: str) -> float:
    """Measure likeness in [0, 1]: the F1 of the longest common subsequence of words; 0 where either has no word.

    Source: Lin 2004, ROUGE, ROUGE-L at sentence level, F1 as Self-Instruct uses it.
    """
    return _rouge_l(_words(one), _words(other))


def filter_prompts(
    candidates: Iterable[str],
    pool: Sequence[str],
    *,
    most_alike: float = 0.7,
    shortest: int = 4,
    longest: int = 150,
    keywords: Sequence[str] = KEYWORDS,
) -> Instructed:
    """Keep the candidates of `shortest` to `longest` words without a keyword that are like no prompt before them.

    A candidate is compared with the pool and with those kept before it; ROUGE-L of `most_alike` or more is too much.
    Source: Wang et al. 2022, arXiv:2212.10560 (0.7; the keywords and both lengths are ours).
    """
    known = [_words(text) for text in pool]
    banned = frozenset(keywords)
    kept: list[str] = []
    refused = {"alike": 0, "keyword": 0, "length": 0}
    for text in candidates:
        words = _words(text)
        if not shortest <= len(words) <= longest:
            refused["length"] += 1
        elif banned.intersection(words):
            refused["keyword"] += 1
        elif any(_rouge_l(words, before) >= most_alike for before in known):
            refused["alike"] += 1
        else:
            kept.append(text)
            known.append(words)
    return Instructed(tuple(kept), refused)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _rouge_l(one: Sequence[str], other: Sequence[str]) -> float:
    common = _longest_common(one, other)
    return 2 * common / (len(one) + len(other)) if common else 0.0


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0  # the cell up and to the left
        for at, its in enumerate(other, start=1):
            before, row[at] = row[at], before + 1 if word == its else max(row[at], row[at - 1])
    return row[-1]
