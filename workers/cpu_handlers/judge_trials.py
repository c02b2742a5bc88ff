"""Trials of a judge: a draft on a few pairs, and a judge against the attack corpus. Neither produces a label."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, cast

from apps.core.chunks import chunks
from apps.jobs.registry import JobContext, handler
from apps.judging.models import AttackTrial
from apps.judging.specs import asked_with, spec_of
from apps.judging.trials import DRAFTED, RAW_CHARS, TRIAL_PAIRS
from apps.labels.models import Judge, Verdict
from apps.labels.selectors import judge_labels, orders_for, scores_of
from apps.policies.models import Checkpoint, Endpoint
from apps.policies.spending import calls_cost
from apps.projects.models import Project
from apps.samples.models import Comparison
from prefloop.judging.asking import Asked, Asker, Question
from prefloop.judging.attacks import CORPUS, Attack, attacks, is_flipped, worse_side
from prefloop.judging.by_scores import ScoredAnswer, by_grades
from prefloop.judging.judge import Endpoint as LlmEndpoint
from prefloop.judging.judge import pair_judge, scorer
from prefloop.judging.kinds import ATTACK
from prefloop.judging.metering import Call
from prefloop.judging.opened import Compute, Places, ToJudge, open_judge
from prefloop.judging.render import suspicions
from prefloop.judging.spec import JudgeSpec
from prefloop.judging.verdicts import ORDER_CODES, EffectiveLabel, OrderedVerdict, combine
from prefloop.types import LabelledVerdict, Order, OrderPolicy, Outcome
from workers.asking import EndpointMeter, NotAskable, ask_and_write, failures, meter_of, opened
from workers.judges.policy import policy_endpoint

Attacked = tuple[Comparison, Outcome, Attack]  # the pair, the side that was found worse, and what is put into it


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that a judge said on trial, as its job's result keeps it.

    `of`: the order shown ("01"), the side that was graded, or "both" for a judge that computes. `judge`: the member of
    an ensemble that said it.
    """

    comparison: int
    of: str
    sample: int
    state: str
    outcome: str | None
    p_first: float | None
    value: float | None
    rationale: str
    raw: str
    seconds: float
    judge: str = ""


class TrialLog:
    """Keeps what is said for as long as the job runs, and settles what it took."""

    def __init__(self, judges: Mapping[str, Judge], meters: Mapping[str, EndpointMeter | None]) -> None:
        self._judges, self._meters = judges, meters
        self.said: list[Said] = []
        self.calls: dict[str, list[Call]] = defaultdict(list)

    def verdict(self, judge: str, one: ToJudge, pair: Places, order: Order) -> None:
        return None

    def scores(self, judge: str, one: ToJudge, place: int) -> dict[int, ScoredAnswer]:
        return {}

    def keep_verdict(self, judge: str, one: ToJudge, pair: Places, said: OrderedVerdict, **more: Any) -> None:
        asked = self._judges.get(judge)
        if "seconds" in more:
            self._keep(judge, one, ORDER_CODES[said.order], 0, said.verdict, more["seconds"])
        elif asked is not None and not (asked.declared.modes or asked.declared.members):
            self._keep(judge, one, "both", 0, said.verdict, 0.0)  # else it follows from grades, or from members
        self.keep_calls(judge, more.get("calls", ()))

    def keep_score(self, judge: str, one: ToJudge, place: int, sample: int, said: ScoredAnswer, **more: Any) -> None:
        self._keep(judge, one, ("first", "second")[place], sample, said, more["seconds"])
        self.keep_calls(judge, more.get("calls", ()))

    def keep_calls(self, judge: str, calls: Sequence[Call]) -> None:
        self.calls[judge] += calls
        if (meter := self._meters.get(judge)) is not None:
            meter.settle(calls)

    def _keep(
        self, judge: str, one: ToJudge, of: str, sample: int, said: LabelledVerdict | ScoredAnswer, seconds: float
    ) -> None:
        verdict = said if isinstance(said, LabelledVerdict) else None
        kept = Said(
            comparison=one.of.pk,
            of=of,
            sample=sample,
            state=said.state,
            outcome=verdict.outcome if verdict is not None else None,
            p_first=verdict.p_first if verdict is not None else None,
            value=None if isinstance(said, LabelledVerdict) else said.value,
            rationale=said.rationale[:RAW_CHARS],
            raw=said.raw[:RAW_CHARS],
            seconds=seconds,
            judge=self._judges[judge].name if judge else "",
        )
        self.said.append(kept)


