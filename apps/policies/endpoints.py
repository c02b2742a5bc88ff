"""Endpoints: served models. A stored key is only ever sent to the URL it was given for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.db import transaction

from apps.accounts.models import User
from apps.core.sealed import SecretUnreadable, seal, unseal
from apps.core.services import audit
from apps.policies.models import Endpoint
from apps.policies.spending import call_hold, calls_settle
from apps.policies.store import check_name
from apps.projects.models import Project
from prefloop.judging.addresses import check_base_url
from prefloop.judging.client import ChatEndpoint, Limits
from prefloop.judging.errors import JudgeError, JudgeUnreachable
from prefloop.types import PrefloopError

# a person waits for the answer: one attempt, seconds
TEST_LIMITS = Limits(connect_seconds=3.0, read_seconds=8.0, total_seconds=10.0, max_bytes=1_000_000, attempts=1)
# a server's first reply of a kind takes longest: vLLM's first log-probs on a CPU were there after 6 seconds
PROBE_LIMITS = Limits(connect_seconds=3.0, read_seconds=15.0, total_seconds=15.0, max_bytes=1_000_000, attempts=1)
SIMULATED_SCHEME = "simulated://"
_PURPOSE = "endpoint"
# that one web process asks while people wait: the other threads go on answering
_AT_ONCE = threading.BoundedSemaphore(2)


class EndpointKeyUnreadable(PrefloopError):
    """The stored key was encrypted under another SECRET_KEY."""


def endpoint_key(endpoint: Endpoint) -> str:
    """Return the endpoint's API key in clear ("" where it has none). Raises EndpointKeyUnreadable."""
    if not endpoint.encrypted_key:
        return ""
    try:
        return unseal(endpoint.encrypted_key, purpose=_PURPOSE, bound_to=endpoint.base_url)
    except SecretUnreadable as error:
        raise EndpointKeyUnreadable(
            f"the key of endpoint {endpoint.name!r} can't be read (SECRET_KEY or the URL changed): enter it again"
        ) from error


class EndpointSimulated(PrefloopError):
    """A simulated judge has no server that can be asked."""


class EndpointExists(PrefloopError):
    """The project has an endpoint of this name."""


class EndpointsBusy(PrefloopError):
    """The limit of endpoints that are tested at the same time is reached."""

    http_status = 503

    def __init__(self) -> None:
        super().__init__("other endpoints are being tested at the moment: try again soon")


@contextmanager
def _asking() -> Iterator[None]:
    """Hold one of the few slots for asking a server while a person waits. Raises EndpointsBusy."""
    if not _AT_ONCE.acquire(blocking=False):
        raise EndpointsBusy
    try:
        yield
    finally:
        _AT_ONCE.release()


def _checked(base_url: str, *, is_simulated: bool) -> str:
    base_url = base_url.strip().rstrip("/")
    if not (is_simulated and base_url.startswith(SIMULATED_SCHEME)):  # those are started by the worker itself
        check_base_url(base_url, allow=settings.ENDPOINT_ALLOW)
    return base_url


def endpoint_test(*, base_url: str, model: str, api_key: str = "") -> str:
    """Ask an endpoint which models it serves, and report it in a line.

    Raises JudgeError if it can't be asked, and EndpointsBusy.
    """
    if base_url.startswith(SIMULATED_SCHEME):
        return "The simulated judge starts with its jobs: there is nothing to connect to until then."
    with (
        _asking(),
        ChatEndpoint(base_url, model, api_key, settings.ENDPOINT_ALLOW, limits=TEST_LIMITS) as endpoint,
    ):
        names = endpoint.models()
    if model in names:
        return f"It responds and serves {model}."
    listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"It responds, but does not serve {model!r}. It serves: {listed or 'no model that it lists'}."


def endpoint_test_stored(*, endpoint: Endpoint, base_url: str, model: str, api_key: str = "") -> str:
    """Test changed settings of an endpoint: its stored key goes to its stored URL only. Raises JudgeError."""
    if not api_key and base_url.strip().rstrip("/") == endpoint.base_url:
        api_key = endpoint_key(endpoint)
    return endpoint_test(base_url=base_url, model=model, api_key=api_key)


@dataclass(frozen=True, slots=True)
class Probed:
    """One tested ability of an endpoint. `ok` None: it could not be determined."""

    name: str  # models | logprobs | json_schema | seeds
    ok: bool | None
    text: str


def endpoint_probe(*, endpoint: Endpoint, now: datetime, by: User | None = None) -> list[Probed]:
    """Ask an endpoint for its models and for a few tokens in each way, and store what it can do.

    At most five calls of a few tokens each, counted in its ledger. Raises JudgeError where it can't be asked at all,
    CapReached and EndpointsBusy.
    """
    if endpoint.is_simulated:
        raise EndpointSimulated("the simulated judge starts with its jobs: there is nothing to ask until then")
    with _asking():
        return _probe(endpoint, now, by.pk if by else None)


def _probe(endpoint: Endpoint, now: datetime, by: int | None) -> list[Probed]:
    url, model = endpoint.base_url, endpoint.model
    held = call_hold(endpoint_id=endpoint.pk, prompt_tokens=400, completion_tokens=100, n_calls=4, person_id=by)
    usage: dict[str, int] | None = None
    try:
        with ChatEndpoint(url, model, endpoint_key(endpoint), settings.ENDPOINT_ALLOW, limits=PROBE_LIMITS) as client:
            names = client.models()
            usage = {}
            serves = model in names
            listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            found = [Probed("models", serves, listed), *_probe_calls(client)]
    finally:
        calls_settle(endpoint_id=endpoint.pk, calls=[(held, usage)], purpose="probe", person_id=by)
    said = {"at": now.isoformat(), "found": [[one.name, one.ok, one.text] for one in found]}
    with transaction.atomic():
        fresh = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        Endpoint.objects.filter(pk=endpoint.pk).update(capabilities=fresh.capabilities | {"probed": said})
    return found


