"""What calls to an endpoint cost, and the caps on it: checked before each call, settled after it.

A call is held at the most that it could take, by one conditional UPDATE, so that workers beside each other can't pass
the cap together; what it took in the end replaces that. A call that never came back stays held: it may have been
charged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction
from django.db.models import F, Q, Sum

from apps.policies.models import Endpoint, Spend
from prefloop.types import PrefloopError

NANOS = 10**9  # in a dollar
_NANOS_PER_TOKEN = 1000  # of a price of one dollar per million tokens


class CapReached(PrefloopError):
    """The next call could take more than what is left."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The most that a call may take: what was added for it to the endpoint's committed tokens and money."""

    prompt_tokens: int
    completion_tokens: int
    nanos: int
    n_calls: int = 1  # requests that belong together

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent on an endpoint (in dollars), and what is held for calls that are under way or never came back."""

    n_calls: int
    tokens: int
    cost: Decimal
    held_tokens: int
    held_cost: Decimal


def tokens_at_most(*texts: str) -> int:
    """More tokens than these texts take with any usual tokenizer: half of their bytes, and some for the chat's form."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) // 2 + 64


def cost_nanos(endpoint: Endpoint, *, prompt_tokens: int, completion_tokens: int) -> int:
    """Return the price of so many tokens in 1e-9 dollars, rounded up."""
    exact = prompt_tokens * endpoint.input_price + completion_tokens * endpoint.output_price
    return math.ceil(exact * _NANOS_PER_TOKEN)


def dollars(nanos: int) -> Decimal:
    return Decimal(nanos) / NANOS


def call_hold(*, endpoint_id: int, prompt_tokens: int, completion_tokens: int, n_calls: int = 1) -> Hold:
    """Hold the most that a call can take. Raises CapReached where that is more than is left.

    Prices and caps are read anew: somebody may have raised them while a run went on.
    """
    endpoint = Endpoint.objects.get(pk=endpoint_id)
    nanos = cost_nanos(endpoint, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    held = Hold(prompt_tokens, completion_tokens, nanos, n_calls)
    room = Q()
    if endpoint.cap_tokens is not None:
        room &= Q(committed_tokens__lte=endpoint.cap_tokens - held.tokens)
    if endpoint.cap_cost is not None:
        room &= Q(committed_nanos__lte=int(endpoint.cap_cost * NANOS) - nanos)
    taken = Endpoint.objects.filter(room, pk=endpoint_id).update(
        committed_tokens=F("committed_tokens") + held.tokens, committed_nanos=F("committed_nanos") + nanos
    )
    if not taken:
        raise CapReached(
            f"the cap of endpoint {endpoint.name!r} is reached: {_left(endpoint)}, and the next call could take "
            f"{held.tokens:,} tokens (${dollars(nanos):.4f}); raise the cap on its page to go on"
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


def calls_settle(
    *, endpoint_id: int, calls: Iterable[tuple[Hold, Mapping[str, int] | None]], purpose: str, note: str = ""
) -> None:
    """Replace what was held by what was taken, and write it into the ledger.

    A call is (what was held, its usage). Usage without tokens: the endpoint did not tell, and the most it could be
    counts. None: nothing was asked or nothing taken, and the hold is given back.
    """
    calls = list(calls)
    prompt = completion = n_calls = n_estimated = 0
    for held, usage in calls:
        if usage is None:
            continue
        n_calls += held.n_calls
        told = usage.get("prompt_tokens"), usage.get("completion_tokens")
        n_estimated += held.n_calls if None in told else 0
        prompt += held.prompt_tokens if told[0] is None else told[0]
        completion += held.completion_tokens if told[1] is None else told[1]
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
