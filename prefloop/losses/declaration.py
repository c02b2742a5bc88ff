"""The declaration of a loss, which recipes, forms, engine, laboratory and metrics read. Torch-free.

A loss is one file of this package: its formula, and a `Loss` next to it. `registry.py` finds it there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from prefloop.config import SettingSpec, Value
from prefloop.types import PrefloopError

if TYPE_CHECKING:
    from torch import Tensor

# What a loss is trained on: answers to write, single answers that are desirable or not, pairs, scored groups (all
# stored), or answers scored inside the run.
Rows = Literal["none", "demonstrations", "answers", "pairs", "groups", "samples"]
# ref: log-probs of a reference; old: those of the policy that drew the answers; scores: a number for each answer;
# teacher: the next-token distributions of another model; cringe: the cringe token loss of each answer; collision: the
# chance that two draws of each token agree;
# mismatched: log-ratios of policy and reference on prompts with answers to other prompts;
# rewards: the policy has a scalar head, whose values stand for log-probs; values: a value head beside the policy.
Need = Literal["ref", "old", "scores", "teacher", "cringe", "collision", "mismatched", "rewards", "values", "anchor"]
# What a loss learns of an anchor's answers: nothing, their quantiles, the best of them, or both.
Anchors = Literal["", "measure", "imitate", "both"]
# Which answer's own likelihood counts beside a pair: that of the better one, of the best candidate, of the data's, or
# of the one that the reference has drawn in the step.
Target = Literal["", "better", "best", "data", "reference"]

# Where a pair loss rests: at finite odds where every outcome beats every other sometimes (odds), at set odds where all
# are compared (compared), or everywhere else ("rests" and the empty text); any other text says why it does not rest.
RESTS = ""
AT_ODDS = "odds"
AT_SET_ODDS = "compared"
HINGES = "its hinges are satisfied by a whole set of policies, and have no gradient there"


class UnknownLoss(PrefloopError):
    """No loss has that name, or it has no such number."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a loss and its meaning in this loss. `name` ends in an underscore if Python reserves the word."""

    name: str
    default: Value
    spec: SettingSpec
    idle: Callable[[Any], str] = lambda settings: ""  # which other setting makes that it does nothing


def number(
    name: str,
    default: Value,
    *,
    help: str,
    label: str,
    source: str = "",
    idle: Callable[[Any], str] = lambda settings: "",
    **limits: Any,
) -> Number:
    """Declare a number; `limits` are those of `config.setting`."""
    return Number(name, default, SettingSpec(help=help, label=label, source=source, **limits), idle)