def endpoint_probed(endpoint: Endpoint) -> tuple[list[Probed], str]:
    """Return what an endpoint could do at its last test, and when (ISO 8601, "" if it was never tested)."""
    said = endpoint.capabilities.get("probed", {})
    return [Probed(*row) for row in said.get("found", [])], said.get("at", "")


def endpoint_keeps_schema(endpoint: Endpoint) -> bool | None:
    """Return whether an endpoint was seen to enforce a JSON schema; None if it was never tested."""
    return next((one.ok for one in endpoint_probed(endpoint)[0] if one.name == "json_schema"), None)


_ASKED = [{"role": "user", "content": "Reply with one letter of the alphabet, drawn at random, and with nothing else."}]
_SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": ["A", "B"]}},
    "required": ["verdict"],
    "additionalProperties": False,
}


def _probe_calls(client: ChatEndpoint) -> list[Probed]:
    """Test each ability. After a failed call the rest is not tried and stays unknown, which is not a "no"."""
    found: list[Probed] = []
    silent = ""
    for name, probe in (("logprobs", _probe_logprobs), ("json_schema", _probe_schema), ("seeds", _probe_seeds)):
        try:
            ok, text = (None, silent) if silent else probe(client)
        except JudgeUnreachable as error:
            silent = str(error)
            ok, text = None, silent
        except JudgeError as error:
            ok, text = False, str(error)
        found.append(Probed(name, ok, text))
    return found


def _probe_logprobs(client: ChatEndpoint) -> tuple[bool | None, str]:
    top = client.chat(_ASKED, max_tokens=1, logprobs=True, top_logprobs=20).top_logprobs
    return bool(top), f"the {len(top)} most likely first tokens" if top else "requested, but not returned"


def _probe_schema(client: ChatEndpoint) -> tuple[bool | None, str]:
    form = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": _SCHEMA}}
    reply = client.chat(_ASKED, max_tokens=24, response_format=form)
    if reply.finish_reason == "length":
        return None, "cut off before its end"
    try:
        kept = set(json.loads(reply.text)) == {"verdict"}
    except (ValueError, TypeError):
        kept = False
    return kept, "kept to" if kept else "requested, but not respected"


def _probe_seeds(client: ChatEndpoint) -> tuple[bool | None, str]:
    one, two = (client.chat(_ASKED, temperature=1.0, max_tokens=8, seed=7).text for _ in range(2))
    if one == two:
        return None if not one else True, "the same seed gave the same text twice"
    return False, "the same seed gave different text"


def endpoint_set_spending(
    *,
    endpoint: Endpoint,
    input_price: Decimal,
    output_price: Decimal,
    cap_tokens: int | None,
    cap_cost: Decimal | None,
    at_once: int,
    by: User | None = None,
) -> None:
    """Set the price of an endpoint's tokens (dollars per million), its caps on spending, and how many calls at once."""
    said = {
        "input_price": input_price,
        "output_price": output_price,
        "cap_tokens": cap_tokens,
        "cap_cost": cap_cost,
        "at_once": at_once,
    }
    with transaction.atomic():
        Endpoint.objects.filter(pk=endpoint.pk).update(**said)
        data: dict[str, object] = {
            name: str(value) if isinstance(value, Decimal) else value for name, value in said.items()
        }
        _audit(endpoint, "endpoint.spending", by, data)


def endpoint_create(
    *,
    project: Project,
    name: str,
    base_url: str,
    model: str,
    api_key: str = "",
    is_simulated: bool = False,
    by: User | None = None,
) -> Endpoint:
    """Record a served model. Raises EndpointForbidden for a URL that must not be called, EndpointExists, BadName."""
    check_name(name)
    base_url = _checked(base_url, is_simulated=is_simulated)
    if Endpoint.objects.filter(project=project, name=name).exists():
        raise EndpointExists(f"an endpoint {name!r} already exists: choose it, or use another name")
    with transaction.atomic():
        made = Endpoint.objects.create(
            project=project,
            name=name,
            base_url=base_url,
            model=model,
            encrypted_key=seal(api_key, purpose=_PURPOSE, bound_to=base_url) if api_key else "",
            is_simulated=is_simulated,
        )
        _audit(made, "endpoint.create", by, {"url": base_url, "model": model, "has_key": bool(api_key)})
    return made


def endpoint_update(
    *, endpoint: Endpoint, base_url: str, model: str, api_key: str | None = None, by: User | None = None
) -> Endpoint:
    """Change an endpoint's address. Another URL deletes the stored key, unless a new one is given.

    Raises EndpointForbidden.
    """
    base_url = _checked(base_url, is_simulated=endpoint.is_simulated)
    with transaction.atomic():
        if base_url != endpoint.base_url:
            endpoint.encrypted_key = ""
        endpoint.base_url = base_url
        endpoint.model = model
        if api_key:
            endpoint.encrypted_key = seal(api_key, purpose=_PURPOSE, bound_to=base_url)
        endpoint.save(update_fields=["base_url", "model", "encrypted_key"])
        data = {"url": base_url, "model": model, "has_key": bool(endpoint.encrypted_key), "new_key": bool(api_key)}
        _audit(endpoint, "endpoint.change", by, data)
    return endpoint


def _audit(endpoint: Endpoint, verb: str, by: User | None, data: dict[str, object]) -> None:
    audit(actor=by, verb=verb, target=f"endpoint:{endpoint.name}", project=endpoint.project, data=data)
