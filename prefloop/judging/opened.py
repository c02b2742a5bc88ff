"""Open a judge of any kind without a database: inside a training step, or for a trial.

Each reply is written to a log before it is used, and a question whose reply is in the log is not asked again. A judge
that scores compares two answers by their scores; a judge that compares scores a group by a tournament; an ensemble asks
each of its members.
"""

from __future__ import annotations

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from typing_extensions import override

from prefloop.config import ConfigError
from prefloop.confined import LimitExceeded
from prefloop.judging.asking import Asked, Question, ask_all
from prefloop.judging.by_scores import ScoredAnswer, mean_score
from prefloop.judging.ensemble import MemberLabel, together
from prefloop.judging.judge import Endpoint, pair_judge, scorer
from prefloop.judging.kinds import kind_of
from prefloop.judging.metering import Call, Meter
from prefloop.judging.rules import BadRules
from prefloop.judging.rules.scoring import NoRules, RuleScorer
from prefloop.judging.spec import JudgeSpec
from prefloop.judging.tournament import game_of, meetings, strengths
from prefloop.judging.verdicts import EffectiveLabel, OrderedVerdict, combine, orders_to_ask
from prefloop.seeds import derive_seed
from prefloop.types import AS_STORED, LabelledVerdict, Order

Places = tuple[int, int]  # of two answers in their group


@dataclass(frozen=True, slots=True)
class ToJudge:
    """The answers to one prompt. `key` identifies them in questions, `of` in the log."""

    key: str
    prompt: str
    answers: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)  # the prompt's own
    scores: tuple[float, ...] | None = None  # that this judge has already given them
    of: Any = None


Wanted = Sequence[tuple[ToJudge, Places]]
Compute = Callable[[Sequence[ToJudge]], list[list[ScoredAnswer]]]


class Log(Protocol):
    """Stores what a judge said. `judge` is the key of an ensemble's member, or "" for the judge itself."""

    def verdict(self, judge: str, one: ToJudge, pair: Places, order: Order) -> LabelledVerdict | None: ...

    def scores(self, judge: str, one: ToJudge, place: int) -> Mapping[int, ScoredAnswer]: ...

    def keep_verdict(self, judge: str, one: ToJudge, pair: Places, said: OrderedVerdict, **more: Any) -> None: ...

    def keep_score(
        self, judge: str, one: ToJudge, place: int, sample: int, said: ScoredAnswer, **more: Any
    ) -> None: ...

    def keep_calls(self, judge: str, calls: Sequence[Call]) -> None: ...


class Tools(Protocol):
    """Provides what a judge needs."""

    def endpoint(self, spec: JudgeSpec) -> Endpoint:
        """Return the endpoint that answers this judge's messages."""
        ...

    def meter(self, spec: JudgeSpec) -> Meter | None:
        """Return the meter of its endpoint's cap; None if calls cost nothing."""
        ...

    def rewards(self, spec: JudgeSpec) -> Compute:
        """Return the function that scores answers by this reward model."""
        ...

    def check(self) -> None:
        """Raise if the run must stop."""
        ...


class OpenedJudge(ABC):
    """An opened judge. `game`: the comparison is part of a tournament and makes no label."""

    def __init__(self, spec: JudgeSpec, log: Log) -> None:
        self.spec, self._log = spec, log

    @abstractmethod
    def labels(self, wanted: Wanted, *, game: bool = False) -> list[EffectiveLabel]:
        """Return the label of each of these pairs. Raises JudgeError."""

    def scores(self, groups: Sequence[ToJudge]) -> list[list[float | None]]:
        """Score every answer by a tournament among the answers to its prompt. Raises JudgeError."""
        firsts = [[one.answers.index(text) for text in dict.fromkeys(one.answers)] for one in groups]
        met = [
            [(mine[i], mine[j]) for i, j in meetings(len(mine), seed=derive_seed(0, "tournament", one.key))]
            for one, mine in zip(groups, firsts, strict=True)
        ]
        wanted = [(one, pair) for one, pairs in zip(groups, met, strict=True) for pair in pairs]
        labels = iter(self.labels(wanted, game=True))
        out: list[list[float | None]] = []
        for one, mine, pairs in zip(groups, firsts, met, strict=True):
            games = [game_of(mine.index(i), mine.index(j), next(labels)) for i, j in pairs]
            found = strengths(len(mine), [game for game in games if game is not None])
            by_text = {one.answers[at]: 0.0 if len(mine) == 1 else found[n] for n, at in enumerate(mine)}
            out.append([by_text[text] for text in one.answers])
        return out

    def _earlier_or_wanted(
        self, wanted: Wanted, orders: Callable[[ToJudge], Sequence[Order]], *, game: bool
    ) -> tuple[list[list[OrderedVerdict]], list[tuple[int, Order]]]:
        """Return the verdicts that the log has, logged again for this step, and what must still be asked."""
        said: list[list[OrderedVerdict]] = [[] for _ in wanted]
        missing: list[tuple[int, Order]] = []
        for at, (one, pair) in enumerate(wanted):
            for order in orders(one):
                earlier = self._log.verdict(self.spec.key, one, pair, order)
                if earlier is None:
                    missing.append((at, order))
                else:
                    said[at].append(OrderedVerdict(order, earlier))
                    self._log.keep_verdict(self.spec.key, one, pair, said[at][-1], game=game)
        return said, missing


