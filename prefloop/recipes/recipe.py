"""The recipe itself, made of the parts of `parts.py` and an objective.

No method has a trainer of its own. Keys are those of `run_recipe --set`: `objective.beta`, `draws.n`, `pairing.kind`.
The possible values come from the methods' own papers, each named by its recipe in `catalogue/`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from prefloop.config import ConfigError, check_fields, setting
from prefloop.config.fields import hints_of
from prefloop.config.numbers import whole_number
from prefloop.losses.declaration import Rows
from prefloop.recipes import meaning
from prefloop.recipes.adapter import Adapter
from prefloop.recipes.engines import AUTO
from prefloop.recipes.evaluation import Evaluation
from prefloop.recipes.objective import Objective
from prefloop.recipes.parts import (
    AI_REWARD_MODEL,
    RANKING_PAIRINGS,
    REWARD_MODEL,
    Draw,
    Filter,
    Label,
    Pairing,
    Prompts,
    Review,
    Score,
    Teach,
)
from prefloop.recipes.past import Anchor, Memory

__all__ = [
    "AI_REWARD_MODEL",
    "RECIPE_GROUPS",
    "REWARD_MODEL",
    "Anchor",
    "Draw",
    "Evaluation",
    "Filter",
    "Label",
    "Memory",
    "Objective",
    "OnPolicy",
    "Pairing",
    "Prompts",
    "Recipe",
    "RecipeGroup",
    "Review",
    "Rows",
    "Score",
    "Teach",
    "ai_label",
    "objective_from_json",
    "part_from_json",
]

RecipeGroup = Literal["offline", "round by round", "online"]
OnPolicy = Literal["no", "batch", "mixed", "yes"]

RECIPE_GROUPS: tuple[RecipeGroup, ...] = get_args(RecipeGroup)
_EVERY = "every:"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One method. `needs` names the recipes whose output it uses; `rounds` is the default number of rounds."""

    name: str
    title: str
    idea: str
    paper: str
    group: RecipeGroup
    prompts: Prompts = field(default_factory=Prompts)
    draws: tuple[Draw, ...] = ()
    refresh: str = setting(
        "never",
        choices=("never", "round", "step"),
        prefixes=(_EVERY,),
        help="How often answers are sampled: once, every round by the current policy, at every training step, or every "
        "so many steps (every:4).",
    )
    score: Score = field(default_factory=Score)
    teach: Teach = field(default_factory=Teach)
    filter: Filter = field(default_factory=Filter)
    pairing: Pairing = field(default_factory=Pairing)
    label: Label = field(default_factory=Label)
    review: Review = field(default_factory=Review)
    memory: Memory = field(default_factory=Memory)
    objective: Objective = field(default_factory=Objective)
    anchor: Anchor = field(default_factory=Anchor)
    adapter: Adapter = field(default_factory=Adapter)
    evaluation: Evaluation = field(default_factory=Evaluation)
    needs: tuple[str, ...] = ()
    rounds: int = 1
    needs_human_labels: bool = False  # as its paper has it, it can't be done without labels by people
    external_api: bool = False  # its labels come from a large language model, served or called
    sources: Mapping[str, str] = field(default_factory=dict)  # key -> where this recipe's default comes from
    departures: tuple[str, ...] = ()  # where it does otherwise than its paper, a sentence each

    def __post_init__(self) -> None:
        check_fields(self)
        if self.objective.declared.anchors == "imitate":  # it imitates the best of all that it draws
            drawn = tuple(dataclasses.replace(draw, n=self.objective.n) for draw in self.draws)
            object.__setattr__(self, "draws", drawn)
        if self.group not in RECIPE_GROUPS:
            raise ConfigError(f"group must be one of {', '.join(RECIPE_GROUPS)}, not {self.group!r}")
        if self.rounds < 1:
            raise ConfigError(f"rounds must be a whole number ≥ 1, not {self.rounds!r}")
        if not self.draws:
            raise ConfigError(f"recipe {self.name} has no draws: no model answers")
        if self.refresh.startswith(_EVERY):
            whole_number("refresh", self.refresh, _EVERY)
        self._check_draws()
        self._check_scores()
        if self.prompts.generator != "none" and self.refresh != "round":
            raise ConfigError(f"prompts.generator {self.prompts.generator} needs refresh round, not {self.refresh}")
        if self.objective.rows == "pairs" and self.pairing.kind == "none":
            raise ConfigError(f"pairing.kind must not be none: {self.objective.loss} learns from pairs")

    def _check_draws(self) -> None:
        sources = [draw.source for draw in self.draws]
        if self.refresh != "never" and set(sources) == {"data"}:
            raise ConfigError(f"draws.source must be a policy where refresh is {self.refresh}, not 'data'")
        if "anchor" in sources and self.anchor.kind == "none":
            raise ConfigError(f"draws.source must not be 'anchor': recipe {self.name} has no anchor")
        total = sum(draw.n for draw in self.draws)
        if self.samples and self.pairing.kind not in ("none", "as-given") and total < 2:
            raise ConfigError(f"draws.n must be a whole number ≥ 2 to make pairs, not {total}")
        if self.objective.declared.compares_group and total < 2:
            raise ConfigError(
                f"draws.n must be a whole number ≥ 2, not {total}: {self.objective.loss} compares an answer with the "
                "others to its prompt"
            )
        if self.samples and self.pairing.kind == "the-two" and total != 2:
            raise ConfigError(f"draws.n must be 2 for pairing.kind the-two, not {total}")
        if self.pairing.kind == "real-against-generated" and not ("data" in sources and self.samples):
            raise ConfigError("pairing.kind real-against-generated needs a draw from data and one from a policy")

    def _check_scores(self) -> None:
        if refused := meaning.ratings_refusal(self):
            raise ConfigError(refused)
        has_scores = self.score.by != "none"
        if self.label.by == "scores" and not has_scores:
            raise ConfigError(f"recipe {self.name} labels by scores but has no score")
        if self.filter.kind != "all" and not has_scores:
            raise ConfigError(f"filter.kind {self.filter.kind} needs scores; this recipe has none, so it must be all")
        if self.pairing.kind in RANKING_PAIRINGS and not has_scores and self.label.by != "preferences":
            raise ConfigError(f"pairing.kind {self.pairing.kind} needs scores; this recipe has none")
        if self.filter.kind == "best" and self.pairing.kind != "none":
            raise ConfigError("filter.kind best leaves one completion: pairing.kind must be none, or filter.kind all")
        if self.filter.kind == "thresholds" and self.objective.rows != "demonstrations":
            raise ConfigError("filter.kind thresholds is for objectives that imitate answers: this one does not")
        if self.objective.declared.hard_labels and self.label.labels == "soft":
            raise ConfigError(f"label.labels must be hard or sampled: {self.objective.loss} takes no soft labels")
        if self.objective.rows == "groups" and not has_scores:
            raise ConfigError(f"{self.objective.loss} ranks whole groups and needs scores")

    def hidden(self) -> frozenset[str]:
        """Return the parts that have no meaning in this recipe."""
        return frozenset(key for key in self.meaningless() if "." not in key)

    def meaningless(self) -> Mapping[str, str]:
        """Return the parts and keys that have no meaning in this recipe, each with the reason."""
        return meaning.meaningless(self)

    def explain_key(self, key: str) -> Mapping[str, Any]:
        """Return what this recipe allows of a key, if that is less than the part allows."""
        return meaning.explain_key(self, key)

    def idle(self) -> Mapping[str, str]:
        """Return the keys that do nothing until another one is set."""
        return meaning.idle(self)

    def check_settings(self) -> None:
        """Raise ConfigError if settings can't be combined."""
        meaning.check_settings(self)

    @property
    def samples(self) -> bool:
        """Whether a policy answers, rather than only stored data."""
        return any(draw.source != "data" for draw in self.draws)

    @property
    def keep_every(self) -> int:
        """Training steps after which the policy is measured on the way; 0: nowhere."""
        return 0 if "evaluation" in self.hidden() else self.evaluation.every

    @property
    def engine(self) -> str:
        """The engine that samples the loop's own policies for evaluation, judging and prompt writing."""
        return next((draw.engine for draw in self.draws if draw.source != "data" and not draw.endpoint), AUTO)

    @property
    def is_online(self) -> bool:
        """Whether it is on-policy: it samples and trains at every step, inside its training run."""
        return self.refresh == "step" or self.refresh.startswith(_EVERY)

    @property
    def learns_in_steps(self) -> bool:
        """Whether a round is one on-policy training run: it samples inside training, or replays one that did."""
        return self.is_online or self.memory.kind == "replay"

    @property
    def refresh_steps(self) -> int:
        """Training steps between two times of sampling; 0 if sampling is not inside training."""
        if self.refresh.startswith(_EVERY):
            return int(self.refresh.removeprefix(_EVERY))
        return int(self.refresh == "step")

    @property
    def uses_scores(self) -> bool:
        """Whether completions must be scored: a judge that compares two answers directly needs no scores."""
        by_scores = self.label.by == "scores" and not self.label.judge
        by_default = self.label.by == "judge" and not self.label.judge  # the project's reward model compares
        ranks = self.pairing.kind in RANKING_PAIRINGS or self.objective.rows in ("groups", "samples")
        filters = self.filter.kind != "all"
        return by_default or (self.score.by != "none" and (by_scores or ranks or filters))

    @property
    def on_policy(self) -> OnPolicy:
        """How on-policy it is: never, once per round, partly (together with answers of others), or at every step."""
        fresh = [draw.source in ("current", "previous") for draw in self.draws]
        if not any(fresh) or self.refresh == "never":
            return "no"
        if self.refresh == "round":
            return "batch"
        # Samples that only measure another one's quantile are not learnt from.
        return "mixed" if not all(fresh) and self.objective.declared.anchors != "measure" else "yes"

    @property
    def n_models(self) -> int:
        """Networks in memory at once in training (at inference, if the method does not train).

        An on-policy method scores or compares inside its training, and PPO has a value network.
        """
        scores = self.score.by != "none"
        if not self.objective.trains:
            return 1 + scores
        other = self.objective.needs_reference or self.anchor.kind != "none"
        return 1 + other + self.judges_in_steps + self.objective.needs("values")

    @property
    def judges_in_steps(self) -> bool:
        """Whether its training asks a judge, for scores or labels of fresh answers."""
        return self.is_online and (self.score.by != "none" or self.label.by in ("judge", "scores"))

    @property
    def run_kind(self) -> str | None:
        """The kind of training run that the recipe needs (`runspec.RunSpec.kind`); None if nothing is trained."""
        if self.learns_in_steps:
            return "online"
        return self.objective.run_kind if self.objective.trains else None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values from which `from_json` makes an equal recipe."""
        plain = dataclasses.asdict(self)
        plain["draws"] = list(plain["draws"])
        plain["needs"] = list(plain["needs"])
        plain["departures"] = list(plain["departures"])
        plain["sources"] = dict(plain["sources"])
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """Make the recipe again. Raises ConfigError for keys or values that a recipe does not have."""
        hints = hints_of(cls)
        values = dict(data)
        _refuse_unknown(cls, values, "recipe")
        for name, value in values.items():
            if name == "draws":
                values[name] = tuple(part_from_json(Draw, _as_it_was(draw), "draws") for draw in value)
            elif name in ("needs", "departures"):
                values[name] = tuple(str(item) for item in value)
            elif dataclasses.is_dataclass(hints[name]):
                values[name] = part_from_json(hints[name], value, name)
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"not a recipe: {error}") from None


def _as_it_was(draw: Any) -> Any:
    """Read a draw of an older loop: `run:ID` was once accepted, and sampled the current policy."""
    old = isinstance(draw, Mapping) and str(draw.get("source", "")).startswith("run:")
    return {**draw, "source": "current"} if old else draw


def ai_label(recipe: Recipe) -> Label:
    """Return the labels that an AI reward model is trained on: the recipe's own if it has no other pairs."""
    return recipe.label if recipe.pairing.kind == "none" else Label(by="judge", labels="soft")


def objective_from_json(data: Mapping[str, Any]) -> Objective:
    """Restore an objective from `dataclasses.asdict`. Raises ConfigError."""
    made: Objective = part_from_json(Objective, data, "objective")
    return made


def part_from_json(cls: Any, data: Any, name: str) -> Any:
    """Restore a part from `dataclasses.asdict`; `name` is for the error. Raises ConfigError."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{name} must be an object, not {data!r}")
    _refuse_unknown(cls, data, name)
    return cls(**data)


def _refuse_unknown(cls: Any, data: Mapping[str, Any], name: str) -> None:
    known = [item.name for item in dataclasses.fields(cls)]
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ConfigError(f"{name} has no {', '.join(unknown)}; known: {', '.join(known)}")