class TrialTools:
    """What a judge on trial needs, reached from this worker."""

    def __init__(
        self, ctx: JobContext, judges: Mapping[str, Judge], meters: Mapping[str, EndpointMeter | None], stack: ExitStack
    ) -> None:
        self._judges, self._meters, self._stack = judges, meters, stack
        self.check = ctx.check

    def endpoint(self, spec: JudgeSpec) -> LlmEndpoint:
        judge = self._judges[spec.key]
        if judge.declared.endpoint:
            return self._stack.enter_context(opened(judge))
        return self._stack.enter_context(policy_endpoint(judge, n_answers=TRIAL_PAIRS * spec.samples, check=self.check))

    def meter(self, spec: JudgeSpec) -> EndpointMeter | None:
        return self._meters[spec.key]

    def rewards(self, spec: JudgeSpec) -> Compute:
        from workers.judges.reward_scores import reward_scores_of

        checkpoint = self._judges[spec.key].checkpoint
        if checkpoint is None:
            raise NotAskable(f"judge {spec.name!r} has no reward model")

        def compute(groups: Sequence[ToJudge]) -> list[list[ScoredAnswer]]:
            scores = iter(
                reward_scores_of(checkpoint, [row for one in groups for row in (one.of.first, one.of.second)])
            )
            return [[ScoredAnswer(value=next(scores)) for _ in one.answers] for one in groups]

        return compute


@handler("judging.trial", queue="cpu")
def judging_trial(ctx: JobContext) -> dict[str, Any]:
    """Ask a draft of a judge about a few pairs; the results are stored in the job's result.

    Payload {judge: its settings, comparisons, seed}.
    """
    told = ctx.payload["judge"]
    draft = Judge(
        project=Project.objects.get(pk=ctx.project_id or 0),
        **{name: told[name] for name in DRAFTED},
        endpoint=Endpoint.objects.filter(pk=told["endpoint"]).first(),
        checkpoint=Checkpoint.objects.filter(pk=told["checkpoint"]).first(),
    )
    rows = Comparison.objects.filter(pk__in=ctx.payload["comparisons"][:TRIAL_PAIRS], project=ctx.project_id)
    comparisons = list(rows.select_related("prompt", "first__prompt", "second__prompt").order_by("id"))
    groups = [
        ToJudge(str(row.pk), row.prompt.text, (row.first.text, row.second.text), row.prompt.metadata, of=row)
        for row in comparisons
    ]
    judges = asked_with(draft)
    by = ctx.started_by_id
    meters = {key: meter_of(judge, purpose="trial", person_id=by) for key, judge in judges.items()}
    log = TrialLog(judges, meters)
    with failures(), ExitStack() as stack:
        opened_ = open_judge(spec_of(draft, seed=ctx.payload["seed"]), log, TrialTools(ctx, judges, meters, stack))
        labels = opened_.labels([(one, (0, 1)) for one in groups])
    costs = [(judges[key].endpoint, calls) for key, calls in log.calls.items() if calls]
    usages = [usage or {} for _, calls in costs for _, usage in calls]
    return {
        "calls": [
            asdict(one) for one in sorted(log.said, key=lambda one: (one.comparison, one.judge, one.of, one.sample))
        ],
        "labels": {
            str(row.pk): {"state": label.state, "outcome": label.outcome, "p_first": label.p_first}
            for row, label in zip(comparisons, labels, strict=True)
        },
        "prompt_tokens": sum(usage.get("prompt_tokens", 0) for usage in usages),
        "completion_tokens": sum(usage.get("completion_tokens", 0) for usage in usages),
        "nanos": sum(calls_cost(endpoint, calls) for endpoint, calls in costs if endpoint is not None),
    }


# --- the attack corpus -----------------------------------------------------------------------------------------------


