"""The parts of a recipe: prompts, draws, scores, filters, pairings, labels and review.

Every part is a frozen dataclass that checks itself when it is made; what people can set is declared with `setting`
(help, limits and the source of the default in one place). A part hides the keys that have no meaning for it, so that no
setting is accepted and then ignored. Keys are those of `run_recipe --set`: `draws.n`, `pairing.kind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

from prefloop.config import ConfigError, check_fields, setting
from prefloop.config.numbers import rising_numbers
from prefloop.criteria import BadCriterion, weights_read
from prefloop.recipes import engines
from prefloop.recipes.where import Where, read_where

Scorer = Literal["none", "judge", "policy"]
Labeller = Literal["none", "preferences", "scores", "judge", "data"]

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

REWARD_MODEL = "reward-model"  # the project's own, made from its labels where it is missing
AI_REWARD_MODEL = "ai-reward-model"  # the same from a judge's soft labels alone (RLAIF)
BY_PEOPLE, BY_RATINGS = "people", "ratings"  # whose labels where no judge is meant: people's, or what they rated


class Part:
    """A part checks its own fields and names in `hidden()` those that have no meaning with its current values."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Prompts(Part):
    generator: str = setting(
        "none",
        choices=("none", "self-instruct"),
        help="Whether new prompts are written: none uses the prompt set as it is; with self-instruct a policy writes "
        "similar prompts each round, filtered by similarity, keywords and length.",
        source="Wang et al. 2022 (Self-Instruct), arXiv:2212.10560; Yuan et al. 2024, arXiv:2401.10020",
    )
    n: int = setting(0, minimum=0, help="Number of prompts in a round, drawn by the seed; 0 means all.")
    sets: str = setting(
        "", help="Prompt sets to sample, train on and measure on: names separated by commas; empty means all."
    )
    where: str = setting(
        "",
        help="Filter of these prompts by metadata, such as topic=maths and difficulty>=3. After = and != several "
        "values may be separated by commas; put text with spaces in double quotes. Empty means all.",
    )
    writer: str = setting(
        "initial",
        choices=("initial", "previous"),
        prefixes=("checkpoint:",),
        help="Which policy writes them: initial, the same in all rounds, or previous, the one that the round "
        "starts from.",
        source="Yuan et al. 2024, arXiv:2401.10020: a fixed Llama-2-Chat 70B, not the policy itself",
    )
    temperature: float = setting(
        0.6, minimum=0.0, maximum=10.0, help="Sampling temperature for writing prompts.", source="Yuan et al. 2024: 0.6"
    )
    top_p: float = setting(
        0.9,
        above=0.0,
        maximum=1.0,
        help="Nucleus sampling (top-p) for writing prompts.",
        source="Yuan et al. 2024: 0.9",
    )
    most_alike: float = setting(
        0.7,
        above=0.0,
        maximum=1.0,
        help="A prompt is rejected if its ROUGE-L with an existing prompt is this or more.",
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
        """The names of the prompt sets; empty means all."""
        return tuple(dict.fromkeys(name for part in self.sets.split(",") if (name := part.strip())))

    @property
    def condition(self) -> Where:
        """The condition on a prompt's metadata. Raises ConfigError if it can't be read."""
        return read_where(self.where)


@dataclass(frozen=True, kw_only=True)
class Draw(Part):
    """Which model answers, and how it samples. `data` uses stored completions, without any sampling numbers."""

    source: str = setting(
        "current",
        choices=("data", "initial", "previous", "current", "anchor"),
        prefixes=("checkpoint:",),
        help="Which model answers: data for stored answers, a policy of this loop, or another checkpoint by its name.",
    )
    n: int = setting(1, minimum=1, maximum=1024, help="Number of answers for each prompt.")
    temperature: float = setting(
        1.0, minimum=0.0, maximum=10.0, help="Sampling temperature; 1 is the policy's own distribution, 0 is greedy."
    )
    top_p: float = setting(
        1.0, above=0.0, maximum=1.0, help="Nucleus sampling (top-p): the share of probability kept; 1 keeps all."
    )
    top_k: int = setting(0, minimum=0, help="Number of most likely tokens kept at each position (top-k); 0 keeps all.")
    max_tokens: int = setting(128, minimum=1, maximum=131072, help="Length limit of an answer, in tokens.")
    engine: str = setting(engines.AUTO, choices=engines.OURS, prefixes=(engines.ENDPOINT_PREFIX,), help=engines.HELP)

    def hidden(self) -> frozenset[str]:
        if self.source == "data":
            return frozenset({"source", "n", "temperature", "top_p", "top_k", "max_tokens", "engine"})
        return frozenset()

    @property
    def endpoint(self) -> str:
        """The name of the endpoint that answers; "" if a policy of the project does."""
        prefix = engines.ENDPOINT_PREFIX
        return self.engine.removeprefix(prefix) if self.engine.startswith(prefix) else ""


@dataclass(frozen=True, kw_only=True)
class Score(Part):
    """A score for each completion. `by` is fixed by the method; the source of the score can be set."""

    by: Scorer = "none"
    judge: str = setting(
        REWARD_MODEL,
        help="What gives the scores: reward-model is the project's own (trained first if missing), ai-reward-model is "
        "trained only on a judge's soft labels (also trained first), or the name of a judge that scores answers.",
    )
    samples: int = setting(1, minimum=1, maximum=64, help="Number of scores for each answer; their mean is used.")

    def hidden(self) -> frozenset[str]:
        return {"none": frozenset({"judge", "samples"}), "judge": frozenset[str](), "policy": frozenset({"judge"})}[
            self.by
        ]


@dataclass(frozen=True, kw_only=True)
class Teach(Part):
    """What the starting policy learns before the first round so that it can judge: three kinds of rows at once."""

    eft: int = setting(
        0,
        minimum=0,
        help="Number of judge demonstrations (EFT) on which the starting policy is trained first; 0 skips this. A "
        "policy that was taught before is not taught again.",
        source="Yuan et al. 2024, arXiv:2401.10020: 1,630",
    )
    ift: int = setting(
        0,
        minimum=0,
        help="Number of chosen answers of the project (IFT) used in the same training.",
        source="Yuan et al. 2024, arXiv:2401.10020: 3,200",
    )
    writing: int = setting(
        0,
        minimum=0,
        help="Number of the project's prompts that it learns to write after eight others; 0 if it can write already.",
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
        choices=("all", "best", "rejection", "thresholds"),
        help="Which answers are kept: all, the best by score, those that rejection sampling accepts, or those above "
        "thresholds that rise within a round.",
    )
    beta: float = setting(
        0.5,
        minimum=0.0,
        help="Temperature of rejection sampling: an answer is accepted with probability exp((score - best) / beta).",
        source="Liu et al. 2023 (RSO), arXiv:2309.06657: best of 0, .05, .5, 5",
    )
    keep: int = setting(
        8,
        minimum=1,
        maximum=1024,
        help="Number of answers kept for each prompt.",
        source="Liu et al. 2023 (RSO), arXiv:2309.06657: 8 of 64",
    )
    thresholds: str = setting(
        "0.5,0.7,0.85",
        help="Rising quantiles of the round's scores, one for each Improve step, which trains on answers above it.",
        source="this project's; the paper raises the threshold at each step (its values are per task)",
    )
    cut_answers: str = setting(
        "keep",
        choices=("keep", "leave-out"),
        help="Answers that reached their longest length before they ended: keep trains on them without an end; "
        "leave-out trains only on those that ended, and on pairs of such.",
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
        """The thresholds as numbers. Raises ConfigError unless they are rising numbers in [0, 1)."""
        numbers = rising_numbers(self.thresholds)
        if not numbers or not all(0 <= q < 1 for q in numbers):
            raise ConfigError(
                f"thresholds must be rising numbers from 0 to below 1, like 0.5,0.7,0.9, not {self.thresholds!r}"
            )
        return numbers

    @property
    def leaves_out_cut(self) -> bool:
        return self.cut_answers == "leave-out"

    @property
    def n_steps(self) -> int:
        """Number of trainings in one round: ReST's Improve steps, else one."""
        return len(self.quantiles) if self.kind == "thresholds" else 1

    def n_kept(self, n: int) -> int:
        """Completions that stay of n, at most."""
        return {"best": min(1, n), "rejection": min(self.keep, n)}.get(self.kind, n)


@dataclass(frozen=True, kw_only=True)
class Pairing(Part):
    kind: str = setting("as-given", choices=PAIRINGS, help="How a prompt's answers are paired into comparisons.")

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
    """Who gives each pair its p. `by` is fixed by the method: stored preferences, scores, a judge, or the data."""

    by: Labeller = "preferences"
    judge: str = setting(
        "",
        help="Which labels are used: empty means the method's usual ones (scores for new answers; for stored ones the "
        "effective label: override, people, judges), people means only people's, ratings people's ratings of single "
        "answers (desirable above the middle of the scale, undesirable below), and a judge's name means that judge's "
        "verdicts in both orders.",
    )
    criterion: str = setting(
        "",
        help="By which criterion stored labels are meant: empty means the unnamed one, a name that criterion "
        "(helpful), and a weighting several (helpful=2,harmless=1): then the probabilities are averaged with these "
        "weights, and comparisons that lack a label by one of them are left out.",
    )
    labels: str = setting(
        "hard",
        choices=("hard", "soft", "sampled"),
        help="hard: the more probable answer wins; soft: the probability is kept; sampled: the winner is drawn by it.",
    )
    noise: float = setting(
        0.0, minimum=0.0, maximum=0.5, help="Share of labels that are flipped at random, by the seed (for experiments)."
    )

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            _ = self.weights
        except BadCriterion as error:
            raise ConfigError(f"label.criterion can't be used: {error}") from error

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each criterion that labels are by; the unnamed one is called ""."""
        return weights_read(self.criterion)

    @property
    def named_judge(self) -> str:
        """The judge whose labels are meant; "" where none is."""
        return "" if self.judge in (BY_PEOPLE, BY_RATINGS) else self.judge

    def explain(self, name: str) -> dict[str, object]:
        if name == "judge" and self.by == "judge":
            return {
                "help": "Who compares the answers, averaged over both orders: the name of a judge; empty means the "
                "project's reward model."
            }
        return {}

    def hidden(self) -> frozenset[str]:
        return frozenset({"judge", "criterion", "labels", "noise"}) if self.by in ("none", "data") else frozenset()


@dataclass(frozen=True, kw_only=True)
class Review(Part):
    mode: str = setting(
        "none",
        choices=("none", "uncertain", "sample", "all"),
        help="Which labels people review before training: none, a random sample, all, or uncertain: a random share "
        "first, then labels similar to those that people corrected.",
    )
    budget: int = setting(20, minimum=0, help="Maximum number of labels for people in a round; 0 means no limit.")