def reference(**changes: Any) -> Number:
    """Declare the policy that a loss compares with."""
    given: dict[str, Any] = {
        "label": "Reference",
        "help": "The policy that training is pulled towards.",
        "source": "the policy that training began with, as in the papers of RLHF and DPO",
        "choices": ("initial", "previous"),
        "prefixes": ("checkpoint:",),
    }
    return number("reference", "initial", **(given | changes))


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Pairs in canonical order; every tensor is (B,). Log-probs are sums in nats over completion tokens.

    For a reward model the two `logp_sum` hold the scalar rewards instead.
    """

    first_logp_sum: Tensor
    second_logp_sum: Tensor
    p_first: Tensor
    ref_first_logp_sum: Tensor | None = None
    ref_second_logp_sum: Tensor | None = None
    first_length: Tensor | None = None
    second_length: Tensor | None = None
    target_logp_sum: Tensor | None = None  # of the answer that counts by itself beside the pair; 0 where there is none
    target_length: Tensor | None = None
    first_cringe_sum: Tensor | None = None  # sums of the cringe token loss, as if the answer were the unwanted one
    second_cringe_sum: Tensor | None = None
    # sums over an answer's tokens of log sum_v pi(v)^2, without gradient
    first_collision_sum: Tensor | None = None
    second_collision_sum: Tensor | None = None


@dataclass(frozen=True, slots=True)
class CompletionBatch:
    """Completions that are trained on by themselves; every tensor is (B,)."""

    logp_sum: Tensor
    n_tokens: Tensor
    divergence_sum: Tensor | None = None  # from a teacher, summed over the completion's tokens


@dataclass(frozen=True, slots=True)
class AnswerBatch:
    """Single answers, each desirable or not; every tensor but the last is (B,). Log-probs are sums in nats."""

    logp_sum: Tensor
    desirable: Tensor  # bool
    ref_logp_sum: Tensor | None = None
    # a scalar without gradient, of the whole step: the mean log-ratio of policy and reference, in nats, on prompts with
    # answers to other prompts
    mismatched: Tensor | None = None


@dataclass(frozen=True, slots=True)
class GroupBatch:
    """Several answers to each prompt with a score each; every tensor is (G, K)."""

    logp_sum: Tensor
    n_tokens: Tensor
    scores: Tensor


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """The policy's own answers of a step, all those to a prompt together; C answers of at most T tokens.

    Log-probs are (C, T) in nats per token, 0 where `mask` is false. `logp` is the current policy's, `old_logp` that of
    the policy when it answered. `longest` is the length limit of an answer in tokens.
    """

    logp: Tensor
    old_logp: Tensor
    mask: Tensor  # (C, T) bool
    scores: Tensor  # (C,)
    group: Tensor  # (C,) whole numbers: answers of one prompt have one
    longest: int
    ref_logp: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LossRows:
    """The losses of a batch, not reduced, and its logged values.

    `loss` is divided by the number of rows, or by their tokens for single completions. `extra` is a second term,
    divided by the tokens of the rows' targets. A metric has a value for each row that it applies to.
    """

    loss: Tensor  # (B,)
    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    extra: Tensor | None = None  # (B,)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss. `rows_of` turns a batch into `LossRows`; its keyword arguments are the numbers that it uses."""

    name: str
    source: str
    rows: Rows = "pairs"
    numbers: tuple[Number, ...] = ()
    rows_of: Callable[..., LossRows] | None = None
    needs: frozenset[Need] = frozenset()
    compares_group: bool = False  # an answer's score is measured by those of the prompt's other answers
    hard_labels: bool = False  # it says what is better and what worse, no less
    in_steps: bool = False  # an on-policy run can compute it
    at_temperature_1: bool = False  # the law that samples must be the one whose log-probs are taken
    target: Callable[[Any], Target] = lambda settings: ""  # the answer that counts by itself beside a pair
    anchors: Anchors = ""
    n_anchor: int = 0  # answers of the anchor that it compares with; 0: as many as are drawn
    run_kind: str = ""  # of the training run, where that is not the loss's name
    step: str = ""  # module:class of a step of its own (`engine.step_losses.StepLoss`)
    # The laboratory: where it rests, whether its value means something, module:function of an expectation of its own
    rest: Callable[[Any], str] = lambda settings: RESTS
    drifts: str = ""  # why it does not rest where the policy's own fresh answers are the pairs
    surrogate: bool = False
    expectation: str = ""
    note: str = ""

    @cached_property
    def defaults(self) -> Mapping[str, Value]:
        return {one.name: one.default for one in self.numbers}

    @cached_property
    def specs(self) -> Mapping[str, SettingSpec]:
        return {one.name: one.spec for one in self.numbers}

    @cached_property
    def used(self) -> tuple[str, ...]:
        """The numbers that `rows_of` takes; the others are used elsewhere."""
        if self.rows_of is None:
            return ()
        parameters = inspect.signature(self.rows_of).parameters.values()
        return tuple(one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY)

    def loss(self, batch: Any, settings: Any = None, **numbers: Any) -> LossRows:
        """Turn a batch into rows; a number is taken from `numbers`, else from the settings, else it is the default.

        Raises UnknownLoss for a number that the loss does not use.
        """
        if strange := sorted(numbers.keys() - set(self.used)):
            raise UnknownLoss(f"{self.name} has no number {strange[0]!r}; it has {sorted(self.used)}")
        if self.rows_of is None:
            raise UnknownLoss(f"{self.name} has no loss of stored rows")
        told = self.defaults if settings is None else {name: getattr(settings, name) for name in self.used}
        return self.rows_of(batch, **{name: told[name] for name in self.used} | numbers)