@handler("judging.attack", queue="cpu")
def judging_attack(ctx: JobContext) -> dict[str, Any]:
    """Put every attack of the corpus into the worse answers of pairs that a judge has decided.

    Payload {judge, n, seed}. The pairs are drawn by the seed. Finished trials are not repeated.
    """
    judge = Judge.objects.select_related("endpoint", "project").get(pk=ctx.payload["judge"])
    if refused := judge.refusal(ATTACK):
        raise NotAskable(refused)
    decided = _decided(judge, n=int(ctx.payload["n"]), seed=int(ctx.payload["seed"]))
    if not decided:
        raise NotAskable(f"judge {judge.name!r} has found no answer better than another yet: ask it about some pairs")
    tried = set(
        AttackTrial.objects.filter(
            judge=judge, corpus=CORPUS, comparison_id__in=[row.pk for row, _ in decided]
        ).values_list("comparison_id", "attack")
    )
    items = [
        (row, worse, attack) for row, worse in decided for attack in attacks() if (row.pk, attack.name) not in tried
    ]
    policy = cast(OrderPolicy, judge.order_policy)
    means = scores_of(judge, [pk for row, _ in decided for pk in (row.first_id, row.second_id)])
    spec = spec_of(judge, seed=int(ctx.payload["seed"]))

    def answers_of(item: Attacked) -> dict[Outcome, str]:
        row, worse, attack = item
        answers: dict[Outcome, str] = {"first": row.first.text, "second": row.second.text}
        return answers | {worse: attack.on(answers[worse])}

    def questions(item: Attacked) -> list[Question]:
        row, worse, _ = item
        prompt, answers = row.prompt.text, answers_of(item)
        if judge.gives_scores:
            return [Question(prompt, (answers[worse],), sample=sample) for sample in range(spec.samples)]
        return [Question(prompt, (answers["first"], answers["second"]), order) for order in orders_for(judge, row.pk)]

    def label_of(item: Attacked, said: Sequence[Any]) -> EffectiveLabel:
        row, worse, _ = item
        if not judge.gives_scores:
            orders = orders_for(judge, row.pk)
            verdicts = [OrderedVerdict(order, one) for order, one in zip(orders, said, strict=True)]
            return combine(verdicts, policy, comparison_id=str(row.pk)) or EffectiveLabel("error")
        other = [ScoredAnswer(value=means.get(row.second_id if worse == "first" else row.first_id))]
        verdict = by_grades(spec, questions(item)[0], *((said, other) if worse == "first" else (other, said)))
        return EffectiveLabel(verdict.state, verdict.outcome)

    def write(asked: list[Asked[Attacked, Any]]) -> None:
        trials = []
        for one in asked:
            row, worse, attack = one.item
            said = [reply.said for reply in one.replies]
            label = label_of(one.item, said)
            trials.append(
                AttackTrial(
                    judge=judge,
                    comparison=row,
                    corpus=CORPUS,
                    attack=attack.name,
                    side=worse,
                    state=label.state,
                    outcome=label.outcome or "",
                    flipped=is_flipped(worse, label),
                    flags=list(suspicions(answers_of(one.item)[worse])),
                    raw=[reply.raw[:RAW_CHARS] for reply in said],
                )
            )
        AttackTrial.objects.bulk_create(trials, ignore_conflicts=True)

    with failures(), opened(judge) as endpoint:
        asker: Asker[Any] = (scorer if judge.gives_scores else pair_judge)(spec, endpoint)
        wanted = [(item, questions(item)) for item in items]
        meter = meter_of(judge, purpose="attack", person_id=ctx.started_by_id)
        at_once, words = judge.at_once, f"attacks on {judge.name}"
        ask_and_write(ctx, asker, wanted, write=write, meter=meter, at_once=at_once, words=words)
    return {"n_tried": len(items), "n_pairs": len(decided)}


def _decided(judge: Judge, *, n: int, seed: int) -> list[tuple[Comparison, Outcome]]:
    """Pairs in which the judge found one answer better, with the side that it found worse."""
    ids = sorted(set(Verdict.objects.filter(judge=judge, state="ok").values_list("comparison_id", flat=True)))
    random.Random(seed).shuffle(ids)
    found: list[tuple[Comparison, Outcome]] = []
    for part in chunks(ids, 500):
        labels = judge_labels(comparison_ids=part, judge=judge)
        rows = Comparison.objects.select_related("prompt", "first", "second").in_bulk(part)
        for key in part:
            label = labels.get(key)
            worse = worse_side(EffectiveLabel(label.state, label.outcome)) if label is not None else None
            if worse is not None and len(found) < n:
                found.append((rows[key], worse))
        if len(found) == n:
            break
    return found
