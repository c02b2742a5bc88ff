"""Chat messages in the spellings that data sets use."""

from __future__ import annotations

from typing import Any

from prefloop.records import InvalidRecord

Messages = list[dict[str, str]]

_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}


def messages_of(value: object, at: str) -> Messages:
    """Read messages with role/content or from/value. Raises InvalidRecord naming the message."""
    if not isinstance(value, list):
        raise InvalidRecord(f"{at} is not a list of messages")
    return [_message(item, f"{at}[{i}]") for i, item in enumerate(value)]


def _message(value: object, at: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InvalidRecord(f"{at} is not a message")
    role = value.get("role", value.get("from"))
    content = value.get("content", value.get("value"))
    if not isinstance(role, str) or not role:
        raise InvalidRecord(f"{at} has no role")
    if not isinstance(content, str):
        raise InvalidRecord(f"{at} has no text")
    return {"role": _ROLES.get(role, role), "content": content}


def answer_of(value: object, at: str) -> str:
    """Read an answer: text, one message, or a list of one message."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return _message(value, at)["content"]
    if isinstance(value, list):
        messages = messages_of(value, at)
        if len(messages) != 1:
            raise InvalidRecord(f"{at} has {len(messages)} messages; an answer is one")
        return messages[0]["content"]
    raise InvalidRecord(f"{at} is not a string" if value is not None else f"{at} is missing")


def prompt_of(value: object, at: str = "prompt") -> str | Messages:
    if isinstance(value, str):
        return value
    if value is None:
        raise InvalidRecord(f"{at} is missing")
    messages = messages_of(value, at)
    if not messages:
        raise InvalidRecord(f"{at} is empty")
    return messages


def split_answer(messages: Messages, at: str) -> tuple[Messages, str]:
    """Take the last message, the assistant's, off a conversation."""
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise InvalidRecord(f"{at} does not end with an assistant's answer to something")
    return messages[:-1], messages[-1]["content"]


def shared_prompt(chosen: Messages, rejected: Messages) -> tuple[Messages, str, str]:
    """Split two conversations that share all but the last message into prompt, chosen answer, rejected answer."""
    prompt, first = split_answer(chosen, "chosen")
    other, second = split_answer(rejected, "rejected")
    if prompt != other:
        raise InvalidRecord("chosen and rejected differ before their last message")
    return prompt, first, second


def shared_prefix(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Split two texts where they part, as TRL's extract_prompt does (a space belongs to the answers)."""
    n = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    n = min(len(chosen), len(rejected)) if n is None else n
    if n and chosen[n - 1 : n] == " ":
        n -= 1
    return chosen[:n], chosen[n:], rejected[n:]


def label_of(value: Any, at: str = "label") -> bool:
    """Read good or bad: true/false, 1/0, and their spellings in CSV."""
    if isinstance(value, bool):
        return value
    named = {"true": True, "1": True, "false": False, "0": False}
    key = str(value).strip().lower()
    if isinstance(value, int | str) and key in named:
        return named[key]
    raise InvalidRecord(f"{at} is neither true nor false")
