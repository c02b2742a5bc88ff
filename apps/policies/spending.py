"""The price of calls to an endpoint, and its caps: checked before each call, settled after it.

Before a call its maximum is reserved, by one conditional UPDATE, so that concurrent workers can't exceed the cap
together; the actual usage replaces it. The reservation of a call that never returned stays: it may have been charged.
The same counts for the monthly quotas of the project and of whoever started it.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from django.db import transaction
from django.db.models import F, Q, Sum

from apps.policies.models import Endpoint, Spend
from apps.quotas.counting import this_month
from apps.quotas.services import QuotaReached, ask, settle
from prefloop.judging.errors import CapReached
from prefloop.judging.metering import Call, Hold, Most

NANOS = 10**9  # in a dollar
_NANOS_PER_TOKEN = 1000  # of a price of one dollar per million tokens


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent on an endpoint (in dollars), and what is reserved for calls that are running or never returned."""

    n_calls: int
    tokens: int
    cost: Decimal
    held_tokens: int
    held_cost: Decimal


def cost_nanos(endpoint: Endpoint, *, prompt_tokens: int, completion_tokens: int) -> int:
    """Return the price of so many tokens in 1e-9 dollars, rounded up."""
    exact = prompt_tokens * endpoint.input_price + completion_tokens * endpoint.output_price
    return math.ceil(exact * _NANOS_PER_TOKEN)


def dollars(nanos: int) -> Decimal:
    return Decimal(nanos) / NANOS


def call_hold(
    *, endpoint_id: int, prompt_tokens: int, completion_tokens: int, n_calls: int = 1, person_id: int | None = None
) -> Hold:
    """Hold the most that requests which belong together can take. Raises CapReached where more than is left."""
    (held,) = calls_hold(endpoint_id=endpoint_id, most=[Most(prompt_tokens, completion_tokens)], person_id=person_id)
    return replace(held, n_calls=n_calls)


def calls_hold(*, endpoint_id: int, most: Sequence[Most], person_id: int | None = None) -> list[Hold]:
    """Hold the most that requests can take, all or none. Raises CapReached where that is more than is left, of the
    endpoint's caps or of a quota.

    Prices, caps and quotas are read again: somebody may have raised them during the run.
    """
    endpoint = Endpoint.objects.get(pk=endpoint_id)
    month = this_month().isoformat()
    held = [
        Hold(
            one.prompt_tokens,
            one.completion_tokens,
            cost_nanos(endpoint, prompt_tokens=one.prompt_tokens, completion_tokens=one.completion_tokens),
            month=month,
        )
        for one in most
    ]
    tokens, nanos = sum(one.tokens for one in held), sum(one.nanos for one in held)
    room = Q()
    if endpoint.cap_tokens is not None:
        room &= Q(committed_tokens__lte=endpoint.cap_tokens - tokens)
    if endpoint.cap_cost is not None:
        room &= Q(committed_nanos__lte=int(endpoint.cap_cost * NANOS) - nanos)
    with transaction.atomic():
        try:
            ask(project_id=endpoint.project_id, person_id=person_id, tokens=tokens, money=nanos)
        except QuotaReached as reached:
            raise CapReached(str(reached)) from reached
        taken = Endpoint.objects.filter(room, pk=endpoint_id).update(
            committed_tokens=F("committed_tokens") + tokens, committed_nanos=F("committed_nanos") + nanos
        )
        if not taken:
            raise CapReached(
                f"the cap of endpoint {endpoint.name!r} is reached: {_left(endpoint)}, and the next call could take "
                f"{tokens:,} tokens (${dollars(nanos):.4f}); raise the cap on its page to go on"
            )
    return held


def _left(endpoint: Endpoint) -> str:
    parts = []
    if endpoint.cap_tokens is not None:
        parts.append(f"{max(endpoint.cap_tokens - endpoint.committed_tokens, 0):,} of {endpoint.cap_tokens:,} tokens")
    if endpoint.cap_cost is not None:
        left = max(endpoint.cap_cost - dollars(endpoint.committed_nanos), Decimal(0))
        parts.append(f"${left:.4f} of ${endpoint.cap_cost:.2f}")
    return " and ".join(parts) + " are left"


def tokens_of(calls: Iterable[Call]) -> tuple[int, int, int, int]:
    """Add up calls: prompt tokens, completion tokens, calls, and calls whose tokens were not told.

    Usage without tokens: the endpoint did not tell, and the most it could be counts. None: nothing was taken.
    """
    prompt = completion = n_calls = n_estimated = 0
    for held, usage in calls:
        if usage is None:
            continue
        n_calls += held.n_calls
        told = usage.get("prompt_tokens"), usage.get("completion_tokens")
        n_estimated += held.n_calls if None in told else 0
        prompt += held.prompt_tokens if told[0] is None else told[0]
        completion += held.completion_tokens if told[1] is None else told[1]
    return prompt, completion, n_calls, n_estimated


def calls_cost(endpoint: Endpoint, calls: Iterable[Call]) -> int:
    """Return what calls cost, in 1e-9 dollars."""
    prompt, completion, _, _ = tokens_of(calls)
    return cost_nanos(endpoint, prompt_tokens=prompt, completion_tokens=completion)


def calls_settle(
    *, endpoint_id: int, calls: Iterable[Call], purpose: str, note: str = "", person_id: int | None = None
) -> None:
    """Replace what was held by what was taken, and write it into the ledger."""
    calls = list(calls)
    prompt, completion, n_calls, n_estimated = tokens_of(calls)
    with transaction.atomic():
        endpoint = Endpoint.objects.get(pk=endpoint_id)
        nanos = cost_nanos(endpoint, prompt_tokens=prompt, completion_tokens=completion)
        Endpoint.objects.filter(pk=endpoint_id).update(
            committed_tokens=F("committed_tokens") - sum(held.tokens for held, _ in calls) + prompt + completion,
            committed_nanos=F("committed_nanos") - sum(held.nanos for held, _ in calls) + nanos,
        )
        if n_calls:
            Spend.objects.create(
                endpoint=endpoint,
                purpose=purpose,
                note=note,
                n_calls=n_calls,
                prompt_tokens=prompt,
                completion_tokens=completion,
                nanos=nanos,
                n_estimated=n_estimated,
            )
        _settle_quotas(endpoint, calls, person_id)


def _settle_quotas(endpoint: Endpoint, calls: Sequence[Call], person_id: int | None) -> None:
    """Replace it in the months in which it was held: a call may begin in one and end in the next."""
    by_month: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_month[call[0].month].append(call)
    for month, some in sorted(by_month.items()):
        if month:  # held before there were quotas: it was not counted
            prompt, completion, _, _ = tokens_of(some)
            settle(
                project_id=endpoint.project_id,
                person_id=person_id,
                month=dt.date.fromisoformat(month),
                tokens=prompt + completion - sum(held.tokens for held, _ in some),
                money=calls_cost(endpoint, some) - sum(held.nanos for held, _ in some),
            )


def spent_on(endpoint: Endpoint) -> Spent:
    """Sum up an endpoint's ledger."""
    sums = endpoint.spends.aggregate(
        calls=Sum("n_calls"), prompt=Sum("prompt_tokens"), completion=Sum("completion_tokens"), nanos=Sum("nanos")
    )
    tokens, nanos = (sums["prompt"] or 0) + (sums["completion"] or 0), sums["nanos"] or 0
    return Spent(
        n_calls=sums["calls"] or 0,
        tokens=tokens,
        cost=dollars(nanos),
        held_tokens=endpoint.committed_tokens - tokens,
        held_cost=dollars(endpoint.committed_nanos - nanos),
    )
