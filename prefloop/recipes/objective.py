"""The objective of a recipe: its loss, the numbers that mean something to that loss, and how it is optimised.

One key may mean another thing to each method (`lambda` is SPIN's, GKD's share of own samples, PPO's of GAE); what it
means, its limits and its source stand in `_MEANINGS`, and a key that means nothing to a loss is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from typing_extensions import override

from prefloop.config import check_fields, setting
from prefloop.recipes.parts import Part

Loss = Literal[
    "none",
    "nll",
    "bradley-terry",
    "dpo",
    "ipo",
    "rso",
    "hinge-norm",
    "slic",
    "rrhf",
    "click",
    "spin",
    "cringe",
    "gkd",
    "bo2",
    "ppo",
    "bond-forward",
    "bond-backward",
    "bond",
    "j-bond",
]
Rows = Literal["none", "demonstrations", "pairs", "groups", "samples"]

# What each loss is trained on: stored answers to write, pairs, ranked groups; samples are scored inside the run.
ROWS_OF_LOSS: Mapping[str, Rows] = {
    "none": "none",
    "nll": "demonstrations",
    "gkd": "demonstrations",
    "rrhf": "groups",
    "ppo": "samples",
    "bond-forward": "samples",
    "bond-backward": "samples",
    "bond": "samples",
    "j-bond": "samples",
}  # the others: pairs

HARD_LABELS = frozenset({"click", "cringe", "spin"})  # the losses that say what is better and what worse, no less

# The numbers that mean something to each loss.
_LOSS_KEYS: Mapping[str, frozenset[str]] = {
    "none": frozenset(),
    "nll": frozenset(),
    "bradley-terry": frozenset({"center"}),
    "dpo": frozenset({"beta", "label_smoothing", "reference"}),
    "ipo": frozenset({"tau", "form", "reference"}),
    "rso": frozenset({"gamma", "form", "reference"}),
    "hinge-norm": frozenset({"gamma", "reference"}),
    "slic": frozenset({"delta", "lambda_"}),
    "rrhf": frozenset({"rank_weight"}),
    "click": frozenset({"alpha", "gamma"}),
    "spin": frozenset({"lambda_"}),
    "cringe": frozenset({"alpha", "k", "b", "tau"}),
    "gkd": frozenset({"beta", "lambda_", "reference"}),
    "bo2": frozenset(),
    "ppo": frozenset({"beta", "lambda_", "clip_range", "value_coef", "passes", "minibatches", "reference"}),
    "bond-forward": frozenset({"n"}),
    "bond-backward": frozenset({"n"}),
    "bond": frozenset({"n", "jeffreys"}),
    "j-bond": frozenset({"jeffreys", "gamma"}),
}
_NEEDS_REFERENCE = frozenset({"dpo", "ipo", "rso", "hinge-norm", "spin", "gkd", "ppo"})
_NUMBERS = frozenset().union(*_LOSS_KEYS.values())
_TRAINING_KEYS = frozenset({"lr", "epochs", "batch", "warmup", "schedule", "clip", "weight_decay", "start_from"})

_DPO = "Rafailov et al. 2023, arXiv:2305.18290"
_RSO = "Liu et al. 2023 (RSO), arXiv:2309.06657"
_BOND = "Sessa et al. 2024 (BOND), arXiv:2407.14622v1"
_CRINGE = "Xu et al. 2023, arXiv:2312.16682v2"

# (loss, key) -> what differs from the field's own declaration.
_MEANINGS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("gkd", "beta"): {
        "help": "Between the two KLs: 0 is KL(teacher || student), 1 is KL(student || teacher), ½ is the "
        "Jensen-Shannon divergence. Retune the learning rate where it leaves an end.",
        "above": None,
        "minimum": 0.0,
        "maximum": 1.0,
        "source": "TRL's GKD trainer; Agarwal et al. 2023, arXiv:2306.13649",
    },
    ("gkd", "lambda_"): {
        "help": "Share of rows that the student answers itself; the rest are the data's.",
        "above": None,
        "minimum": 0.0,
        "maximum": 1.0,
        "source": "Agarwal et al. 2023, arXiv:2306.13649",
    },
    ("gkd", "reference"): {
        "help": "The teacher, of the same vocabulary: a checkpoint by name, or latest, the newest policy that a loop "
        "of the project made.",
        "choices": ("latest", "initial"),
        "source": "this project's",
    },
    ("ppo", "beta"): {
        "help": "Weight of the KL to the reference, token by token, in the reward.",
        "above": None,
        "minimum": 0.0,
        "source": "TRL's PPO trainer: 0.05",
    },
    ("ppo", "lambda_"): {
        "help": "GAE's λ: 1 trusts what followed, 0 the value head.",
        "above": None,
        "minimum": 0.0,
        "maximum": 1.0,
        "source": "Schulman et al. 2015, arXiv:1506.02438; TRL: 0.95",
    },
    ("slic", "lambda_"): {
        "help": "Weight of the log-likelihood, in nats of the whole answer, of the best candidate, kept likely.",
        "above": None,
        "minimum": 0.0,
        "source": "this project's; Zhao et al. 2023, arXiv:2305.10425 does not report it",
    },
    ("spin", "lambda_"): {
        "help": "SPIN's λ: below 1 the population optimum overshoots the data.",
        "source": "Chen et al. 2024, arXiv:2401.01335, released code: 0.1, and 5 in the last iteration",
    },
    ("rso", "gamma"): {"help": "Scale of the difference of log-ratios.", "source": f"{_RSO}: best of .005, .05, .5"},
    ("rso", "form"): {
        "choices": ("sigmoid-norm", "hinge-norm"),
        "help": "Which of the paper's two losses: -log σ(γh), or max(0, 1 - γh).",
        "source": _RSO,
    },
    ("ipo", "form"): {
        "choices": ("sum", "mean"),
        "help": "Log-probabilities summed over an answer, as the paper has them, or per token, as TRL's DPOTrainer.",
        "source": "Azar et al. 2023, arXiv:2310.12036; TRL pull request 1265",
    },
    ("ipo", "tau"): {
        "help": "IPO's pull to the reference: the target margin is 1 / (2τ).",
        "source": "Tang et al. 2024, arXiv:2405.08448v1: 0.1; OAIF 1.0",
    },
    ("cringe", "tau"): {
        "help": "How softly the gate σ((b - margin) / τ) closes.",
        "source": f"this project's; could not be verified in {_CRINGE}",
    },
    ("cringe", "alpha"): {
        "help": "Weight of the negative answer's cringe against the positive one's likelihood.",
        "source": "Adolphs et al. 2022, arXiv:2211.05826, ParlAI: 1; Click's baseline .2",
    },
    ("hinge-norm", "gamma"): {
        "help": "Scale of the difference of log-ratios: the hinge opens below h = 1 / γ.",
        "source": f"{_RSO}: 0.05; OAIF 0.002",
    },
    ("click", "gamma"): {
        "help": "Weight of the contrast against the likelihood of the data.",
        "minimum": 0.0,
        "above": None,
        "source": "Zheng et al. 2023, arXiv:2306.03350: .5 dialogue, .1 sentiment, .3 repetition",
    },
    ("click", "alpha"): {
        "help": "Margin, in nats of the whole answer, that the good answer should have.",
        "source": "Zheng et al. 2023, arXiv:2306.03350: 20 dialogue, 15 GPT-2",
    },
    ("j-bond", "gamma"): {
        "help": "Weight of the extra KL to the anchor: larger moves slower.",
        "minimum": 0.0,
        "above": None,
        "source": f"{_BOND}: of 0, .5, 1, 2",
    },
}


@dataclass(frozen=True, kw_only=True)
class Objective(Part):
    """The loss and its numbers. `loss` belongs to the method."""

    loss: Loss = "dpo"
    beta: float = setting(0.1, above=0.0, help="Pull to the reference.", source=f"{_DPO} (0.1; 0.5 for TL;DR)")
    tau: float = setting(0.1, above=0.0, help="A temperature.")
    gamma: float = setting(0.05, above=0.0, help="A scale.")
    delta: float = setting(
        1.0,
        minimum=0.0,
        help="Margin, in nats of the whole answer, that the better answer should have.",
        source="Zhao et al. 2023 (SLiC-HF), arXiv:2305.10425: the only value reported",
    )
    lambda_: float = setting(0.1, above=0.0, help="A weight.")
    alpha: float = setting(1.0, minimum=0.0, help="A weight or margin.")
    b: float = setting(0.0, help="Margin in nats at which the gate is half open.", source=f"this project's; {_CRINGE}")
    k: int = setting(
        5,
        minimum=1,
        maximum=1024,
        help="Tokens that the policy likes best, of which one is to be preferred to the unwanted token.",
        source="Click's baseline: 5; ParlAI: 1",
    )
    form: str = setting("", help="Which form of the loss.")
    rank_weight: float = setting(
        1.0,
        minimum=0.0,
        help="Weight of the ranking term against imitating the best answer.",
        source="Yuan et al. 2023 (RRHF), arXiv:2304.05302, released script: 1; 100 in its dataclass",
    )
    jeffreys: float = setting(
        0.5, minimum=0.0, maximum=1.0, help="Weight of the backward KL against the forward one.", source=_BOND
    )
    n: int = setting(
        4, minimum=2, maximum=1024, help="The N of Best-of-N that is distilled.", source=f"{_BOND}: 4, 8, 16"
    )
    clip_range: float = setting(
        0.2, above=0.0, below=1.0, help="PPO's clip of the ratio, and of the value.", source="TRL, Llama 2: 0.2"
    )
    value_coef: float = setting(0.1, minimum=0.0, help="Weight of the value loss.", source="TRL: 0.1")
    passes: int = setting(
        4, minimum=1, maximum=64, help="Passes over one batch of samples.", source="TRL: 4; Llama 2: 1"
    )
    minibatches: int = setting(1, minimum=1, maximum=1024, help="Optimizer steps in one pass.", source="TRL: 1")
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

    @override
    def __post_init__(self) -> None:
        if not self.form and self.loss in ("ipo", "rso"):  # the paper's own
            object.__setattr__(self, "form", _MEANINGS[self.loss, "form"]["choices"][0])
        check_fields(self)

    def explain(self, name: str) -> Mapping[str, Any]:
        return _MEANINGS.get((self.loss, name), {})

    def hidden(self) -> frozenset[str]:
        if self.loss == "none":
            return _NUMBERS | _TRAINING_KEYS
        return _NUMBERS - _LOSS_KEYS[self.loss]

    @property
    def needs_reference(self) -> bool:
        """Whether the loss compares the policy with another one, whose log-probs (or logits) it needs."""
        return self.loss in _NEEDS_REFERENCE

    @property
    def rows(self) -> Rows:
        """What the loss is trained on."""
        return ROWS_OF_LOSS.get(self.loss, "pairs")

    @property
    def registry_name(self) -> str:
        """The name under `losses.registry` that this loss, in this form, has."""
        if self.loss == "ipo":
            return "ipo-mean" if self.form == "mean" else "ipo"
        return self.form if self.loss == "rso" else self.loss
