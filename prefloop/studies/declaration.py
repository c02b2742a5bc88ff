"""What a study is: arms that are run, and claims about them. Everything that a study does follows from this.

An **arm** is a recipe with settings; keys that it sweeps give it several **settings**, and each runs with every seed.
What is compared is read at equal KL from all settings of an arm (results.py), so a sweep favours no side by luck.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from prefloop.config import Value, apply_settings
from prefloop.recipes.catalogue import get_recipe
from prefloop.recipes.recipe import Recipe
from prefloop.stats.overoptimisation import Form
from prefloop.studies.claims import Claim, Decided, Verdict, overall
from prefloop.studies.results import Measure, NotMeasured, Results

# What an arm uses of the run before it: its steps to replay, its last policy to draw from or as a teacher, its reward
# model as judge.
Uses = Literal["memory.run", "draws.source", "objective.reference", "score.judge"]
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A recipe with settings, as loops run it, or (`exact`) as the tabular laboratory solves it.

    `after`: the arm whose run of the same seed it uses: the one of the same setting, else the first. `uses`: the key
    that is set to what it uses.
    """

    name: str
    title: str
    recipe: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    sweep: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    rounds: int | None = None  # else the recipe's own
    after: str = ""
    uses: Uses = "memory.run"
    exact: bool = False
    mu: str = ""  # of an exact arm: the law of both answers of a stored pair, "reference" or "other"

    def settings_swept(self) -> list[dict[str, Value]]:
        """Return every combination of the swept keys; one empty combination where nothing is swept."""
        names = list(self.sweep)
        return [dict(zip(names, values, strict=True)) for values in itertools.product(*self.sweep.values())]

    @property
    def makes_policy(self) -> bool:
        """Whether it ends with a policy, which is measured; a reward model is only used by other arms."""
        return not get_recipe(self.recipe).objective.makes_reward_model

    def made(self, swept: Mapping[str, Value]) -> Recipe:
        """Return the recipe with the arm's settings. Raises ConfigError, UnknownRecipe."""
        return apply_settings(get_recipe(self.recipe), {**self.settings, **swept})


@dataclass(frozen=True, slots=True)
class Law:
    """The law of over-optimisation that is fitted to an arm's gold, beside the claims."""

    arm: str
    form: Form


@dataclass(frozen=True, slots=True)
class Planned:
    """One run that a study needs."""

    arm: Arm
    swept: Mapping[str, Value]
    seed: int

    @property
    def setting(self) -> str:
        """The swept keys in words, as results name a setting."""
        return ", ".join(f"{key} {value}" for key, value in self.swept.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A finding of a paper, the runs that test it, and the claims that decide it."""

    name: str
    title: str
    question: str  # a person's question that it answers
    finding: str  # what the paper found, in one sentence
    paper: str
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]
    laws: tuple[Law, ...] = ()
    measure: Measure = "win"
    seeds: int = 5
    departures: tuple[str, ...] = ()  # where it does otherwise than the paper, a sentence each
    notes: str = ""
    titles: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "titles", {arm.name: arm.title for arm in self.arms})
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a study's name is lower-case words with hyphens, not {self.name!r}")
        if len(self.titles) != len(self.arms):
            raise ValueError(f"study {self.name}: two arms have one name")
        named = {arm for claim in self.claims for arm in claim.arms} | {law.arm for law in self.laws}
        if unknown := named - self.titles.keys():
            raise ValueError(f"study {self.name}: no arm {sorted(unknown)[0]!r}")
        before: set[str] = set()
        for arm in self.arms:
            if arm.after and arm.after not in before:
                raise ValueError(f"study {self.name}: {arm.name} must come after {arm.after}, which it uses")
            before.add(arm.name)
        if not self.claims or self.seeds < 1:
            raise ValueError(f"study {self.name}: a study has claims and seeds")

    @property
    def exact(self) -> bool:
        """Whether everything is computed, and no policy is trained."""
        return all(arm.exact for arm in self.arms)

    @property
    def measures(self) -> frozenset[str]:
        """What is measured on every policy, beside its KL."""
        return frozenset({self.measure, *(measure for claim in self.claims for measure in claim.measures)})

    @property
    def measured(self) -> tuple[Arm, ...]:
        """The arms that end with a policy."""
        return tuple(arm for arm in self.arms if arm.makes_policy)

    def planned(self, seeds: int) -> list[Planned]:
        """List the runs in order: all of one seed before the next, so that what is done can be compared early."""
        return [
            Planned(arm, swept, seed) for seed in range(seeds) for arm in self.arms for swept in arm.settings_swept()
        ]

    def decide(self, results: Results) -> tuple[Verdict, list[Decided]]:
        """Decide every claim, and with them the finding."""
        decided = []
        for claim in self.claims:
            try:
                decided.append(claim.decide(results, measure=self.measure, titles=self.titles))
            except NotMeasured as error:
                decided.append(
                    Decided(" and ".join(self.titles[arm] for arm in claim.arms), "undecided", "", why=str(error))
                )
        return overall(decided), decided
