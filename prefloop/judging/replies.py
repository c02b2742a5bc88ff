"""Reading responses of an OpenAI-compatible endpoint; any other form is a JudgeBadAnswer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from prefloop.answers import storable
from prefloop.judging.errors import JudgeBadAnswer

EXCERPT_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    token: str
    logprob: float  # nats


@dataclass(frozen=True, slots=True)
class ChatReply:
    """The model's reply. `top_logprobs` are those of its first token; empty if not requested or not returned."""

    text: str
    top_logprobs: tuple[TokenLogprob, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict)
    raw: str = ""  # the message as JSON
    finish_reason: str = ""
    model: str = ""
    token_logprobs: tuple[float, ...] = ()  # nats, a token each; empty when not asked for or not given


@dataclass(frozen=True, slots=True)
class TextReply:
    """How a text continues. What a server does not return is None."""

    text: str
    finish_reason: str = ""
    token_ids: tuple[int, ...] | None = None  # the token that ended it included, where the server includes it
    token_logprobs: tuple[float, ...] | None = None  # nats, a token each
    usage: Mapping[str, int] = field(default_factory=dict)
    model: str = ""
    top_logprobs: tuple[TokenLogprob, ...] = ()  # of the first token; empty when not asked for or not given


def _wrong_shape(what: str, parsed: Any) -> JudgeBadAnswer:
    error = JudgeBadAnswer(f"the endpoint's JSON is no completion: {what}", excerpt=_as_json(parsed)[:EXCERPT_CHARS])
    error.may_have_cost = True
    return error


def _as_json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # deeper than orjson writes, though not than it reads
        return "(nested too deeply)"


def _first_choice(parsed: Any) -> dict[str, Any]:
    choices = parsed.get("choices") if isinstance(parsed, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _wrong_shape("it has no choices", parsed)
    return choices[0]


def _usage(parsed: Any) -> dict[str, int]:
    usage = parsed.get("usage")
    return {k: v for k, v in usage.items() if type(v) is int} if isinstance(usage, dict) else {}


def chat_reply(parsed: Any) -> ChatReply:
    """Read a chat completion object. Raises JudgeBadAnswer if it isn't one."""
    choice = _first_choice(parsed)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise _wrong_shape("its choice has no message", parsed)
    content = message.get("content")
    if isinstance(content, list):  # content parts
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if content is not None and not isinstance(content, str):
        raise _wrong_shape("its message's content is not text", parsed)
    if any(message.get(key) for key in ("tool_calls", "function_call", "refusal")):
        content = ""  # it did something else than answer; `raw` says what
    return ChatReply(
        text=storable(content or ""),
        top_logprobs=_first_token_logprobs(choice.get("logprobs")),
        usage=_usage(parsed),
        raw=_as_json(message),
        finish_reason=str(choice.get("finish_reason") or ""),
        model=storable(str(parsed.get("model") or "")),
        token_logprobs=_chat_token_logprobs(choice.get("logprobs")) or (),
    )


def text_reply(parsed: Any) -> TextReply:
    """Read a text completion object. Raises JudgeBadAnswer if it isn't one."""
    choice = _first_choice(parsed)
    text, ids, logprobs = choice.get("text"), choice.get("token_ids"), choice.get("logprobs")
    if not isinstance(text, str):
        raise _wrong_shape("its choice has no text", parsed)
    told = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    return TextReply(
        text=storable(text),
        finish_reason=str(choice.get("finish_reason") or ""),
        token_ids=tuple(ids) if isinstance(ids, list) and all(type(token) is int for token in ids) else None,
        token_logprobs=_numbers(told),
        usage=_usage(parsed),
        model=storable(str(parsed.get("model") or "")),
        top_logprobs=_top_of_text(logprobs),
    )


def _top_of_text(logprobs: Any) -> tuple[TokenLogprob, ...]:
    """The most likely first tokens of a text completion, which returns them as {token: log-prob}."""
    tokens = logprobs.get("top_logprobs") if isinstance(logprobs, dict) else None
    first = tokens[0] if isinstance(tokens, list) and tokens and isinstance(tokens[0], dict) else {}
    return tuple(TokenLogprob(token, float(value)) for token, value in first.items() if isinstance(value, int | float))


def _numbers(values: Any) -> tuple[float, ...] | None:
    """The values as floats, if they are a list of numbers and nothing else."""
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        return None
    return tuple(float(value) for value in values)


def _chat_token_logprobs(logprobs: Any) -> tuple[float, ...] | None:
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list):
        return None
    return _numbers([token.get("logprob") if isinstance(token, dict) else None for token in tokens])


def _first_token_logprobs(logprobs: Any) -> tuple[TokenLogprob, ...]:
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = tokens[0] if isinstance(tokens, list) and tokens and isinstance(tokens[0], dict) else {}
    top = first.get("top_logprobs") or []
    if not isinstance(top, list):
        return ()
    return tuple(
        TokenLogprob(entry["token"], float(entry["logprob"]))
        for entry in top
        if isinstance(entry, dict)
        and isinstance(entry.get("token"), str)
        and isinstance(entry.get("logprob"), int | float)
    )


def model_names(parsed: Any) -> list[str]:
    """Read a list of models. Raises JudgeBadAnswer if it isn't one."""
    data = parsed.get("data") if isinstance(parsed, dict) else None
    if not isinstance(data, list):
        raise _wrong_shape("it has no list of models", parsed)
    return [str(entry["id"]) for entry in data if isinstance(entry, dict) and "id" in entry]
