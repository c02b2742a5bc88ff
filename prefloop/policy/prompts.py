"""Prompts and completions to token ids.

With a chat template a row is the whole conversation as the template writes it (`policy/chat.py`); without one it is the
text itself. User text is always plain text: a special token spelled out in it is encoded as letters, never as the
control token.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefloop.answers import storable
from prefloop.policy.chat import Chat, UnusablePrompt, encode_text, source_of
from prefloop.types import BadData

Message = dict[str, Any]
Prompt = str | Sequence[Message]

__all__ = [
    "Answered",
    "UnusablePrompt",
    "decode_completion",
    "encode_completion",
    "encode_named",
    "encode_prompt",
    "encode_prompts",
    "encode_rows",
    "end_ids",
]


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt with answers to it. `ids`: for each answer sampled with this tokenizer, else empty.

    `cut`: for each answer without ids whether it stopped before it ended, so that no end follows; empty: none did.
    """

    prompt: Prompt
    answers: tuple[str, ...] = ()
    ids: tuple[tuple[int, ...], ...] = ()
    cut: tuple[bool, ...] = ()


def encode_rows(tokenizer: Any, rows: Sequence[Answered]) -> list[tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]]:
    """Encode prompts, ready for an answer to follow, with the answers and the token that ends them.

    Sampled answers keep their ids, except for the end token, which is the same for all. Raises BadData with the `index`
    of the row that can't be encoded.
    """
    messages = [_messages(row.prompt, index) for index, row in enumerate(rows)]
    if not tokenizer.chat_template:
        return [_plain_row(tokenizer, *one, index) for index, one in enumerate(zip(messages, rows, strict=True))]
    chat = _chat_of(tokenizer)
    wanted = [[text for text, ids, _ in _answers(row) if not ids] for row in rows]
    out = []
    for row, (prompt, made, form) in zip(rows, chat.encode(list(zip(messages, wanted, strict=True))), strict=True):
        new = iter(made)
        end = chat.end_id(form)
        completions = tuple(
            chat.with_end(ids, form) if ids else _as_stopped(next(new), end, cut=cut) for _, ids, cut in _answers(row)
        )
        out.append((_never_empty(tokenizer, prompt), completions))
    return out


def encode_prompts(tokenizer: Any, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
    """Encode prompts as `encode_rows` does. Raises BadData with the `index` of the prompt that can't be encoded."""
    return [prompt for prompt, _ in encode_rows(tokenizer, [Answered(prompt) for prompt in prompts])]


def encode_named(tokenizer: Any, prompts: Sequence[tuple[str, Prompt]]) -> dict[str, tuple[int, ...]]:
    """Encode prompts by their names. Raises BadData that names the prompt."""
    try:
        return dict(
            zip([name for name, _ in prompts], encode_prompts(tokenizer, [one for _, one in prompts]), strict=True)
        )
    except BadData as error:
        raise type(error)(f"prompt {prompts[error.index][0]!r}: {error}", index=error.index) from error


def encode_prompt(tokenizer: Any, prompt: Prompt) -> tuple[int, ...]:
    """Encode a text or a list of messages, ready for an answer to follow; never empty.

    With a chat template a text becomes one user message; without one the text itself is encoded (messages joined by
    blank lines), after BOS where the tokenizer puts one.
    """
    return encode_prompts(tokenizer, [prompt])[0]


def encode_completion(tokenizer: Any, text: str, prompt: Prompt = "-") -> tuple[int, ...]:
    """Encode an answer to `prompt`, the token that ends it included."""
    return encode_rows(tokenizer, [Answered(prompt, (text,))])[0][1][0]


def decode_completion(tokenizer: Any, ids: Sequence[int]) -> str:
    """Turn sampled ids into text, without control tokens and what the chat template writes around an answer."""
    text = str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return storable(_chat_of(tokenizer).without_frame(text) if tokenizer.chat_template else text)


def end_ids(tokenizer: Any) -> tuple[int, ...]:
    """The token that ends an answer by the chat template; none without a template."""
    end = _chat_of(tokenizer).end_id() if tokenizer.chat_template else None
    return () if end is None else (end,)


def _messages(prompt: Prompt, index: int) -> list[Message]:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(m) for m in prompt]
    if not messages or not all(map(_is_message, messages)):
        raise UnusablePrompt("a prompt is a text or a list of messages with a role and a text as content", index=index)
    return messages


def _is_message(message: Message) -> bool:
    content = message.get("content")
    return isinstance(message.get("role"), str) and (
        isinstance(content, str) or (content is None and bool(message.get("tool_calls")))
    )


def _answers(row: Answered) -> list[tuple[str, tuple[int, ...], bool]]:
    n = len(row.answers)
    return list(zip(row.answers, row.ids or ((),) * n, row.cut or (False,) * n, strict=True))


def _as_stopped(ids: tuple[int, ...], end: int | None, *, cut: bool) -> tuple[int, ...]:
    """Take the end token from an answer that was cut before it ended, unless nothing else would be left."""
    return ids[:-1] if cut and len(ids) > 1 and ids[-1] == end else ids


def _plain_row(
    tokenizer: Any, messages: list[Message], row: Answered, index: int
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    if any(message.get("tool_calls") for message in messages):
        raise UnusablePrompt("its turns call tools, and the tokenizer has no chat template to write that", index=index)
    end = tokenizer.eos_token_id
    if end is None and row.answers:
        raise UnusablePrompt("the tokenizer has no EOS token, so an answer has no end", index=index)
    prompt = _prefix(tokenizer) + encode_text(tokenizer, "\n\n".join(m["content"] for m in messages))
    completions = tuple(
        tuple(ids) or _as_stopped((*encode_text(tokenizer, text), int(end)), int(end), cut=cut)
        for text, ids, cut in _answers(row)
    )
    return _never_empty(tokenizer, prompt), completions


def _never_empty(tokenizer: Any, ids: Sequence[int]) -> tuple[int, ...]:
    if ids:
        return tuple(ids)
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:  # something must predict the first token
        raise UnusablePrompt("the prompt is empty and the tokenizer has no token to start from")
    return (int(start),)


def _prefix(tokenizer: Any) -> list[int]:
    """The BOS that this tokenizer puts before a text, if any."""
    bos = tokenizer.bos_token_id
    added = list(tokenizer("", add_special_tokens=True)["input_ids"])
    return [int(bos)] if bos is not None and added[:1] == [bos] else []


_chats: weakref.WeakKeyDictionary[Any, Chat] = weakref.WeakKeyDictionary()


def _chat_of(tokenizer: Any) -> Chat:
    chat = _chats.get(tokenizer)
    if chat is None or chat.source != source_of(tokenizer):
        chat = _chats[tokenizer] = Chat(tokenizer)
    return chat
