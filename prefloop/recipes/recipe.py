"""The parts of a recipe, and the recipe itself: a method is a point in this space, never a trainer of its own.

Every part is a frozen dataclass that checks itself when it is made; what a person may set is declared with `setting`
(help, limits and the source of the default in one place). A part hides the keys that mean nothing for it, so that no
setting is taken and then ignored. Keys are those of `run_recipe --set`: `objective.beta`, `draws.n`, `pairing.kind`.

Source of the space: the methods' own papers, each named by the recipe in `catalogue.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints

from prefloop.config import ConfigError, check_fields, setting

RecipeGroup = Literal["offline", "round by round", "online"]
OnPolicy = Literal["no", "batch", "yes"]
Loss = Literal["none", "nll", "bradley-terry", "dpo"]
Scorer = Literal["none", "judge"]
Labeller = Literal["none", "preferences", "scores"]

RECIPE_GROUPS: tuple[RecipeGroup, ...] = get_args(RecipeGroup)
DRAW_SOURCES = ("data", "initial", "previous", "current", "anchor")
PAIRINGS = ("none", "as-given", "the-two", "best-against-worst", "all-ranked")

# What each loss needs, and which numbers mean something to it.
_LOSS_KEYS: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "nll": frozenset(),
    "bradley-terry": frozenset({"center"}),
    "dpo": frozenset({"beta", "label_smoothing", "reference"}),
}
_TRAINING_KEYS = frozenset({"lr", "epochs", "batch", "warmup", "schedule", "clip", "weight_decay", "start_from"})


class _Part:
    """A part checks its own fields; where some of them mean nothing as it stands, it says so in `hidden()`."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Prompts(_Part):
    generator: str = setting(
        "none", choices=("none",), help="Who writes new prompts: none takes the prompt set as it is."
    )
    n: int = setting(0, minimum=0, help="Prompts used in a round, drawn by the seed; 0 takes all of them.")


@dataclass(frozen=True, kw_only=True)
class Draw(_Part):
    """Who answers. `data` takes the stored completions; its sampling numbers then mean nothing."""

    source: str = setting(
        "current",
        choices=DRAW_SOURCES,
        prefixes=("checkpoint:", "run:"),
        help="Who answers: stored data, or a policy of this loop or another one by its name.",
    )
    n: int = setting(1, minimum=1, maximum=1024, help="Answers for each prompt.")
    temperature: float = setting(
        1.0, minimum=0.0, maximum=10.0, help="Sampling temperature; 1 samples the policy itself, 0 is greedy."
    )
    top_p: float = setting(
        1.0, above=0.0, maximum=1.0, help="Nucleus sampling: the share of probability kept; 1 keeps all."
    )
    top_k: int = setting(0, minimum=0, help="Tokens kept at each step; 0 keeps all.")
    max_tokens: int = setting(128, minimum=1, maximum=131072, help="Longest answer, in tokens.")

    def hidden(self) -> frozenset[str]:
        if self.source == "data":
            return frozenset({"source", "n", "temperature", "top_p", "top_k", "max_tokens"})
        return frozenset()


@dataclass(frozen=True, kw_only=True)
class Score(_Part):
    """A number for each completion. `by` belongs to the method; whose number it is can be set."""

    by: Scorer = "none"
    judge: str = setting(
        "reward-model",
        help="Whose score: reward-model is the project's own (made first if missing), or a pointwise judge's name.",
    )
    samples: int = setting(1, minimum=1, maximum=64, help="Scores asked for each completion; their mean is used.")

    def hidden(self) -> frozenset[str]:
        return frozenset({"judge", "samples"}) if self.by == "none" else frozenset()


@dataclass(frozen=True, kw_only=True)
class Filter(_Part):
    kind: str = setting("all", choices=("all", "best"), help="Which completions stay: all, or the best by score.")


@dataclass(frozen=True, kw_only=True)
class Pairing(_Part):
    kind: str = setting("as-given", choices=PAIRINGS, help="Which comparisons are made of a prompt's completions.")


