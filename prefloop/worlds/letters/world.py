"""The letters world in one object: prompts, letters, the known truth, and records to import. Torch-free."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from prefloop.records import Choice, Gold, Record, RecordCompletion, RecordVerdict, choice_of
from prefloop.seeds import labeller_seed
from prefloop.types import Outcome, Split
from prefloop.worlds.letters import corpus, utility
from prefloop.worlds.letters.corpus import Letter, LetterPrompt
from prefloop.worlds.letters.utility import UtilityParts

WORLD_JUDGE = "world-preference"
CORPUS_MODEL = "letters-corpus"


@dataclass(frozen=True, slots=True)
class LettersWorld:
    """Everything is a function of the seed: the split, the letters, the labels."""

    seed: int = 0

    def prompts(self, split: Split) -> tuple[LetterPrompt, ...]:
        return corpus.prompts(split, seed=self.seed)

    def letters(self, n: int) -> Iterator[Letter]:
        return corpus.letters(n, seed=self.seed)

    def utility(self, prompt: str, completion: str) -> float:
        return utility.utility(prompt, completion)

    def parts(self, prompt: str, completion: str) -> UtilityParts:
        return utility.parts(prompt, completion)

    def gold(self, prompt: str, first: str, second: str) -> Outcome:
        """Say which of two letters is truly better; a tie only where their utilities are equal."""
        gap = utility.utility(prompt, first) - utility.utility(prompt, second)
        if abs(gap) < 1e-9:
            return "tie"
        return "first" if gap > 0 else "second"

    def label(self, prompt: str, first: str, second: str, *, noise: float, rng: random.Random) -> Outcome:
        """Label as the judge `world-preference` does: first with probability sigmoid(gap / noise), never a tie."""
        p_first = utility.preference_probability(prompt, first, second, noise=noise)
        return "first" if rng.random() < p_first else "second"

    def records(self, *, split: Split | None = None, n_pairs: int = 2, noise: float = 0.5) -> Iterator[Record]:
        """Make a record for each prompt: `n_pairs` pairs of letters from the corpus, no letter in two pairs.

        Train records have verdicts of `world-preference` with `noise`; eval records have gold, so that truth stays held
        out. `split=None` gives both, train first.
        """
        if n_pairs < 1:
            raise ValueError(f"n_pairs must be at least 1, not {n_pairs}")
        for part in ("train", "eval") if split is None else (split,):
            for prompt in self.prompts(part):
                yield self._record(prompt, part, n_pairs=n_pairs, noise=noise)

    def _record(self, prompt: LetterPrompt, split: Split, *, n_pairs: int, noise: float) -> Record:
        texts = corpus.answers(prompt, 2 * n_pairs, seed=self.seed)
        pairs = [(index, index + 1) for index in range(0, 2 * n_pairs, 2)]
        rng = random.Random(labeller_seed(self.seed, "letters", prompt.id))

        def choice(pair: tuple[int, int]) -> Choice:
            first, second = texts[pair[0]], texts[pair[1]]
            if split == "eval":
                return choice_of(self.gold(prompt.text, first, second))
            return choice_of(self.label(prompt.text, first, second, noise=noise, rng=rng))

        choices = [(pair, choice(pair)) for pair in pairs]
        return Record(
            id=f"letters-{prompt.id}",
            split=split,
            prompt=prompt.text,
            completions=tuple(RecordCompletion(text=text, model=CORPUS_MODEL) for text in texts),
            metadata={"world": "letters", "kind": prompt.kind, "name": prompt.name, "thing": prompt.thing},
            gold=tuple(Gold(pair=pair, choice=said) for pair, said in choices) if split == "eval" else (),
            verdicts=()
            if split == "eval"
            else tuple(RecordVerdict(judge=WORLD_JUDGE, pair=pair, choice=said) for pair, said in choices),
        )
