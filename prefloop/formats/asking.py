"""The question of a row: which columns make it, and how they become a prompt.

A question column (`prompt`, `instruction`, `question`, …) is what the user asks; `input` or `context` belongs to it;
`system` heads the conversation; `history` (pairs of texts, or messages) comes between the two. Whatever changes the
question is either read or the row is refused: definitions of tools, which only a template could render, are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prefloop.formats.messages import Messages, messages_of, prompt_of, unpacked
from prefloop.formats.rows import Row
from prefloop.records import InvalidRecord
from prefloop.records.values import loads

QUESTIONS = (
    "prompt", "instruction", "question", "query", "input", "problem", "user_prompt", "user_message", "user_input",
    "user_query", "human", "request",
)  # fmt: skip
WEAK_QUESTIONS = ("context", "conversation", "conversations", "dialogue", "post", "task", "text", "messages")
EXTRAS = ("input", "context")
SYSTEMS = ("system", "system_prompt", "system_message", "system_instruction")
HISTORIES = ("history", "chat_history", "conversation_history")
TOOLS = ("tools", "functions")
BETWEEN = "\n\n"  # an instruction and its input, as in the templates that Alpaca's readers use


@dataclass(frozen=True, slots=True)
class Asked:
    """The columns that hold the question; an empty name means that there is none."""

    question: str = ""
    extra: str = ""
    system: str = ""
    history: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in (self.question, self.extra, self.system, self.history) if name)


def asked_in(names: Iterable[str], *, weak: bool = True) -> Asked:
    """Find the columns that make the question, by their names."""
    by_name = {str(name).strip().lower(): str(name) for name in names}

    def find(known: Iterable[str], *but: str) -> str:
        return next((by_name[name] for name in known if name in by_name and by_name[name] not in but), "")

    question = find((*QUESTIONS, *WEAK_QUESTIONS) if weak else QUESTIONS)
    extra = find(EXTRAS, question) if question else ""
    return Asked(question, extra, find(SYSTEMS, question), find(HISTORIES, question))


def prompt_in(row: Row, asked: Asked) -> str | Messages:
    """Make the prompt of a row. Raises InvalidRecord naming the column at fault."""
    prompt = prompt_of(row.get(asked.question), asked.question or "prompt")
    return prompt_around(_with_extra(prompt, row, asked), row, asked)


def prompt_around(prompt: str | Messages, row: Row, asked: Asked) -> str | Messages:
    """Put a row's system turn and earlier turns before a prompt; a text without any stays a text."""
    refuse_tools(row)
    before = _turns(row.get(asked.history), asked.history) if asked.history else []
    system = row.get(asked.system) if asked.system else None
    if system is not None and not isinstance(system, str):
        raise InvalidRecord(f"{asked.system} is not a text")
    head: Messages = [{"role": "system", "content": system}] if system and system.strip() else []
    if not head and not before:
        return prompt
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    first = (before or turns)[0]
    if head and first["role"] == "system":
        if first["content"].strip() != head[0]["content"].strip():
            raise InvalidRecord(f"{asked.system} and the prompt begin with two different system turns")
        head = []
    return [*head, *before, *turns]


def refuse_tools(row: Row) -> None:
    """Raises InvalidRecord if a row defines tools: they belong to the question but are not text."""
    for name in TOOLS:
        value = row.get(name)
        if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
            try:
                value = loads(value.encode())
            except InvalidRecord:
                continue
        if isinstance(value, dict):
            value = [value] if value else []
        if isinstance(value, list) and any(isinstance(one, dict) for one in value):
            raise InvalidRecord(f"{name} defines tools, which can't be imported")


def _with_extra(prompt: str | Messages, row: Row, asked: Asked) -> str | Messages:
    extra = row.get(asked.extra) if asked.extra else None
    if isinstance(extra, list) and all(isinstance(one, str) for one in extra):
        extra = BETWEEN.join(extra)
    if extra is None or (isinstance(extra, str) and not extra.strip()) or extra in ([], {}):
        return prompt
    if not isinstance(extra, str):
        raise InvalidRecord(f"{asked.extra} stands beside {asked.question} and is neither text nor a list of texts")
    held = [prompt] if isinstance(prompt, str) else [turn["content"] for turn in prompt]
    if any(extra.strip() in text for text in held):
        return prompt
    if not isinstance(prompt, str):
        raise InvalidRecord(
            f"{asked.extra} is given together with messages in {asked.question}: it is unclear where it belongs"
        )
    return f"{prompt}{BETWEEN}{extra}" if prompt.strip() else extra


def _turns(value: Any, at: str) -> Messages:
    """Earlier turns: messages, or pairs of question and answer."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = unpacked(value, at)
        value = loads(value.encode()) if isinstance(value, str) else value
    if value in (None, "", []):
        return []
    pairs = value if isinstance(value, list) else [value]
    if all(isinstance(p, list) and len(p) == 2 and all(isinstance(t, str) for t in p) for p in pairs):
        return [
            {"role": role, "content": text} for p in pairs for role, text in zip(("user", "assistant"), p, strict=True)
        ]
    return messages_of(value, at)