@dataclass(frozen=True, kw_only=True)
class Label(_Part):
    """Who fills each pair's p. `by` belongs to the method: stored preferences, or the scores of the completions."""

    by: Labeller = "preferences"
    judge: str = setting(
        "",
        help="Whose labels: empty takes what the method takes (the scores of fresh answers; for stored "
        "ones the effective label: override, people, judges), people takes only people's, a judge's name "
        "takes that judge's verdicts in both orders.",
    )
    labels: str = setting(
        "hard",
        choices=("hard", "soft", "sampled"),
        help="hard: the better one wins for certain; soft: its probability is kept; sampled: a coin of it is thrown.",
    )
    noise: float = setting(
        0.0,
        minimum=0.0,
        maximum=0.5,
        help="Share of labels turned round at random, by the seed (an experiment's knob).",
    )

    def hidden(self) -> frozenset[str]:
        return frozenset({"judge", "labels", "noise"}) if self.by == "none" else frozenset()


@dataclass(frozen=True, kw_only=True)
class Review(_Part):
    mode: str = setting(
        "none",
        choices=("none", "uncertain", "sample", "all"),
        help="Which labels go to people before training: none, the uncertain ones and a random share, a sample, all.",
    )
    budget: int = setting(20, minimum=0, help="Most labels sent to people in a round; 0 sets no limit.")


@dataclass(frozen=True, kw_only=True)
class Memory(_Part):
    """Which past examples are trained on again. `replays` says whether the method makes rounds to remember."""

    replays: bool = False
    kind: str = setting(
        "none",
        choices=("none", "rounds", "overrides"),
        help="Past examples trained on again: none, the last k rounds, or the project's labels that people overrode.",
    )
    k: int = setting(1, minimum=1, maximum=1000, help="How many past rounds are trained on again.")
    weight: float = setting(1.0, above=0.0, maximum=1000.0, help="Weight of a past example against a new one.")

    def hidden(self) -> frozenset[str]:
        return frozenset() if self.replays else frozenset({"kind", "k", "weight"})


@dataclass(frozen=True, kw_only=True)
class Anchor(_Part):
    """A moving reference; the methods that have one set `kind`."""

    kind: Literal["none", "copy", "ema"] = "none"
    rate: float = setting(
        0.02, above=0.0, maximum=1.0, help="How far an EMA anchor moves towards the policy at each step."
    )
    every: int = setting(50, minimum=1, help="Steps between two copies of the policy to the anchor.")

    def hidden(self) -> frozenset[str]:
        return {
            "none": frozenset({"rate", "every"}),
            "copy": frozenset({"rate"}),
            "ema": frozenset({"every"}),
        }[self.kind]


