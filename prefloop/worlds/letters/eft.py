"""The world's judge demonstrations: letters to score, with the judgement to learn to write. Torch-free.

The prompt is the additive-score prompt, shortened to fit into a context of 512 small tokens. The judgement names what a
letter gains and loses points for, each at a fixed place, and ends with the score form that `judging.parse.parse_score`
reads. The score is the utility, rounded, within 0 to 5. Naming before scoring, at fixed places, is what makes it
learnable: each place is a target of its own, while a bare score is one token per letter.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from prefloop.judging.demonstrations import Judged, JudgeDemonstration, agreeing, thinned
from prefloop.worlds.letters import corpus
from prefloop.worlds.letters.utility import UtilityParts, named_words, parts

SCORE_PROMPT = "Score this letter from 0 to 5.\nRequest: {prompt}\nLetter: {letter}"
_NAMED = {1.0: "right", 0.0: "no", -1.0: "not"}  # the right one, none, another


def score_prompt(prompt: str, letter: str) -> str:
    """Ask for a score of a letter."""
    return SCORE_PROMPT.format(prompt=prompt, letter=letter)


def score_of(utility: float) -> int:
    """The score that the world gives a letter: its utility, rounded, within 0 to 5."""
    return round(min(5.0, max(0.0, utility)))


def judgement(letter: str, found: UtilityParts) -> str:
    """Write a good judge's judgement of a letter with these properties: its points, then the score on a line of its
    own.

    In few words that the world's tokenizer knows whole: is the name right, and what the letter is about; is there a
    greeting ("dear"); which warm words, and which bad ones; is there a closing ("wishes"); does it run on.
    "Name right, about right, dear no, warm: hug, happy, bad: no, wishes right, long no."
    """
    warm, rude = named_words(letter)
    return (
        f"Name {_NAMED[found.right_name]}, about {_NAMED[found.right_thing]}, dear {_right(found.greeting)}, "
        f"warm: {', '.join(warm) or 'no'}, bad: {', '.join(rude) or 'no'}, "
        f"wishes {_right(found.closing)}, long {_right(found.length)}.\n"
        f"Score: {score_of(found.total)}"
    )


def _right(value: float) -> str:
    return "right" if value else "no"


def demonstrations(prompts: Sequence[str], n: int, *, seed: int = 0) -> list[JudgeDemonstration]:
    """Return n judge demonstrations over letters to these prompts, by the seed (fewer where too few letters agree).

    Two letters to one prompt are kept if their scores rank them as the world does; then over-represented scores are
    thinned out, from about twice as many as are wanted. Texts that are not prompts of this world are skipped.
    """
    known = [text for text in dict.fromkeys(prompts) if corpus.read_prompt(text) is not None]
    if not known or n < 1:
        return []
    n_pairs = -(-n // len(known))  # a prompt
    return thinned(agreeing(pair for text in known for pair in pairs(text, n_pairs, seed=seed)), n, seed=seed)


def pairs(prompt: str, n: int, *, seed: int) -> Iterator[Judged]:
    """Write n pairs of letters to a prompt, with the judgement of each letter and which the world prefers."""
    read = corpus.read_prompt(prompt)
    if read is None:
        return
    rng = random.Random(f"letters-eft-{seed}-{prompt}")
    for number in range(n):
        judged = [_judged(prompt, corpus.write_letter(read, rng), 2 * number + at) for at in range(2)]
        (first, one), (second, other) = judged
        gap = one - other
        yield first, second, "tie" if abs(gap) < 1e-9 else "first" if gap > 0 else "second"


def _judged(prompt: str, letter: str, number: int) -> tuple[JudgeDemonstration, float]:
    found = parts(prompt, letter)
    return (
        JudgeDemonstration(
            id=f"{prompt} #{number}",
            prompt=score_prompt(prompt, letter),
            text=judgement(letter, found),
            score=score_of(found.total),
        ),
        found.total,
    )
