"""A loop's alarms in words: problems seen in its stored metrics, scores and evaluations, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from django.conf import settings
from django.db.models import Avg
from django.utils.translation import gettext as _

from apps.labels.models import Score
from apps.samples.models import Completion
from apps.training.models import Loop, Metric, Round, Stage, TrainingRun
from prefloop.stats.alarms import (
    Alarm,
    Mean,
    chosen_falls,
    entropy_collapses,
    judge_diverges,
    kl_over,
    length_grows,
    window_shift,
)
from prefloop.stats.best_of_n import kl_bound

ONLINE_SCORE, ONLINE_ENTROPY, CHOSEN = "objective/scores", "objective/entropy", "logps/chosen"


@dataclass(frozen=True, slots=True)
class LoopAlarm:
    """An alarm for the page: one sentence with its numbers, and what to do."""

    alarm: Alarm
    what: str
    todo: str


def alarms_of(loop: Loop) -> list[LoopAlarm]:
    """Return the loop's alarms for its newest checkpoint and its last training run."""
    rounds = [round_ for round_ in loop.rounds.order_by("index") if round_.stage == Stage.DONE]
    series = _series(loop)
    found = [chosen_falls(series[CHOSEN])]
    if len(rounds) > 1:
        first, last = rounds[0].result, rounds[-1].result
        if "best_of_n" not in last and last.get("kl") is not None:  # best-of-n's KL is a bound, and it trains nothing
            found.append(kl_over(_mean(last, "kl", "kl_ci95"), budget=settings.KL_ALARM_NATS))
        if first.get("mean_length") and last.get("mean_length"):
            found.append(length_grows(first["mean_length"], last["mean_length"]))
        found.append(_divergence(loop, rounds, series[ONLINE_SCORE]))
    found.append(_entropy(rounds, series[ONLINE_ENTROPY]))
    return [_in_words(alarm) for alarm in found if alarm is not None]


def _series(loop: Loop) -> dict[str, list[float]]:
    """The metrics of the newest run that trained a policy, step by step."""
    series: dict[str, list[float]] = {key: [] for key in (CHOSEN, ONLINE_SCORE, ONLINE_ENTROPY)}
    runs = TrainingRun.objects.filter(round__loop=loop, round__index__gt=0)  # round 0 makes ingredients
    run = runs.exclude(kind="reward-model").order_by("-id").first()
    if run is not None:
        for values in Metric.objects.filter(run=run).order_by("step").values_list("values", flat=True):
            for key, kept in series.items():
                if isinstance(values.get(key), int | float):
                    kept.append(float(values[key]))
    return series


def _mean(result: dict[str, Any], key: str, bounds: str) -> Mean:
    low, high = result.get(bounds) or (result[key], result[key])
    return Mean(result[key], (high - low) / 2)


def _divergence(loop: Loop, rounds: Sequence[Round], online: Sequence[float]) -> Alarm | None:
    """Judge and gold of the first and of the newest policy with both known.

    A round samples the policy that the round before made, so its answers' scores belong to that one's gold.
    """
    if loop.judge is None:
        return None
    gold = {
        row.index: _mean(row.result, "gold_mean", "gold_ci95")
        for row in rounds
        if row.result.get("gold_mean") is not None and "best_of_n" not in row.result
    }
    judge = {
        row.index - 1: mean
        for row in loop.rounds.filter(sampling_run__isnull=False, index__gt=0)
        if row.index - 1 in gold and (mean := _judge_mean(loop, row)) is not None
    }
    if len(judge) > 1:
        first, last = min(judge), max(judge)
        return judge_diverges((judge[first], judge[last]), (gold[first], gold[last]))
    shift = window_shift(online)
    last = max(gold, default=0)
    if shift is None or last - 1 not in gold:
        return None
    half = shift.noise / sqrt(2)  # shared out evenly: together they make the noise of the difference again
    return judge_diverges((Mean(shift.before, half), Mean(shift.after, half)), (gold[last - 1], gold[last]))


