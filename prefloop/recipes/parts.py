"""The parts of a recipe: where prompts come from, who answers, what is kept, compared, labelled and remembered.

Every part is a frozen dataclass that checks itself when it is made; what a person may set is declared with `setting`
(help, limits and the source of the default in one place). A part hides the keys that mean nothing for it, so that no
setting is taken and then ignored. Keys are those of `run_recipe --set`: `draws.n`, `pairing.kind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

from prefloop.config import ConfigError, check_fields, setting
from prefloop.config.numbers import rising_numbers, whole_number
from prefloop.recipes import engines
from prefloop.recipes.where import Where, read_where

Scorer = Literal["none", "judge", "policy"]
Labeller = Literal["none", "preferences", "scores", "judge", "data"]

DRAW_SOURCES = ("data", "initial", "previous", "current", "anchor")
FILTERS = ("all", "best", "rejection", "thresholds")
PAIRINGS = (
    "none",
    "as-given",
    "the-two",
    "best-against-worst",
    "first-round",
    "tournament",
    "all-ranked",
    "real-against-generated",
)
RANKING_PAIRINGS = frozenset({"best-against-worst", "tournament", "all-ranked"})  # they ask the scores who is better
REPLAY_ORDERS = ("logged", "uniform")

REWARD_MODEL = "reward-model"  # the project's own, made from its labels where it is missing
AI_REWARD_MODEL = "ai-reward-model"  # the same from a judge's soft labels alone (RLAIF)


class Part:
    """A part checks its own fields; where some of them mean nothing as it stands, it says so in `hidden()`."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Prompts(Part):
    generator: str = setting(
        "none",
        choices=("none", "self-instruct"),
        help="Who writes new prompts: none takes the prompt set as it is; self-instruct has a policy write more like "
        "them each round, filtered by likeness, keywords and length.",
        source="Wang et al. 2022 (Self-Instruct), arXiv:2212.10560; Yuan et al. 2024, arXiv:2401.10020",
    )
    n: int = setting(0, minimum=0, help="Prompts used in a round, drawn by the seed; 0 takes all of them.")
    sets: str = setting(
        "",
        help="Prompt sets that are asked, trained on and measured on: names with commas between them; empty takes all.",
    )
    where: str = setting(
        "",
        help="Prompts that are asked, trained on and measured on, by their metadata: topic=maths and difficulty>=3; "
        "after = or != several values with commas, text with spaces in double quotes. Empty takes all.",
    )
    writer: str = setting(
        "initial",
        choices=("initial", "previous"),
        prefixes=("checkpoint:",),
        help="Which policy writes them: initial, the same in all rounds; previous, what the round starts from.",
        source="Yuan et al. 2024, arXiv:2401.10020: a fixed Llama-2-Chat 70B, not the policy itself",
    )
    temperature: float = setting(
        0.6, minimum=0.0, maximum=10.0, help="Temperature of the writing.", source="Yuan et al. 2024: 0.6"
    )
    top_p: float = setting(
        0.9, above=0.0, maximum=1.0, help="Nucleus sampling of the writing.", source="Yuan et al. 2024: 0.9"
    )
    most_alike: float = setting(
        0.7,
        above=0.0,
        maximum=1.0,
        help="A prompt whose ROUGE-L with a prompt that is there is this or more is not new.",
        source="Wang et al. 2022, arXiv:2212.10560: 0.7",
    )

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.condition

    def hidden(self) -> frozenset[str]:
        if self.generator == "none":
            return frozenset({"writer", "temperature", "top_p", "most_alike"})
        return frozenset()

    @property
    def takes_all(self) -> bool:
        """Whether no prompt is left out."""
        return not self.set_names and not self.where

    @property
    def set_names(self) -> tuple[str, ...]:
        """The prompt sets that are meant; none: all of them."""
        return tuple(dict.fromkeys(name for part in self.sets.split(",") if (name := part.strip())))

    @property
    def condition(self) -> Where:
        """What a prompt's metadata must be like. Raises ConfigError where it can't be read."""
        return read_where(self.where)


