"""Prompts and completions to token ids.

What a user wrote is text, whatever it looks like: a special token spelled out in it is encoded as its letters, never
as the control token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from prefloop.types import PrefloopError

Message = dict[str, Any]


class UnusablePrompt(PrefloopError):
    """The prompt cannot be encoded."""


def encode_prompt(tokenizer: Any, prompt: str | Sequence[Message]) -> tuple[int, ...]:
    """Encode a text or a list of messages, ready for an answer to follow; never empty.

    With a chat template a text becomes one user message and the generation prompt is added; without one the text
    itself is encoded (messages joined by blank lines), after BOS where the tokenizer puts one.
    """
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(m) for m in prompt]
    if not messages or any(not isinstance(m.get("content"), str) or "role" not in m for m in messages):
        raise UnusablePrompt("a prompt is a text or a list of messages with a role and a text as content")
    if tokenizer.chat_template:
        ids = _encode_chat(tokenizer, messages)
    else:
        ids = _prefix(tokenizer) + _encode_text(tokenizer, "\n\n".join(m["content"] for m in messages))
    if not ids:  # something must predict the first token
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None:
            raise UnusablePrompt("the prompt is empty and the tokenizer has no token to start from")
        ids = [int(start)]
    return tuple(ids)


def encode_completion(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Encode an answer, EOS included."""
    if tokenizer.eos_token_id is None:
        raise UnusablePrompt("the tokenizer has no EOS token, so an answer has no end")
    return (*_encode_text(tokenizer, text), int(tokenizer.eos_token_id))


def decode_completion(tokenizer: Any, ids: Sequence[int]) -> str:
    """Turn sampled ids into text, control tokens left out."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _encode_text(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def _prefix(tokenizer: Any) -> list[int]:
    """The BOS that this tokenizer puts before a text, if it does."""
    bos = tokenizer.bos_token_id
    added = list(tokenizer("", add_special_tokens=True)["input_ids"])
    return [int(bos)] if bos is not None and added[:1] == [bos] else []


def _encode_chat(tokenizer: Any, messages: list[Message]) -> list[int]:
    specials = sorted(_special_strings(tokenizer), key=len, reverse=True)
    found: list[str] = []
    pattern = re.compile("|".join(re.escape(special) for special in specials)) if specials else None

    def hide(match: re.Match[str]) -> str:
        found.append(match.group())
        return f"{mark}{len(found) - 1}{mark}"

    contents = "".join(str(m["content"]) for m in messages)
    mark = "\ue000"
    while mark in contents:  # a private-use character that the text does not use
        mark = chr(ord(mark) + 1)
    if pattern is not None:
        messages = [{**m, "content": pattern.sub(hide, m["content"])} for m in messages]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    if not found:
        return list(tokenizer(rendered, add_special_tokens=False)["input_ids"])
    ids: list[int] = []
    for index, piece in enumerate(rendered.split(mark)):
        if index % 2:
            ids += _encode_text(tokenizer, found[int(piece)])
        elif piece:
            ids += tokenizer(piece, add_special_tokens=False)["input_ids"]
    return ids


def _special_strings(tokenizer: Any) -> set[str]:
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {token for token in tokenizer.all_special_tokens if token} | {
        token.content for token in added.values() if token.special and token.content
    }
