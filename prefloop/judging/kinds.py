"""The kinds of judge, each declared once, and the places where a judge is used, called joints.

Everything that depends on the kind of a judge reads it here: models and their checks, forms, pages, queues, forecasts,
loops. No other code compares a kind's name (an architecture test checks this). The interface:

- `Kind`: one declaration. `KINDS` holds all by name, `kind_of(name)` finds one, `names_where(test)` gives the names of
  those that something holds for, as a database filter wants them.
- `Joint`: one place where a judge is used, and what it asks of a judge there. `JOINTS` holds all by name.
- `refusal(kind, joint, name, mode)`: the one sentence that says why a judge can't be used there; "" where it can.

A judge with settings that people fill in has a form with its kind, listed in `apps/judging/kind_forms.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from prefloop.judging.asking import CALLS_AT_ONCE
from prefloop.judging.by_scores import ByScores, by_coin, by_grades, by_rules, by_sigmoid
from prefloop.judging.modes import JUDGE_MODES, SCORE_MODES, JudgeMode
from prefloop.judging.rules.scoring import checked_options
from prefloop.types import OrderPolicy, PrefloopError

ORDER_POLICIES: tuple[OrderPolicy, ...] = ("both_agree", "average", "random")
Options = Mapping[str, Any]


class UnknownKind(PrefloopError):
    """There is no kind of judge with this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a kind of judge is, can do, and needs.

    `scores`: it scores single answers, and compares two answers by their scores. Otherwise it compares, and scores a
    group of answers through a tournament (`prefloop.judging.tournament`). With `modes` (ways of answering, each with
    templates) it depends on the judge's own: see `gives_scores`.
    """

    name: str  # as it is stored: at most 16 characters
    label: str
    about: str  # one line for whoever makes one
    icon: str = "judges"
    scores: bool = True
    modes: tuple[JudgeMode, ...] = ()  # ways of answering by a template; empty: it is asked in no words
    by_scores: ByScores | None = None  # what it says of two answers by their scores, where it gives any
    p_from_scores: bool = True  # σ of the difference of two scores is a probability; else scores only rank
    scale_is_shared: bool = True  # scores of answers to different prompts can be compared
    # --- what it needs
    weights: Literal["", "reward", "policy"] = ""  # the role of the checkpoint that it is made of
    endpoint: bool = False
    criterion: bool = False
    world: bool = False
    members: bool = False
    metadata: bool = False  # of each prompt
    # --- what can be done with it
    asked: bool = True  # more can be asked of it than what is stored
    costs: bool = False  # a call may cost money, and is metered
    by_hand: bool = True  # people make and change one on the Judges page
    member: bool = True  # it can be one of an ensemble
    teaches: bool = False  # what it wrote can teach a policy to judge
    at_once: int = CALLS_AT_ONCE  # questions that are asked at the same time
    queue: Literal["cpu", "gpu"] = "cpu"  # whose workers can ask it; an ensemble is asked where its members are
    # --- its options
    defaults: Mapping[str, Options] = field(default_factory=dict)  # by way of answering; "" is every one
    most_samples: int = 1  # of one answer, where it is scored in words
    check: Callable[[Options], Options] | None = None  # give the options as they are stored, or raise PrefloopError

    @property
    def by_engines(self) -> bool:
        """Whether engines of ours answer for it, of which a cluster can run many."""
        return self.weights == "policy"

    def gives_scores(self, mode: str = "") -> bool:
        """Whether a judge of this kind, answering in this way, scores single answers by itself."""
        return mode in SCORE_MODES if self.modes else self.scores

    def order_policies(self, mode: str = "") -> tuple[OrderPolicy, ...]:
        """The order policies that have a meaning: only one if the kind shows no answer before another."""
        return ("random",) if self.gives_scores(mode) or self.members else ORDER_POLICIES

    def options(self, given: Options, mode: str = "") -> dict[str, Any]:
        """Return the options to store: the defaults, then the given ones. Raises PrefloopError."""
        made = {**self.defaults.get("", {}), **self.defaults.get(mode, {}), **given}
        if self.modes and self.gives_scores(mode) and not 1 <= int(made.get("samples", 1)) <= self.most_samples:
            raise PrefloopError(f"a judge is asked 1 to {self.most_samples} times for one answer")
        return dict(self.check(made)) if self.check is not None else made

    def missing(self, *, weights: str | None, has_endpoint: bool, criterion: str, world: str, project: str = "") -> str:
        """Say in one sentence what a judge of this kind lacks; "" if it lacks nothing."""
        if self.weights and weights != self.weights:
            return f"a judge of the kind {self.label.lower()!r} needs a {self.weights} checkpoint"
        if self.endpoint and not has_endpoint:
            return f"a judge of the kind {self.label.lower()!r} needs an endpoint"
        if self.criterion and not criterion.strip():
            return f"a judge of the kind {self.label.lower()!r} needs a criterion: what makes an answer better?"
        if self.world and not world:
            return f"project {project} has no world whose preference could judge"
        return ""


REWARD_MODEL = Kind(
    name="reward_model",
    label="Trained reward model",
    about="A model trained on preferences scores each answer.",
    icon="trophy",
    by_scores=by_sigmoid,
    weights="reward",
    scale_is_shared=False,  # a Bradley–Terry reward is known up to a constant for each prompt
    queue="gpu",
)
POLICY = Kind(
    name="policy",
    label="Policy of this project",
    about="A policy compares or grades answers, including its own, by your criterion, on this machine.",
    icon="policies",
    scores=False,
    by_scores=by_grades,
    modes=("additive", *(mode for mode in JUDGE_MODES if mode != "additive")),  # the first is what is usual
    p_from_scores=False,
    weights="policy",
    at_once=64,  # calls that wait together are answered together, as many as are computed in a minute
    queue="gpu",
    # what it draws with: Yuan et al. 2024, arXiv:2401.10020
    defaults={"": {"samples": 3, "temperature": 0.7, "top_p": 0.9, "max_tokens": 512, "seed": 0}},
    most_samples=64,
)
LLM = Kind(
    name="llm",
    label="Language model on an endpoint",
    about="A language model compares answers or grades them, by your criterion.",
    icon="bot",
    scores=False,
    by_scores=by_grades,
    modes=JUDGE_MODES,
    p_from_scores=False,
    endpoint=True,
    criterion=True,
    costs=True,
    teaches=True,
    # Self-Rewarding's three samples, MT-Bench's one, AlpacaEval's temperature
    defaults={
        "additive": {"samples": 3, "temperature": 0.7},
        "rubric": {"samples": 1},
        "soft": {"temperature": 1.0},
    },
    most_samples=16,
)
ENSEMBLE = Kind(
    name="ensemble",
    label="Several judges together",
    about="Several judges decide together, by majority or weighted by their agreement with people.",
    scores=False,
    members=True,
    member=False,
)
WORLD = Kind(
    name="world",
    label="The world's own preference",
    about="The world's true utility, with an adjustable amount of noise. For experiments.",
    icon="flask",
    by_scores=by_coin,
    world=True,
)
RULES = Kind(
    name="rules",
    label="Rules",
    about="Checks written as data: number of words, required text, language, JSON. Each check gives the reason "
    "when an answer fails it.",
    icon="circle-check",
    by_scores=by_rules,
    metadata=True,
    p_from_scores=False,
    defaults={"": {"from_metadata": False, "count": "share", "loose": False}},
    check=checked_options,
)
IMPORTED = Kind(
    name="imported",
    label="Imported verdicts",
    about="Verdicts of another judge, imported from a file.",
    scores=False,
    asked=False,
    by_hand=False,
    member=False,
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in (REWARD_MODEL, POLICY, LLM, ENSEMBLE, WORLD, RULES, IMPORTED)}


def kind_of(name: str) -> Kind:
    """Find a kind by its name. Raises UnknownKind."""
    if name not in KINDS:
        raise UnknownKind(f"no kind of judge {name!r}; there are {', '.join(KINDS)}")
    return KINDS[name]


def names_where(holds: Callable[[Kind], bool]) -> list[str]:
    """Return the names of the kinds for which a test holds."""
    return [kind.name for kind in KINDS.values() if holds(kind)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """One place where a judge is used, and what it requires."""

    name: str
    about: str
    asks: bool = True  # something new is asked; else what is stored is enough
    scores: bool = False  # a number for each answer is wanted; a judge that compares gives its tournament's
    in_words: bool = False  # it must be one that is asked in words of ours
    compares_in_words: bool = False  # by a template that shows two answers, whoever answers it
    in_ensemble: bool = False


ROUND_LABELS = Joint(name="round labels", about="labels of a round's answers")
STEP_LABELS = Joint(name="step labels", about="labels inside a training step")
STEP_SCORES = Joint(name="step scores", about="scores inside a training step", scores=True)
STORED_LABELS = Joint(name="stored labels", about="labels of stored comparisons", asks=False)
SCORES = Joint(name="scores", about="scores for filters, Best-of-N and ranked groups", scores=True)
REVIEW = Joint(name="review", about="the labels that people review", asks=False)
AGREEMENT = Joint(name="agreement", about="agreement with people", asks=False)
EVALUATION = Joint(name="evaluation", about="win rates of checkpoints")
ASKING = Joint(name="asking", about="asking by hand about stored comparisons")
MEMBER = Joint(name="member", about="one of an ensemble", in_ensemble=True)
TRIAL = Joint(name="trial", about="trying a draft on a few pairs")
ATTACK = Joint(name="attack", about="answers that talk to the judge", in_words=True)
ALIGNING = Joint(name="aligning", about="examples of what people decided", compares_in_words=True)

JOINTS: dict[str, Joint] = {
    joint.name: joint
    for joint in (
        ROUND_LABELS, STEP_LABELS, STEP_SCORES, STORED_LABELS, SCORES, REVIEW, AGREEMENT, EVALUATION, ASKING, MEMBER,
        TRIAL, ATTACK, ALIGNING,
    )
}  # fmt: skip


def refusal(kind: Kind, joint: Joint, name: str, mode: str = "") -> str:
    """Say in one sentence why the judge of this name, answering in this way, can't be used at a joint; "" if it can."""
    if joint.asks and not kind.asked:
        return f"judge {name!r} was imported: its verdicts can be used, but it can't be asked"
    if joint.in_ensemble and not kind.member:
        return f"judge {name!r} can't be a member of an ensemble: it can't be asked by itself"
    if joint.in_words and not (kind.modes and kind.endpoint):
        return f"judge {name!r} is no language model: there is nobody in it to talk to"
    if joint.compares_in_words and (not kind.modes or kind.gives_scores(mode)):
        return f"judge {name!r} does not compare two answers by a template, so it can't be shown decided pairs"
    return ""
