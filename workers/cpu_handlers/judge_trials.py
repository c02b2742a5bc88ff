"""Trying a judge: a draft on a few pairs, and a judge against the attack corpus. Neither leaves a label."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass
from typing import Any, cast

from apps.core.chunks import chunks
from apps.jobs.registry import JobContext, handler
from apps.judging.models import AttackTrial, Judge, JudgeKind, Verdict
from apps.judging.selectors import scores_of
from apps.judging.services import ORDER_CODES, orders_for
from apps.judging.trials import RAW_CHARS, TRIAL_PAIRS
from apps.policies.models import Endpoint
from apps.policies.spending import cost_nanos
from apps.rankings.preferences import judge_labels
from apps.samples.models import Comparison
from prefloop.judging.attacks import CORPUS, Attack, attacks, is_flipped, worse_side
from prefloop.judging.judge import ScoredAnswer
from prefloop.judging.render import judge_mode, suspicions, template_from_text
from prefloop.judging.verdicts import EffectiveLabel, Order, OrderedVerdict, combine, orders_to_ask
from prefloop.types import LabelledVerdict, OrderPolicy, Outcome
from workers.asking import Asked, LlmSettings, Meter, NotAskable, ask_in_threads, failures, opened
from workers.cpu_handlers.judging import graded


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a trial, as its job's result keeps it. `of`: the order shown ("01"), or the side that was graded."""

    comparison: int
    of: str
    sample: int
    state: str
    outcome: str | None
    p_first: float | None
    value: int | None
    rationale: str
    raw: str
    seconds: float


@handler("judging.trial", queue="cpu")
def judging_trial(ctx: JobContext) -> dict[str, Any]:
    """Ask a draft of a judge about a few pairs; everything that came of it is the job's result.

    Payload {endpoint, template, mode, criterion, temperature, max_tokens, samples, tie_delta, order_policy,
    comparisons, seed}.
    """
    said = ctx.payload
    llm = LlmSettings(
        endpoint=Endpoint.objects.get(pk=said["endpoint"]),
        template=template_from_text(said["template"], name="the draft", mode=judge_mode(said["mode"])),
        criterion=said["criterion"],
        temperature=said["temperature"],
        max_tokens=said["max_tokens"],
        samples=said["samples"],
        tie_delta=said["tie_delta"],
    )
    rows = Comparison.objects.filter(pk__in=said["comparisons"][:TRIAL_PAIRS], project=ctx.project_id)
    comparisons = list(rows.select_related("prompt", "first", "second").order_by("id"))
    policy = cast(OrderPolicy, said["order_policy"])
    calls: list[Call] = []
    usages: list[dict[str, int]] = []
    verdicts: dict[int, list[OrderedVerdict]] = {row.pk: [] for row in comparisons}
    grades: dict[tuple[int, str], list[int]] = {}
    with failures(), opened(llm.endpoint) as endpoint:
        if llm.grades:
            scorer = llm.scorer(endpoint, seed=said["seed"])
            items = [(row, side, k) for row in comparisons for side in ("first", "second") for k in range(llm.samples)]

            def ask_grade(item: tuple[Comparison, str, int]) -> Asked[tuple[Call, Any]]:
                row, side, sample = item
                began = time.monotonic()
                answer = row.first.text if side == "first" else row.second.text
                one = scorer.score(prompt=row.prompt.text, answer=answer, sample=sample)
                return Asked((_grade_call(row, side, sample, one, time.monotonic() - began), one), one.usage)

            def keep_grades(made: list[tuple[Call, Any]]) -> None:
                for call, one in made:
                    calls.append(call)
                    usages.append(one.usage)
                    if one.value is not None:
                        grades.setdefault((call.comparison, call.of), []).append(one.value)

            ask_in_threads(
                ctx,
                items,
                texts=lambda item: (item[0].prompt.text, item[0].first.text, item[0].second.text),
                ask=ask_grade,
                write=keep_grades,
                meter=Meter(llm, purpose="trial"),
                words="scores",
            )
        else:
            judge = llm.pair_judge(endpoint, seed=said["seed"])
            pairs = [
                (row, order)
                for row in comparisons
                for order in orders_to_ask(policy, seed=said["seed"], comparison_id=str(row.pk))
            ]

            def ask_pair(item: tuple[Comparison, Order]) -> Asked[tuple[Call, Any]]:
                row, order = item
                began = time.monotonic()
                one = judge.judge_pair(
                    prompt=row.prompt.text, first=row.first.text, second=row.second.text, order=order
                )
                call = _pair_call(row, order, one, time.monotonic() - began)
                return Asked((call, OrderedVerdict(order, one)), one.usage)

            def keep_pairs(made: list[tuple[Call, Any]]) -> None:
                for call, one in made:
                    calls.append(call)
                    usages.append(one.verdict.usage)
                    verdicts[call.comparison].append(one)

            ask_in_threads(
                ctx,
                pairs,
                texts=lambda item: (item[0].prompt.text, item[0].first.text, item[0].second.text),
                ask=ask_pair,
                write=keep_pairs,
                meter=Meter(llm, purpose="trial"),
                words="verdicts",
            )
    labels = {}
    for row in comparisons:
        if llm.grades:
            first, second = (_mean(grades.get((row.pk, side), [])) for side in ("first", "second"))
            verdict = graded(first, second, llm.tie_delta)
            label = EffectiveLabel("unparseable") if verdict is None else EffectiveLabel("ok", verdict.outcome)
        else:
            made = combine(verdicts[row.pk], policy, seed=said["seed"], comparison_id=str(row.pk))
            label = made or EffectiveLabel("error")
        labels[str(row.pk)] = {"state": label.state, "outcome": label.outcome, "p_first": label.p_first}
    prompt_tokens = sum(usage.get("prompt_tokens", 0) for usage in usages)
    completion_tokens = sum(usage.get("completion_tokens", 0) for usage in usages)
    return {
        "calls": [asdict(call) for call in sorted(calls, key=lambda call: (call.comparison, call.of, call.sample))],
        "labels": labels,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "nanos": cost_nanos(llm.endpoint, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens),
    }


