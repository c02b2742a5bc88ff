"""What a judge's calls cost, by its latest ones; `specs.call_at_most` says it of a judge that was not asked yet."""

from __future__ import annotations

from apps.labels.models import Judge
from apps.policies.spending import NANOS, cost_nanos
from apps.projects.models import Project
from prefloop.judging.kinds import names_where

COSTED = 500  # latest calls that a judge's cost is told from


def costs_money(judge: Judge) -> bool:
    """Whether a call to a judge, or to a member of it, has a price."""
    members = Judge.objects.filter(pk__in=judge.options.get("members", ())).select_related("endpoint")
    return any(has_price(one) for one in (judge, *members))


def has_price(judge: Judge) -> bool:
    endpoint = judge.endpoint
    return judge.declared.costs and endpoint is not None and (endpoint.input_price > 0 or endpoint.output_price > 0)


def costs_per_1000(project: Project) -> dict[int, float]:
    """Return the cost of a thousand comparisons for each judge whose endpoint has a price, by its latest calls."""
    costs: dict[int, float] = {}
    for judge in project.judges.filter(
        kind__in=names_where(lambda kind: kind.costs), is_simulated=False
    ).select_related("endpoint"):
        said = judge.scores if judge.gives_scores else judge.verdicts
        usages = [usage for usage in said.order_by("-id").values_list("usage", flat=True)[:COSTED] if usage]
        if judge.endpoint is None or not has_price(judge) or not usages:
            continue
        nanos = sum(
            cost_nanos(
                judge.endpoint,
                prompt_tokens=usage.get("prompt_tokens", 0),
                completion_tokens=usage.get("completion_tokens", 0),
            )
            for usage in usages
        )
        n_calls = (
            2 * int(judge.options.get("samples", 1)) if judge.gives_scores else 1 + (judge.order_policy != "random")
        )
        costs[judge.pk] = 1000 * n_calls * nanos / len(usages) / NANOS
    return costs