@dataclass(frozen=True, kw_only=True)
class Draw(Part):
    """Who answers, and by what. `data` takes the stored completions; its sampling numbers then mean nothing."""

    source: str = setting(
        "current",
        choices=DRAW_SOURCES,
        prefixes=("checkpoint:",),
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
    engine: str = setting(
        engines.AUTO,
        choices=engines.OURS,
        prefixes=(engines.ENDPOINT_PREFIX,),
        help=engines.HELP,
    )

    def hidden(self) -> frozenset[str]:
        if self.source == "data":
            return frozenset({"source", "n", "temperature", "top_p", "top_k", "max_tokens", "engine"})
        return frozenset()

    @property
    def endpoint(self) -> str:
        """The name of the endpoint that answers; "" where a policy of the project does."""
        prefix = engines.ENDPOINT_PREFIX
        return self.engine.removeprefix(prefix) if self.engine.startswith(prefix) else ""


@dataclass(frozen=True, kw_only=True)
class Score(Part):
    """A number for each completion. `by` belongs to the method; whose number it is can be set."""

    by: Scorer = "none"
    judge: str = setting(
        REWARD_MODEL,
        help="Whose score: reward-model is the project's own (made first if missing), ai-reward-model one from a "
        "judge's soft labels alone (made first too), or a pointwise judge's name.",
    )
    samples: int = setting(1, minimum=1, maximum=64, help="Scores asked for each completion; their mean is used.")

    def hidden(self) -> frozenset[str]:
        return {
            "none": frozenset({"judge", "samples"}),
            "judge": frozenset[str](),
            "policy": frozenset({"judge"}),
        }[self.by]


@dataclass(frozen=True, kw_only=True)
class Teach(Part):
    """What the start learns before the first round where it is to judge by itself: rows of three kinds at once."""

    eft: int = setting(
        0,
        minimum=0,
        help="Judge demonstrations (EFT) that the start learns from first; 0 takes the start as it is. A start that "
        "learned so before is not taught again.",
        source="Yuan et al. 2024, arXiv:2401.10020: 1,630",
    )
    ift: int = setting(
        0,
        minimum=0,
        help="Chosen answers of the project (IFT) that it learns from beside them.",
        source="Yuan et al. 2024, arXiv:2401.10020: 3,200",
    )
    writing: int = setting(
        0,
        minimum=0,
        help="Prompts of the project that it learns to write after eight others; 0 for a model that can.",
        source="this project's; Yuan et al. 2024 have another, larger model write the prompts",
    )
    lr: float = setting(1e-3, above=0.0, maximum=1.0, help="Peak learning rate of this training.")
    epochs: int = setting(1, minimum=1, maximum=1000, help="Passes over its rows.")
    batch: int = setting(16, minimum=1, maximum=65536, help="Rows in one step of it.")

    def hidden(self) -> frozenset[str]:
        return frozenset() if self.eft else frozenset({"ift", "writing", "lr", "epochs", "batch"})


@dataclass(frozen=True, kw_only=True)
class Filter(Part):
    kind: str = setting(
        "all",
        choices=FILTERS,
        help="Which completions stay: all; the best by score; those that rejection sampling accepts; those above "
        "thresholds that rise inside a round.",
    )
    beta: float = setting(
        0.5,
        minimum=0.0,
        help="Temperature of rejection sampling: a completion is accepted with chance exp((score - best) / beta).",
        source="Liu et al. 2023 (RSO), arXiv:2309.06657: best of 0, .05, .5, 5",
    )
    keep: int = setting(
        8,
        minimum=1,
        maximum=1024,
        help="Completions kept of each prompt.",
        source="Liu et al. 2023 (RSO), arXiv:2309.06657: 8 of 64",
    )
    thresholds: str = setting(
        "0.5,0.7,0.85",
        help="Rising quantiles of the round's scores, one for each Improve step: what scores above it is trained on.",
        source="this project's; the paper raises the threshold at each step (its values are per task)",
    )

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "thresholds":
            _ = self.quantiles

    def hidden(self) -> frozenset[str]:
        used = {"rejection": {"beta", "keep"}, "thresholds": {"thresholds"}}.get(self.kind, set())
        return frozenset({"beta", "keep", "thresholds"} - used)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The thresholds as numbers. Raises ConfigError where they are not rising numbers in [0, 1)."""
        numbers = rising_numbers(self.thresholds)
        if not numbers or not all(0 <= q < 1 for q in numbers):
            raise ConfigError(
                f"thresholds must be rising numbers from 0 to below 1, like 0.5,0.7,0.9, not {self.thresholds!r}"
            )
        return numbers

    @property
    def n_steps(self) -> int:
        """Trainings in one round: ReST's Improve steps, else one."""
        return len(self.quantiles) if self.kind == "thresholds" else 1

    def n_kept(self, n: int) -> int:
        """Completions that stay of n, at most."""
        return {"best": min(1, n), "rejection": min(self.keep, n)}.get(self.kind, n)


@dataclass(frozen=True, kw_only=True)
class Pairing(Part):
    kind: str = setting("as-given", choices=PAIRINGS, help="Which comparisons are made of a prompt's completions.")

    def n_pairs(self, n: int) -> int:
        """Comparisons that are made of n drawn completions, at most; those that the data names are not among them."""
        return {
            "the-two": 1,
            "best-against-worst": 1,
            "first-round": n // 2,
            "tournament": n - 1,
            "all-ranked": n * (n - 1) // 2,
            "real-against-generated": n,
        }.get(self.kind, 0)


@dataclass(frozen=True, kw_only=True)
class Label(Part):
    """Who fills each pair's p. `by` belongs to the method: stored preferences, scores, a judge, or the data itself."""

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

    def explain(self, name: str) -> dict[str, object]:
        if name == "judge" and self.by == "judge":
            return {
                "help": "Who compares the answers, in both orders, averaged: a judge's name; empty takes the "
                "project's reward model."
            }
        return {}

    def hidden(self) -> frozenset[str]:
        return frozenset({"judge", "labels", "noise"}) if self.by in ("none", "data") else frozenset()


@dataclass(frozen=True, kw_only=True)
class Review(Part):
    mode: str = setting(
        "none",
        choices=("none", "uncertain", "sample", "all"),
        help="Which labels go to people before training: none, a sample, all, or the uncertain ones, a random share "
        "and then those like the ones that people corrected.",
    )
    budget: int = setting(20, minimum=0, help="Most labels sent to people in a round; 0 sets no limit.")


@dataclass(frozen=True, kw_only=True)
class Memory(Part):
    """Which past examples are trained on again. `replays` says whether the method makes anything to remember.

    `kind` "replay" (the data of another loop's run in a chosen order) belongs to the tandem methods alone.
    """

    replays: bool = False
    kind: str = setting(
        "none",
        choices=("none", "rounds", "overrides"),
        help="Past examples trained on again: none, the last k rounds, or the project's labels that people overrode.",
    )
    k: int = setting(1, minimum=1, maximum=1000, help="How many past rounds are trained on again.")
    weight: float = setting(1.0, above=0.0, maximum=1000.0, help="Weight of a past example against a new one.")
    run: str = setting("", help="Which loop's data is replayed: its number; empty takes the newest of its kind.")
    order: str = setting(
        "uniform",
        choices=REPLAY_ORDERS,
        prefixes=("window:",),
        help="Order of the replay: as logged, shuffled within windows of so many batches (window:500), or uniform.",
        source="Tang et al. 2024, arXiv:2405.08448v1: uniform; none, 4 and 500 as ablation",
    )

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order.startswith("window:"):
            whole_number("order", self.order, "window:")

    def explain(self, name: str) -> dict[str, object]:
        if name == "kind" and self.kind == "replay":
            return {"choices": ("replay",), "help": "The data of another loop is trained on again."}
        return {}

    def hidden(self) -> frozenset[str]:
        if self.kind == "replay":
            return frozenset({"k", "weight"})
        replay = frozenset({"run", "order"})
        return replay if self.replays else replay | {"kind", "k", "weight"}

    @property
    def window(self) -> int | None:
        """Batches that are shuffled among themselves; None: none are (logged), or all of them (uniform)."""
        return int(self.order.removeprefix("window:")) if self.order.startswith("window:") else None


@dataclass(frozen=True, kw_only=True)
class Anchor(Part):
    """A policy that the objective pulls to and that may move; the methods that have one set `kind`."""

    kind: Literal["none", "initial", "copy", "ema"] = "none"
    rate: float = setting(
        0.02,
        minimum=0.0,
        maximum=1.0,
        help="How far an EMA anchor moves towards the policy at each step; 0 holds it.",
        source="Sessa et al. 2024 (J-BOND), arXiv:2407.14622v1",
    )
    every: int = setting(
        50,
        minimum=1,
        help="Steps between two copies of the policy to the anchor.",
        source="this project's; Sessa et al. 2024 (iterative BOND), arXiv:2407.14622v1: 1000",
    )

    def hidden(self) -> frozenset[str]:
        return {
            "none": frozenset({"rate", "every"}),
            "initial": frozenset({"rate", "every"}),
            "copy": frozenset({"rate"}),
            "ema": frozenset({"every"}),
        }[self.kind]
