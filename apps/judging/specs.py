"""Describe a judge of the database in plain values, for the code that asks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from apps.judging.prices import has_price
from apps.judging.services import judge_template
from apps.labels.models import Judge
from apps.policies.endpoints import endpoint_keeps_schema
from apps.policies.spending import NANOS, cost_nanos
from apps.policies.store import store_path
from apps.samples.models import Comparison
from prefloop.judging.examples import Example
from prefloop.judging.metering import tokens_at_most
from prefloop.judging.modes import BY_LOGPROB
from prefloop.judging.spec import JudgeSpec


def spec_of(judge: Judge, *, seed: int = 0, key: str = "") -> JudgeSpec:
    """Say how a judge of any kind is asked; its endpoint's address and key are not in it."""
    declared, options = judge.declared, judge.options
    more: dict[str, Any] = {}
    if declared.modes:
        told = ("temperature", "top_p", "max_tokens", "samples", "tie_delta")
        more = {name: options[name] for name in told if options.get(name) is not None}
        more |= {"template": judge_template(judge), "mode": judge.mode, "order_policy": judge.order_policy}
        more["examples"] = tuple(example_of(row) for row in options.get("examples", ()))
    if declared.world:
        more |= {"world": judge.project.world, "noise": options.get("noise", 0.0), "soft": options.get("soft", False)}
    if declared.metadata:
        more["rules"] = options
    if declared.members:
        judges = members_of(judge)
        more["members"] = tuple(spec_of(member, seed=seed, key=str(member.pk)) for member in judges)
        more["rule"] = options["rule"]
        if options.get("weights"):
            more["weights"] = tuple(float(options["weights"].get(str(member.pk), 1.0)) for member in judges)
    return JudgeSpec(
        kind=judge.kind,
        name=judge.name,
        key=key,
        model=judge.endpoint.model if judge.endpoint is not None else "",
        at_once=judge.at_once,
        criterion=judge.criterion,
        seed=seed,
        json_schema=judge.endpoint is None or endpoint_keeps_schema(judge.endpoint) is not False,
        checkpoint=str(store_path(judge.checkpoint.path)) if judge.checkpoint is not None else "",
        **more,
    )


def example_of(row: Mapping[str, Any]) -> Example:
    """Read an example as a judge's options hold it."""
    return Example(row["prompt"], row["first"], row["second"], row["outcome"], row.get("reason", ""))


def members_of(judge: Judge) -> list[Judge]:
    """Return the members of an ensemble, in its order; an empty list for any other judge."""
    wanted = judge.options.get("members", ())
    found = Judge.objects.select_related("endpoint", "checkpoint", "project").in_bulk(wanted)
    return [found[pk] for pk in wanted]


def asked_with(judge: Judge) -> dict[str, Judge]:
    """Return the judges that are asked, by the keys of their specs: an ensemble's members, or the judge itself."""
    return {str(member.pk): member for member in members_of(judge)} or {"": judge}


def call_at_most(judge: Judge, comparisons: Sequence[Comparison]) -> float | None:
    """Return about the most dollars that one call takes, for pairs such as these; None where no price or pair is known.

    As for a cap, each byte counts as a token and the reply is as long as it may be: several times the usual cost.
    """
    if judge.endpoint is None or not has_price(judge) or not comparisons:
        return None
    spec = spec_of(judge)
    shown = [text for one in spec.examples for text in (one.prompt, one.first, one.second, one.reason)]
    fixed = tokens_at_most(spec.template, spec.criterion, *shown)
    longest = [
        tokens_at_most(row.prompt.text, row.first.text, *(() if judge.gives_scores else (row.second.text,)))
        for row in comparisons
    ]
    reply = 1 if judge.mode in BY_LOGPROB else spec.max_tokens
    nanos = cost_nanos(judge.endpoint, prompt_tokens=fixed + round(fmean(longest)), completion_tokens=reply)
    return nanos / NANOS