@dataclass(frozen=True, kw_only=True)
class Objective(_Part):
    """The loss and its numbers. `loss` belongs to the method."""

    loss: Loss = "dpo"
    beta: float = setting(
        0.1,
        above=0.0,
        help="Pull to the reference.",
        source="Rafailov et al. 2023, arXiv:2305.18290 (0.1; 0.5 for TL;DR)",
    )
    label_smoothing: float = setting(
        0.0,
        minimum=0.0,
        below=0.5,
        help="Probability that a label is wrong (conservative DPO); 0 is plain DPO.",
        source="Mitchell 2023, cDPO note, Eq. 3",
    )
    center: float = setting(
        0.0,
        minimum=0.0,
        help="Weight of the squared sum of a pair's two rewards, which keeps them around zero.",
        source="Eisenstein et al. 2023, arXiv:2312.09244 (0.01 where it is used)",
    )
    lr: float = setting(
        1e-4,
        above=0.0,
        maximum=1.0,
        help="Peak learning rate of AdamW. The default suits models of about 1M parameters; "
        "for 1B and more, papers use 5e-7 to 1e-6 with full weights.",
        source="this project's letters world; DPO's code 5e-7, its paper 1e-6",
    )
    epochs: int = setting(1, minimum=1, maximum=1000, help="Passes over the training set.")
    batch: int = setting(32, minimum=1, maximum=65536, help="Examples in one step of the optimizer.")
    warmup: int = setting(0, minimum=0, help="Steps in which the learning rate rises from 0 to its peak.")
    schedule: str = setting(
        "constant", choices=("constant", "linear"), help="After the warm-up: constant, or linear to 0."
    )
    clip: float = setting(
        1.0,
        minimum=0.0,
        help="Largest norm of the gradient; 0 sets no limit.",
        source="TRL's default; DPO's code has 10",
    )
    weight_decay: float = setting(0.0, minimum=0.0, below=1.0, help="AdamW's decoupled weight decay.")
    reference: str = setting(
        "initial",
        choices=("initial", "previous"),
        prefixes=("checkpoint:",),
        help="Which policy the pull goes to.",
        source="of iterative DPO undocumented in its paper: OpenRLHF kept initial, RLHFlow took previous",
    )
    start_from: str = setting(
        "previous", choices=("initial", "previous"), help="Whose weights a round of training starts from."
    )

    def hidden(self) -> frozenset[str]:
        numbers = frozenset({"beta", "label_smoothing", "center", "reference"})
        if self.loss == "none":
            return numbers | _TRAINING_KEYS
        return numbers - _LOSS_KEYS[self.loss]

    @property
    def needs_reference(self) -> bool:
        return "reference" in _LOSS_KEYS[self.loss]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One method. `needs` names the recipes whose output it uses; `rounds` is how many it makes by default."""

    name: str
    title: str
    idea: str
    paper: str
    group: RecipeGroup
    prompts: Prompts = field(default_factory=Prompts)
    draws: tuple[Draw, ...] = ()
    refresh: str = setting(
        "never",
        choices=("never", "round"),
        help="How fresh the draws are: made once, or made anew by today's policy every round.",
    )
    score: Score = field(default_factory=Score)
    filter: Filter = field(default_factory=Filter)
    pairing: Pairing = field(default_factory=Pairing)
    label: Label = field(default_factory=Label)
    review: Review = field(default_factory=Review)
    memory: Memory = field(default_factory=Memory)
    objective: Objective = field(default_factory=Objective)
    anchor: Anchor = field(default_factory=Anchor)
    needs: tuple[str, ...] = ()
    rounds: int = 1
    needs_human_labels: bool = False
    external_api: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        if self.group not in RECIPE_GROUPS:
            raise ConfigError(f"group must be one of {', '.join(RECIPE_GROUPS)}, not {self.group!r}")
        if self.rounds < 1:
            raise ConfigError(f"rounds must be a whole number ≥ 1, not {self.rounds!r}")
        if not self.draws:
            raise ConfigError(f"recipe {self.name} has no draws: nobody answers")
        sources = [draw.source for draw in self.draws]
        if self.refresh != "never" and set(sources) == {"data"}:
            raise ConfigError(f"draws.source must be a policy where refresh is {self.refresh}, not 'data'")
        if "anchor" in sources and self.anchor.kind == "none":
            raise ConfigError(f"draws.source must not be 'anchor': recipe {self.name} has no anchor")
        has_scores = self.score.by != "none"
        if self.label.by == "scores" and not has_scores:
            raise ConfigError(f"recipe {self.name} labels by scores but has no score")
        if self.filter.kind == "best" and not has_scores:
            raise ConfigError("filter.kind best needs scores; this recipe has none, so it must be all")
        if (
            self.pairing.kind in ("best-against-worst", "all-ranked")
            and not has_scores
            and self.label.by != "preferences"
        ):
            raise ConfigError(f"pairing.kind {self.pairing.kind} needs scores; this recipe has none")
        total = sum(draw.n for draw in self.draws)
        samples = any(draw.source != "data" for draw in self.draws)
        if samples and self.pairing.kind not in ("none", "as-given") and total < 2:
            raise ConfigError(f"draws.n must be a whole number ≥ 2 to make pairs, not {total}")
        if samples and self.pairing.kind == "the-two" and total != 2:
            raise ConfigError(f"draws.n must be 2 for pairing.kind the-two, not {total}")
        if self.filter.kind == "best" and self.pairing.kind != "none":
            raise ConfigError("filter.kind best leaves one completion: pairing.kind must be none, or filter.kind all")

    def hidden(self) -> frozenset[str]:
        """An offline method has nothing to refresh; a loss without pairs has nothing to pair, label or review."""
        parts: set[str] = set()
        if self.group == "offline":
            parts.add("refresh")
        if self.score.by == "none":
            parts |= {"score", "filter"}
        if self.pairing.kind == "none":
            parts |= {"pairing", "label", "review"}
        if self.label.by == "preferences":
            parts.add("pairing")
        return frozenset(parts)

    @property
    def uses_scores(self) -> bool:
        """Whether completions have to be scored: a judge that labels two answers by itself needs no scores."""
        by_scores = self.label.by == "scores" and not self.label.judge
        ranks = self.pairing.kind in ("best-against-worst", "all-ranked")
        return self.score.by != "none" and (by_scores or ranks or self.filter.kind == "best")

    @property
    def ingredients(self) -> tuple[str, ...]:
        """The recipes of `needs` that these settings still need: another scorer needs no reward model."""
        made_elsewhere = not self.uses_scores or self.score.judge != "reward-model"
        return tuple(name for name in self.needs if not (name == "reward-model" and made_elsewhere))

    @property
    def on_policy(self) -> OnPolicy:
        """Whether today's policy answers: never, once a round, or at every step."""
        fresh = any(draw.source in ("current", "previous") for draw in self.draws)
        if not fresh or self.refresh == "never":
            return "no"
        return "batch" if self.refresh == "round" else "yes"

    @property
    def online_feedback(self) -> bool:
        """Whether labels are given on the policy's own fresh answers while the loop goes on."""
        return self.on_policy != "no" and self.label.by != "none"

    @property
    def n_models(self) -> int:
        """Networks in memory at once in training (at inference, where the method does not train)."""
        if self.objective.loss == "none":
            return 1 + (self.score.by != "none")
        return 1 + self.objective.needs_reference

    @property
    def run_kind(self) -> Literal["sft", "reward-model", "dpo"] | None:
        """The kind of training run that the objective asks for; None where nothing is trained."""
        kinds: dict[str, Literal["sft", "reward-model", "dpo"]] = {
            "nll": "sft",
            "bradley-terry": "reward-model",
            "dpo": "dpo",
        }
        return kinds.get(self.objective.loss)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values from which `from_json` makes an equal recipe."""
        plain = dataclasses.asdict(self)
        plain["draws"] = list(plain["draws"])
        plain["needs"] = list(plain["needs"])
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """Make the recipe again. Raises ConfigError for keys or values that a recipe does not have."""
        hints = get_type_hints(cls)
        values = dict(data)
        _refuse_unknown(cls, values, "recipe")
        for name, value in values.items():
            if name == "draws":
                values[name] = tuple(_part_from_json(Draw, draw, "draws") for draw in value)
            elif name == "needs":
                values[name] = tuple(str(item) for item in value)
            elif dataclasses.is_dataclass(hints[name]):
                values[name] = _part_from_json(hints[name], value, name)
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"not a recipe: {error}") from None


def objective_from_json(data: Mapping[str, Any]) -> Objective:
    """Make an objective again from `dataclasses.asdict`. Raises ConfigError."""
    made: Objective = _part_from_json(Objective, data, "objective")
    return made


def _part_from_json(cls: Any, data: Any, name: str) -> Any:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{name} must be an object, not {data!r}")
    _refuse_unknown(cls, data, name)
    return cls(**data)


def _refuse_unknown(cls: Any, data: Mapping[str, Any], name: str) -> None:
    known = [item.name for item in dataclasses.fields(cls)]
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ConfigError(f"{name} has no {', '.join(unknown)}; known: {', '.join(known)}")