def _pair_call(row: Comparison, order: Order, one: LabelledVerdict, seconds: float) -> Call:
    return Call(
        comparison=row.pk,
        of=ORDER_CODES[order],
        sample=0,
        state=one.state,
        outcome=one.outcome,
        p_first=one.p_first,
        value=None,
        rationale=one.rationale[:RAW_CHARS],
        raw=one.raw[:RAW_CHARS],
        seconds=seconds,
    )


def _grade_call(row: Comparison, side: str, sample: int, one: ScoredAnswer, seconds: float) -> Call:
    return Call(
        comparison=row.pk,
        of=side,
        sample=sample,
        state=one.state,
        outcome=None,
        p_first=None,
        value=one.value,
        rationale=one.rationale[:RAW_CHARS],
        raw=one.raw[:RAW_CHARS],
        seconds=seconds,
    )


def _mean(values: list[int]) -> float | None:
    return sum(values) / len(values) if values else None


# --- the attack corpus -----------------------------------------------------------------------------------------------


@handler("judging.attack", queue="cpu")
def judging_attack(ctx: JobContext) -> dict[str, Any]:
    """Put every attack of the corpus into the worse answers of pairs that a judge has decided.

    Payload {judge, n, seed}. The pairs are drawn by the seed. What was tried before is not tried again.
    """
    judge = Judge.objects.select_related("endpoint", "project").get(pk=ctx.payload["judge"])
    if judge.kind != JudgeKind.LLM:
        raise NotAskable(f"judge {judge.name!r} is no language model: there is nobody in it to talk to")
    llm = LlmSettings.of(judge)
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
    means = scores_of(judge, [pk for row, _ in decided for pk in (row.first_id, row.second_id)]) if llm.grades else {}
    n_calls = llm.samples if llm.grades else 1 if policy == "random" else 2

    def keep(trials: list[AttackTrial]) -> None:
        AttackTrial.objects.bulk_create(trials, ignore_conflicts=True)

    with failures(), opened(llm.endpoint) as endpoint:

        def ask(item: tuple[Comparison, Outcome, Attack]) -> Asked[AttackTrial]:
            row, worse, attack = item
            answers = {"first": row.first.text, "second": row.second.text}
            answers[worse] = attack.on(answers[worse])
            usages: list[dict[str, int]] = []
            raw: list[str] = []
            if llm.grades:
                scorer = llm.scorer(endpoint, seed=int(ctx.payload["seed"]))
                values = []
                for sample in range(llm.samples):
                    one = scorer.score(prompt=row.prompt.text, answer=answers[worse], sample=sample)
                    usages.append(one.usage)
                    raw.append(one.raw[:RAW_CHARS])
                    values += [] if one.value is None else [one.value]
                other = means.get(row.second_id if worse == "first" else row.first_id)
                mine = _mean(values)
                verdict = graded(*((mine, other) if worse == "first" else (other, mine)), llm.tie_delta)
                label = EffectiveLabel("unparseable") if verdict is None else EffectiveLabel("ok", verdict.outcome)
            else:
                pair_judge = llm.pair_judge(endpoint, seed=int(ctx.payload["seed"]))
                said = []
                for order in orders_for(judge, row.pk):
                    two = pair_judge.judge_pair(
                        prompt=row.prompt.text, first=answers["first"], second=answers["second"], order=order
                    )
                    usages.append(two.usage)
                    raw.append(two.raw[:RAW_CHARS])
                    said.append(OrderedVerdict(order, two))
                label = combine(said, policy, comparison_id=str(row.pk)) or EffectiveLabel("error")
            trial = AttackTrial(
                judge=judge,
                comparison=row,
                corpus=CORPUS,
                attack=attack.name,
                side=worse,
                state=label.state,
                outcome=label.outcome or "",
                flipped=is_flipped(worse, label),
                flags=list(suspicions(answers[worse])),
                raw=raw,
            )
            return Asked(trial, _together(usages))

        ask_in_threads(
            ctx,
            items,
            texts=lambda item: (item[0].prompt.text, item[0].first.text, item[0].second.text, item[2].on("")),
            ask=ask,
            write=keep,
            meter=Meter(llm, purpose="attack", note=f"{judge.name} v{judge.version}", n_calls=n_calls),
            words=f"attacks on {judge.name}",
        )
    return {"n_tried": len(items), "n_pairs": len(decided)}


def _together(usages: list[dict[str, int]]) -> dict[str, int]:
    """The sum over calls; empty where one of them told nothing, so that the most it could be counts."""
    if any("prompt_tokens" not in usage for usage in usages):
        return {}
    return {key: sum(usage.get(key, 0) for usage in usages) for key in ("prompt_tokens", "completion_tokens")}


def _decided(judge: Judge, *, n: int, seed: int) -> list[tuple[Comparison, Outcome]]:
    """Pairs of which the judge found one answer better, with the side that it found worse."""
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
