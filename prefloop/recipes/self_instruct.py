"""Self-Instruct: how a model is asked for new prompts, and which of its prompts are new, answerable and short enough.

Source: Wang et al. 2022, arXiv:2212.10560; eight prompts are shown, six from the prompt set and two that were written
before, as in Yuan et al. 2024 (Self-Rewarding), arXiv:2401.10020. Departures: 1. the wording is ours; 2. one prompt is
written at a time; 3. similarity is measured on lower-case words and numbers without stemming.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

N_SHOTS, N_OWN = 8, 2  # prompts shown; how many of them the model wrote in earlier rounds
LONGEST_TOKENS = 256  # room for a prompt to be written in
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\A\s*(?:\d{1,2}\s*[.):]|[-*])\s+")  # of a list, before its item
# what a text model can't do anything about
KEYWORDS = ("image", "images", "picture", "pictures", "graph", "graphs", "file", "files", "map", "maps", "draw", "plot")


@dataclass(frozen=True, slots=True)
class Instructed:
    """The prompts that are kept, in order, and how many each filter removed."""

    kept: tuple[str, ...]
    n_refused: dict[str, int] = field(default_factory=dict)  # alike | keyword | length


def draw_shots(given: Sequence[str], own: Sequence[str], rng: random.Random) -> list[str]:
    """Draw the prompts to show, in random order: six of the prompt set and two of the model's own.

    If it has written fewer than two, prompts of the set replace them; if there are fewer than eight, all are shown.
    """
    n_own = min(N_OWN, len(own))
    shots = [*rng.sample(given, min(N_SHOTS - n_own, len(given))), *rng.sample(own, n_own)]
    rng.shuffle(shots)
    return shots


def instruct_prompt(shots: Sequence[str]) -> str:
    """Ask for one more prompt like these."""
    listed = "\n".join(f"{number}. {' '.join(shot.split())}" for number, shot in enumerate(shots, start=1))
    return f"Write one more request that is like these, but new.\n{listed}\n{len(shots) + 1}."


def written_prompt(reply: str) -> str:
    """Read the prompt from what the model wrote: its first non-empty line, without the list's number."""
    for line in reply.splitlines():
        if text := _NUMBER.sub("", line).strip():
            return text
    return ""


def writing_rows(given: Sequence[str], n: int, *, seed: int) -> list[tuple[str, str]]:
    """Make n rows (the request, a prompt of the set that is not shown) that teach a model to write prompts.

    None if the set is too small to show eight prompts and keep one back.
    """
    if len(given) <= N_SHOTS:
        return []
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        *shots, target = rng.sample(given, N_SHOTS + 1)
        rows.append((instruct_prompt(shots), target))
    return rows


def rouge_l(one: str, other: str) -> float:
    """Measure similarity in [0, 1]: the F1 of the longest common subsequence of words; 0 if either has no word.

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
    """Keep candidates of `shortest` to `longest` words without a keyword that are not too similar to any earlier
    prompt.

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
        elif any(_is_alike(words, before, most_alike) for before in known):
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


def _is_alike(one: Sequence[str], other: Sequence[str], most_alike: float) -> bool:
    """Whether ROUGE-L reaches the limit; the number of common words, in any order, is an upper bound and is counted
    first.
    """
    n_words = len(one) + len(other)
    if not n_words or 2 * min(len(one), len(other)) / n_words < most_alike:
        return False
    in_common = sum((Counter(one) & Counter(other)).values())
    return 2 * in_common / n_words >= most_alike and _rouge_l(one, other) >= most_alike


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0  # the cell up and to the left
        for at, its in enumerate(other, start=1):
            before, row[at] = row[at], before + 1 if word == its else max(row[at], row[at - 1])
    return row[-1]
