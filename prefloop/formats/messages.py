"""Chat messages in the spellings that data sets use.

Messages are a list of objects, an object of lists (as Arrow keeps them), or either of these written as JSON or as
Python text. A role is `role` or `from`, a text `content`, `value` or a list of parts, of which texts are joined; an
assistant's `reasoning_content` stands before its text in <think> tags. What is no text can't be compared, shown or
trained on as text: a tool call, an image and their kin are refused by name, never left out.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from prefloop.records import InvalidRecord
from prefloop.records.values import loads, plain

Messages = list[dict[str, str]]

_ROLES = {
    "human": "user", "prompter": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant",
    "chatgpt": "assistant", "chatbot": "assistant", "ai": "assistant",
}  # fmt: skip
_KNOWN = ("system", "developer", "user", "assistant", "tool")
_CALLS = ("tool_calls", "function_call", "tool_call")
_CALL_ROLES = ("function_call", "tool_call")
_LIKE_MESSAGES = re.compile(r"\s*(?:\[\s*)?\{\s*[\"'](?:role|from|content|value|tool_calls)[\"']\s*:")
_MAX_PYTHON = 1_000_000  # characters of Python text that are tried


def messages_of(value: object, at: str) -> Messages:
    """Read messages. Raises InvalidRecord naming the message that is invalid or not text."""
    value = unpacked(value, at)
    if not isinstance(value, list):
        raise InvalidRecord(f"{at} is not a list of messages")
    return [_message(item, f"{at}[{i}]") for i, item in enumerate(value)]


def unpacked(value: object, at: str) -> object:
    """Return messages as a list if they are an object of lists or written as text; anything else unchanged."""
    if isinstance(value, dict) and value and all(isinstance(column, list) for column in value.values()):
        if not value.keys() & {"role", "from"}:
            return value
        if len({len(column) for column in value.values()}) > 1:
            raise InvalidRecord(f"{at} has lists of different lengths")
        return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    if not isinstance(value, str) or not _LIKE_MESSAGES.match(value):
        return value
    found = _written(value)
    if isinstance(found, dict) and found.keys() & {"role", "from"}:
        return unpacked(found, at)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        if isinstance(found, dict):
            return value  # JSON of something else
        raise InvalidRecord(f"{at} looks like messages written as text, and is neither JSON nor a list of Python's")
    return found if any(one.keys() & {"role", "from"} for one in found) else value


def _written(text: str) -> Any:
    try:
        found = loads(text.encode())
    except InvalidRecord:
        found = None
        if len(text) <= _MAX_PYTHON:
            try:
                found = ast.literal_eval(text.strip())
                found = plain({"": found})[0][""]
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, InvalidRecord):
                return None
    return found


def _message(value: object, at: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InvalidRecord(f"{at} is not a message")
    role = value.get("role", value.get("from"))
    if not isinstance(role, str) or not role.strip():
        raise InvalidRecord(f"{at} has no role")
    low = role.strip().lower()
    role = _ROLES.get(low, low if low in _KNOWN else role)
    call = next((value[name] for name in _CALLS if value.get(name)), None)
    if call is not None or role in _CALL_ROLES:
        raise InvalidRecord(f"{at} calls a tool{_tool(call)}, which is not text: tool calls can't be imported")
    key = next((name for name in ("content", "value", "text") if value.get(name) is not None), "content")
    text = _text(value.get(key), at)
    thoughts = next((value[k] for k in ("reasoning_content", "reasoning", "thinking") if value.get(k)), None)
    if isinstance(thoughts, str) and thoughts.strip():
        text = f"<think>\n{thoughts.strip()}\n</think>\n\n{text}"
    for name in ("images", "image", "audio", "video", "audios", "videos"):
        if value.get(name):
            raise InvalidRecord(f"{at} holds {name}, which is not text")
    return {"role": role, "content": text}


def _tool(call: object) -> str:
    one = call[0] if isinstance(call, list) and call else call
    function = one.get("function", one) if isinstance(one, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return f" ({name[:60]})" if isinstance(name, str) else ""


def _text(content: object, at: str) -> str:
    """Read a content: a text, or parts that are texts."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list) or not content:
        raise InvalidRecord(f"{at} has no text")
    texts = []
    for i, part in enumerate(content):
        if isinstance(part, str):
            texts.append(part)
            continue
        if not isinstance(part, dict):
            raise InvalidRecord(f"{at}.content[{i}] is not a part of a message")
        kind = part.get("type")
        key = "refusal" if kind == "refusal" else "text"
        if kind in (None, "text", "input_text", "output_text", "refusal") and isinstance(part.get(key), str):
            texts.append(part[key])
            continue
        raise InvalidRecord(f"{at}.content[{i}] is of type {str(kind or 'unknown')[:40]}, which is not text")
    return "".join(texts)


def answer_of(value: object, at: str) -> str:
    """Read an answer: text, one message, or a list of one message, the assistant's."""
    value = unpacked(value, at)
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return _message(value, at)["content"]
    if isinstance(value, list):
        messages = messages_of(value, at)
        if len(messages) != 1:
            raise InvalidRecord(f"{at} has {len(messages)} messages; an answer is one message")
        if messages[0]["role"] in ("system", "user"):
            raise InvalidRecord(f"{at} is a message of {messages[0]['role']}; an answer is the assistant's")
        return messages[0]["content"]
    raise InvalidRecord(f"{at} is not a string" if value is not None else f"{at} is missing")


def prompt_of(value: object, at: str = "prompt") -> str | Messages:
    """Read a prompt: text, one message, or messages."""
    value = unpacked(value, at)
    if isinstance(value, str):
        return value
    if value is None:
        raise InvalidRecord(f"{at} is missing")
    messages = messages_of([value] if isinstance(value, dict) else value, at)
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
    """Split two texts where they part; a space there belongs to the answers, as does the last character that the
    shorter text has: an answer is never empty because the other one goes on.

    Source: `extract_prompt` of TRL 1.16 (trl/data_utils.py), except for texts that differ at their first character.
    """
    n = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    if n is None:
        n = max(0, min(len(chosen), len(rejected)) - 1)
    elif n and chosen[n - 1] == " ":
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