class ComparingJudge(OpenedJudge):
    """A language model or a policy that compares answers, in the orders of its order policy."""

    def __init__(self, spec: JudgeSpec, log: Log, tools: Tools) -> None:
        super().__init__(spec, log)
        self._tools = tools
        self._asker = pair_judge(spec, tools.endpoint(spec))

    @override
    def labels(self, wanted: Wanted, *, game: bool = False) -> list[EffectiveLabel]:
        spec, tools = self.spec, self._tools

        def orders(one: ToJudge) -> Sequence[Order]:
            return orders_to_ask(spec.order_policy, seed=spec.seed, comparison_id=one.key)

        said, missing = self._earlier_or_wanted(wanted, orders, game=game)

        def keep(asked: list[Asked[tuple[int, Order], LabelledVerdict]]) -> None:
            for one in asked:
                at, order = one.item
                for reply in one.replies:
                    found = OrderedVerdict(order, reply.said)
                    self._log.keep_verdict(
                        spec.key, *wanted[at], found, game=game, seconds=reply.seconds, calls=one.calls
                    )
                    said[at].append(found)
                if not one.replies:
                    self._log.keep_calls(spec.key, one.calls)

        questions = [((at, order), [_question(*wanted[at], order)]) for at, order in missing]
        meter, at_once = tools.meter(spec), spec.at_once or kind_of(spec.kind).at_once
        ask_all(self._asker, questions, keep=keep, meter=meter, at_once=at_once, check=tools.check)
        out = []
        for (one, _), verdicts in zip(wanted, said, strict=True):
            label = combine(verdicts, spec.order_policy, seed=spec.seed, comparison_id=one.key)
            out.append(label or EffectiveLabel("error"))
        return out


class ScoringJudge(OpenedJudge):
    """A judge that scores single answers; its kind declares how two scores make a verdict."""

    @abstractmethod
    def _scores(self, wanted: Sequence[tuple[ToJudge, int]]) -> list[list[ScoredAnswer]]:
        """Return every score of each of these answers."""

    @override
    def scores(self, groups: Sequence[ToJudge]) -> list[list[float | None]]:
        found = iter(self._scores([(one, at) for one in groups for at in range(len(one.answers))]))
        return [[mean_score(next(found)) for _ in one.answers] for one in groups]

    @override
    def labels(self, wanted: Wanted, *, game: bool = False) -> list[EffectiveLabel]:
        said, missing = self._earlier_or_wanted(wanted, lambda one: (AS_STORED,), game=game)
        # an answer is scored once, even if it is in several pairs
        answers = {(wanted[at][0].key, place): (wanted[at][0], place) for at, _ in missing for place in wanted[at][1]}
        scores = dict(zip(answers, self._scores(list(answers.values())), strict=True))
        by_scores = kind_of(self.spec.kind).by_scores
        if by_scores is None:
            raise AssertionError("a kind that scores declares how two scores make a verdict")
        for at, order in missing:
            one, pair = wanted[at]
            first, second = (scores[one.key, place] for place in pair)
            found = OrderedVerdict(order, by_scores(self.spec, _question(one, pair, order), first, second))
            self._log.keep_verdict(self.spec.key, one, pair, found, game=game)
            said[at].append(found)
        return [combine(verdicts, "random") or EffectiveLabel("error") for verdicts in said]


class ComputingJudge(ScoringJudge):
    """A judge that is computed: a reward model, a world's utility, or rules. An answer always gets the same score."""

    def __init__(self, spec: JudgeSpec, log: Log, compute: Compute) -> None:
        super().__init__(spec, log)
        self._compute = compute

    @override
    def _scores(self, wanted: Sequence[tuple[ToJudge, int]]) -> list[list[ScoredAnswer]]:
        groups = {one.key: one for one, _ in wanted}
        new = [one for one in groups.values() if one.scores is None]
        found = {one.key: made for one, made in zip(new, self._compute(new) if new else [], strict=True)}
        found |= {
            key: [ScoredAnswer(value=value) for value in one.scores]
            for key, one in groups.items()
            if one.scores is not None
        }
        return [[found[one.key][place]] for one, place in wanted]


