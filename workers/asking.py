"""Asking judges, or endpoints that answer prompts, from a job: under the endpoint's cap, each reply written at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from django.conf import settings

from apps.jobs.models import FailureClass
from apps.jobs.registry import JobContext, JobFailure
from apps.labels.models import Judge
from apps.policies.endpoints import SIMULATED_SCHEME, endpoint_key
from apps.policies.models import Endpoint
from apps.policies.spending import calls_hold, calls_settle
from prefloop.judging.asking import Asked, Asker, Question, ask_all
from prefloop.judging.client import ChatEndpoint
from prefloop.judging.errors import CapReached, JudgeError, JudgeUnreachable
from prefloop.judging.metering import Call, Hold, Most
from prefloop.types import PrefloopError
from prefloop.worlds.letters.judge_server import running_judge_server

T = TypeVar("T")
S = TypeVar("S")


class NotAskable(PrefloopError):
    """A judge that can't be asked in its present state."""


class EndpointMeter:
    """Keeps an endpoint's cap and the quotas in the database, which all workers share.

    `person_id`: who started it.
    """

    def __init__(self, endpoint: Endpoint, *, purpose: str, person_id: int | None, note: str = "") -> None:
        self._endpoint_id, self._purpose, self._note, self._person_id = endpoint.pk, purpose, note, person_id

    def hold(self, most: Sequence[Most]) -> list[Hold]:
        return calls_hold(endpoint_id=self._endpoint_id, most=most, person_id=self._person_id)

    def settle(self, calls: Sequence[Call]) -> None:
        """Write down what calls took, in the caller's transaction."""
        if calls:
            calls_settle(
                endpoint_id=self._endpoint_id,
                calls=calls,
                purpose=self._purpose,
                note=self._note,
                person_id=self._person_id,
            )


def meter_of(judge: Judge, *, purpose: str, person_id: int | None, note: str = "") -> EndpointMeter | None:
    """Give who keeps a judge's cap; None where a call costs nothing, as one to the simulated judge."""
    endpoint = judge.endpoint
    if endpoint is None or endpoint.base_url.startswith(SIMULATED_SCHEME):
        return None
    return EndpointMeter(endpoint, purpose=purpose, person_id=person_id, note=note or f"{judge.name} v{judge.version}")


@contextmanager
def answering(endpoint: Endpoint) -> Iterator[tuple[str, str, list[str]]]:
    """Return the base URL of an endpoint, its key, and the hosts that may be private.

    A simulated one is started here, and allowed because it is ours.
    """
    if endpoint.base_url.startswith(SIMULATED_SCHEME):
        with running_judge_server(**endpoint.capabilities.get("biases", {})) as base_url:
            yield base_url, "", [base_url.removeprefix("http://").split("/", 1)[0]]
        return
    yield endpoint.base_url, endpoint_key(endpoint), list(settings.ENDPOINT_ALLOW)


@contextmanager
def opened(judge: Judge) -> Iterator[ChatEndpoint]:
    """Open a judge's endpoint. Raises NotAskable where it has none."""
    if judge.endpoint is None:
        raise NotAskable(f"judge {judge.name!r} has no endpoint")
    with (
        answering(judge.endpoint) as (base_url, key, allow),
        ChatEndpoint(base_url, judge.endpoint.model, key, allow) as client,
    ):
        yield client


@contextmanager
def failures() -> Iterator[None]:
    """Classify failures: no answer (retried automatically), no judge, or no money left."""
    try:
        yield
    except CapReached as error:
        raise JobFailure(FailureClass.CAP_REACHED, str(error)) from error
    except JudgeUnreachable as error:
        raise JobFailure(FailureClass.JUDGE_UNREACHABLE, str(error), retry=True) from error
    except JudgeError as error:  # it answers, but not as a judge: somebody must put it right
        raise JobFailure(FailureClass.JUDGE_REFUSED, str(error)) from error


def ask_and_write(
    ctx: JobContext,
    asker: Asker[S],
    wanted: Sequence[tuple[T, Sequence[Question]]],
    *,
    write: Callable[[list[Asked[T, S]]], None],
    meter: EndpointMeter | None,
    at_once: int,
    words: str,
) -> None:
    """Ask about several items at once, and write each reply as it comes, so that only calls in flight can be lost.

    `write` runs in a fenced transaction, which settles the calls too. Trouble with the endpoint, a cap that is reached,
    or a worker that must leave, ends the asking; the calls in flight are waited for and written first.
    """
    done = 0

    def keep(asked: list[Asked[T, S]]) -> None:
        nonlocal done
        answered = [one for one in asked if one.replies]
        calls = [call for one in asked for call in one.calls]
        # what brought nothing is settled whoever holds the job by now
        with ctx.fenced() if answered else nullcontext():
            write(answered)
            if meter is not None:
                meter.settle(calls)
        done += len(answered)
        ctx.progress(done, len(wanted), f"{done} {words}")

    ask_all(asker, wanted, keep=keep, meter=meter, at_once=at_once, check=ctx.check)