def _judge_mean(loop: Loop, round_: Round) -> Mean | None:
    """The judge's mean score of a round's answers, with an interval over prompts, since answers to one prompt are
    correlated.
    """
    rows = (
        Score.objects.filter(judge=loop.judge, completion__run=round_.sampling_run_id, state="ok", value__isnull=False)
        .values("completion__prompt")
        .annotate(mean=Avg("value"))
        .values_list("mean", flat=True)
    )
    means = [float(mean) for mean in rows]
    if len(means) < 2:
        return None
    return Mean(fmean(means), 1.96 * stdev(means) / sqrt(len(means)))


def _entropy(rounds: Sequence[Round], online: Sequence[float]) -> Alarm | None:
    """Entropy per token of the newest checkpoint and of the start; inside an on-policy run, per answer."""
    shift = window_shift(online)
    if shift is not None and (alarm := entropy_collapses(shift.before, shift.after)):
        return alarm
    measured = [row for row in rounds if row.output_id is not None and row.result.get("mean_tokens")]
    if len(measured) < 2:
        return None
    # answers drawn at temperature 1: minus their mean log-prob estimates the entropy without bias
    ends = (measured[0], measured[-1])
    sums: dict[int | None, float | None] = dict(
        Completion.objects.filter(
            run__purpose="evaluation", run__temperature=1, run__checkpoint__in=[row.output_id for row in ends]
        )
        .values("run__checkpoint")
        .annotate(mean=Avg("logp_sum"))
        .values_list("run__checkpoint", "mean")
    )
    per_token = [-mean / row.result["mean_tokens"] for row in ends if (mean := sums.get(row.output_id)) is not None]
    return entropy_collapses(*per_token) if len(per_token) == 2 else None


def _in_words(alarm: Alarm) -> LoopAlarm:
    before, after = f"{alarm.before:.2f}", f"{alarm.after:.2f}"
    if alarm.kind == "chosen":
        what = _("Log-probs of chosen answers fell from %(before)s to %(after)s nats in the last run.")
        todo = _(
            "The policy learns to avoid the rejected answers more than to give the chosen ones. Raise "
            "objective.beta or lower "
            "objective.lr, or start from a policy fine-tuned on chosen answers (sft)."
        )
    elif alarm.kind == "kl":
        what = _("The newest checkpoint is %(after)s nats from the start, past the budget of %(limit)s.")
        todo = _(
            "That is farther than the KL bound of best-of-%(n)s from the starting policy. Raise objective.beta, "
            "train fewer rounds, or take "
            "an earlier checkpoint from the frontier."
        )
    elif alarm.kind == "length":
        before, after = f"{alarm.before:.0f}", f"{alarm.after:.0f}"
        what = _("Answers grew from %(before)s to %(after)s characters, %(times)s times as long.")
        todo = _(
            "Check in the reports whether the judge prefers longer answers, and compare checkpoints with length "
            "controlled. A criterion that asks for short answers, or overrides of long ones, stops the growth."
        )
    elif alarm.kind == "divergence":
        what = _("The judge's score rose from %(first)s to %(second)s while gold fell from %(before)s to %(after)s.")
        todo = _(
            "The policy learns the judge's mistakes. Override labels on the Review page and train a new judge on them, "
            "or take the checkpoint in which gold was highest."
        )
    else:
        what = _("Entropy fell from %(before)s to %(after)s nats: the policy gives nearly the same answers every time.")
        todo = _("Raise objective.beta or the sampling temperature; check the newest samples for repetition.")
    first, second = alarm.second or (0.0, 0.0)
    values = {
        "before": before,
        "after": after,
        "limit": f"{alarm.limit:g}",
        "times": f"{alarm.after / alarm.before:.2f}" if alarm.before else "",
        "first": f"{first:.2f}",
        "second": f"{second:.2f}",
        "n": f"{_best_of_n_as_far_as(alarm.limit):,}" if alarm.kind == "kl" else "",
    }
    return LoopAlarm(alarm, what % values, todo % values)


def _best_of_n_as_far_as(kl: float) -> int:
    """The largest round n (1, 2, 5, 10, …) whose best-of-n goes at most `kl` nats."""
    best, power = 1, 1
    while kl_bound(power) <= kl:
        best = max(n for n in (power, 2 * power, 5 * power) if kl_bound(n) <= kl)
        power *= 10
    return best