class GradingJudge(ScoringJudge):
    """A language model or a policy that grades each answer several times."""

    def __init__(self, spec: JudgeSpec, log: Log, tools: Tools) -> None:
        super().__init__(spec, log)
        self._tools = tools
        self._asker = scorer(spec, tools.endpoint(spec))

    @override
    def _scores(self, wanted: Sequence[tuple[ToJudge, int]]) -> list[list[ScoredAnswer]]:
        spec, tools = self.spec, self._tools
        said = [dict(self._log.scores(spec.key, one, place)) for one, place in wanted]
        missing = [(at, n) for at, there in enumerate(said) for n in range(spec.samples) if n not in there]

        def keep(asked: list[Asked[tuple[int, int], ScoredAnswer]]) -> None:
            for one in asked:
                at, sample = one.item
                for reply in one.replies:
                    self._log.keep_score(
                        spec.key, *wanted[at], sample, reply.said, seconds=reply.seconds, calls=one.calls
                    )
                    said[at][sample] = reply.said
                if not one.replies:
                    self._log.keep_calls(spec.key, one.calls)

        questions = []
        for at, sample in missing:
            one, place = wanted[at]
            questions.append(((at, sample), [Question(one.prompt, (one.answers[place],), sample=sample)]))
        meter, at_once = tools.meter(spec), spec.at_once or kind_of(spec.kind).at_once
        ask_all(self._asker, questions, keep=keep, meter=meter, at_once=at_once, check=tools.check)
        return [[there[n] for n in sorted(there)] for there in said]


class Ensemble(OpenedJudge):
    """Several judges that decide together."""

    def __init__(self, spec: JudgeSpec, log: Log, members: Sequence[OpenedJudge]) -> None:
        super().__init__(spec, log)
        self._members = members

    @override
    def labels(self, wanted: Wanted, *, game: bool = False) -> list[EffectiveLabel]:
        weights = self.spec.weights or (1.0,) * len(self._members)
        by_member = [member.labels(wanted, game=game) for member in self._members]
        out = []
        for (one, pair), labels in zip(wanted, zip(*by_member, strict=True), strict=True):
            told = [
                (member.spec.name, MemberLabel(label, weight))
                for member, label, weight in zip(self._members, labels, weights, strict=True)
            ]
            verdict = together(self.spec.rule, told)
            self._log.keep_verdict(self.spec.key, one, pair, OrderedVerdict(AS_STORED, verdict), game=game)
            out.append(EffectiveLabel(verdict.state, verdict.outcome, verdict.p_first))
        return out


def open_judge(spec: JudgeSpec, log: Log, tools: Tools) -> OpenedJudge:
    """Open a judge. Raises ConfigError, PrefloopError where what it needs is not there."""
    kind = kind_of(spec.kind)
    if kind.members:
        return Ensemble(spec, log, [open_judge(member, log, tools) for member in spec.members])
    if kind.modes:
        return (GradingJudge if kind.gives_scores(spec.mode) else ComparingJudge)(spec, log, tools)
    compute = tools.rewards(spec) if kind.weights else _utilities(spec) if kind.world else _rules(spec)
    return ComputingJudge(spec, log, compute)


def _question(one: ToJudge, pair: Places, order: Order) -> Question:
    return Question(one.prompt, (one.answers[pair[0]], one.answers[pair[1]]), order)


def _utilities(spec: JudgeSpec) -> Compute:
    """Find a world's utility by the world's name: worlds import this package, so it can't import them."""
    if not re.fullmatch(r"[a-z_]+", spec.world):
        raise ConfigError(f"no world {spec.world!r}")
    try:
        utility: Callable[[str, str], float] = importlib.import_module(f"prefloop.worlds.{spec.world}.utility").utility
    except (ImportError, AttributeError):
        raise ConfigError(f"no world {spec.world!r} is installed") from None
    return lambda groups: [
        [ScoredAnswer(value=utility(one.prompt, answer)) for answer in one.answers] for one in groups
    ]


def _rules(spec: JudgeSpec) -> Compute:
    rules = RuleScorer.of(spec.rules)
    return lambda groups: [
        [rule_score(rules, one.prompt, one.metadata, text) for text in one.answers] for one in groups
    ]


def rule_score(rules: RuleScorer, prompt: str, metadata: Mapping[str, Any], answer: str) -> ScoredAnswer:
    """Score an answer by rules: `skipped` if the prompt has no rule, `error` if a rule can't be checked."""
    try:
        value, why = rules.score(prompt=prompt, metadata=metadata, answer=answer)
    except NoRules as error:
        return ScoredAnswer("skipped", rationale=str(error))
    except (BadRules, LimitExceeded) as error:
        return ScoredAnswer("error", rationale=str(error))
    return ScoredAnswer(value=value, rationale=why)
