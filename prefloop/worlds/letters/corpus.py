"""Prompts and letters of mixed quality, drawn deterministically from a seed. Torch-free.

A letter has a latent quality q ~ U(0, 1); every choice (greeting, right name, tone of each sentence, closing, length)
depends on it, so that a policy trained on the letters writes good and bad ones and can be taught which are better.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from prefloop.types import Split
from prefloop.worlds.letters import words
from prefloop.worlds.letters.utility import subject
from prefloop.worlds.letters.words import Kind, Tone

N_TRAIN = 1024
N_EVAL = 192


@dataclass(frozen=True, slots=True)
class LetterPrompt:
    id: str  # "train-0007"
    text: str
    kind: Kind
    name: str
    thing: str  # with its article: "the flowers"


@dataclass(frozen=True, slots=True)
class Letter:
    prompt: LetterPrompt
    text: str


@lru_cache(maxsize=8)
def _all_prompts(seed: int) -> tuple[LetterPrompt, ...]:
    """Every (kind, name, thing) once, in one of its wordings, shuffled."""
    rng = random.Random(f"letters-prompts-{seed}")
    subjects = [
        (kind, name, thing) for kind, things in words.THINGS.items() for thing in things for name in words.NAMES
    ]
    rng.shuffle(subjects)
    drawn = []
    for index, (kind, name, thing) in enumerate(subjects):
        split = "eval" if index < N_EVAL else "train"
        number = index if index < N_EVAL else index - N_EVAL
        text = rng.choice(words.PROMPTS[kind]).format(name=name, thing=thing)
        drawn.append(LetterPrompt(id=f"{split}-{number:04d}", text=text, kind=kind, name=name, thing=thing))
    return tuple(drawn)


def prompts(split: Split, *, seed: int = 0) -> tuple[LetterPrompt, ...]:
    """The world's prompts: 1,024 to train on, 192 to evaluate on; no (kind, name, thing) is in both."""
    everything = _all_prompts(seed)
    if split == "eval":
        return everything[:N_EVAL]
    return everything[N_EVAL : N_EVAL + N_TRAIN]


def read_prompt(text: str) -> LetterPrompt | None:
    """Read a request of this world, whoever wrote it: whom to write to, about what; None if it is not such a request.

    Its id is its text.
    """
    name, thing = subject(text)
    kinds = [kind for kind, things in words.THINGS.items() if thing in things]
    if name not in words.NAMES or thing is None or not kinds:
        return None
    return LetterPrompt(id=text, text=text, kind=kinds[0], name=str(name), thing=thing)


def write_letter(prompt: LetterPrompt, rng: random.Random, *, quality: float | None = None) -> str:
    """One letter of latent `quality` in [0, 1] (drawn uniformly if None), one to five sentences."""
    q = rng.random() if quality is None else quality
    name, thing = prompt.name, prompt.thing
    if rng.random() < 0.05 * (1 - q):
        name = rng.choice(words.NAMES)
    if rng.random() < 0.05 * (1 - q):
        thing = rng.choice(words.THINGS[prompt.kind])
    lines = []
    sentences = [_opening(prompt.kind, thing, q, rng)]
    if rng.random() < 0.55 + 0.4 * q:
        lines.append(rng.choice(words.GREETINGS).format(name=name))
    elif rng.random() < 0.9:
        sentences[0] = f"{sentences[0][:-1]}, {name}{sentences[0][-1]}"
    n_more = rng.choice((0, 1, 1, 2, 2, 3))
    if rng.random() < 0.12:
        n_more += rng.choice((3, 4))  # runs on
    for _ in range(n_more):
        said = _sentence(prompt.kind, q, rng)
        if said not in sentences or rng.random() < 0.3:
            sentences.append(said)
    lines.append(" ".join(sentences))
    if rng.random() < 0.3 + 0.55 * q:
        lines.append(f"{rng.choice(words.CLOSINGS)},\n{rng.choice(words.SENDERS)}")
    return "\n".join(lines)


def _tone(q: float, rng: random.Random) -> Tone:
    draw = rng.random()
    rude = 0.6 * (1 - q) ** 1.5
    if draw < rude:
        return "rude"
    return "warm" if draw < rude + 0.05 + 0.65 * q else "plain"


def _opening(kind: Kind, thing: str, q: float, rng: random.Random) -> str:
    if rng.random() < 0.04 * (1 - q):
        return words.VAGUE[kind]
    return rng.choice(words.OPENINGS[kind][_tone(q, rng)]).format(thing=thing)


def _sentence(kind: Kind, q: float, rng: random.Random) -> str:
    tone = _tone(q, rng)
    return rng.choice(words.SENTENCES["any"][tone] + 2 * words.SENTENCES[kind][tone])


def letters(n: int, *, seed: int = 0) -> Iterator[Letter]:
    """`n` letters to learn from: answers to all prompts of the world that aren't eval prompts, in turn."""
    pool = _all_prompts(seed)[N_EVAL:]
    rng = random.Random(f"letters-corpus-{seed}")
    for index in range(n):
        prompt = pool[index % len(pool)]
        yield Letter(prompt=prompt, text=write_letter(prompt, rng))


def answers(prompt: LetterPrompt, n: int, *, seed: int = 0) -> tuple[str, ...]:
    """`n` different letters to one prompt, the same for the same seed whatever else was drawn."""
    rng = random.Random(f"letters-answers-{seed}-{prompt.id}")
    drawn: dict[str, None] = {}
    while len(drawn) < n:
        drawn.setdefault(write_letter(prompt, rng))
    return tuple(drawn)
