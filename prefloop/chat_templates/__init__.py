"""Chat templates: render conversations with a model's own template.

A template is a program that came with somebody's model. It runs in a separate process with limits on memory, time and
output (`prefloop.confined`), which stays for the next conversations. How a template treats a form of conversation
(which roles follow one another, who calls tools) is found once, with conversations of stand-in words: whether it drops
a turn, where the answer begins, what ends it.
"""

from __future__ import annotations

import copy
import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefloop.chat_templates.child import UnreadableTemplate, render_all
from prefloop.confined import Helper, Limits
from prefloop.thoughts import MARKS, after_thoughts, opened_in
from prefloop.types import BadData

__all__ = ["ChatTemplate", "Form", "Message", "RefusedConversation", "UnreadableTemplate", "plain_message"]

Message = dict[str, Any]
Asked = tuple[list[Message], bool]  # the messages, and whether the header of the next answer shall follow

LIMITS = Limits(memory_mb=256, cpu_seconds=5, wait_seconds=60.0, output_bytes=1 << 26, value_bytes=1 << 26)
_AT_ONCE = 256  # conversations of one request; the limits hold for all of them together
_CHARS_AT_ONCE = 1 << 21
_STAND_IN = "qzx{}qzx"  # a word that no template writes by itself
_ANSWER = _STAND_IN.format("answer")
_REASONING = ("reasoning_content", "thinking", "reasoning")  # names that templates know the thoughts of a message by


class RefusedConversation(BadData):
    """The template refuses this conversation, or drops a part of it."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a template treats conversations of one form, for the answer that follows them.

    `lead` is what it writes between prompt and answer, `opening` what only its generation prompt has there (the
    beginning of thoughts), `tail` what it writes after the answer.
    """

    generation: bool  # the prompt is what it renders with its generation prompt; else it is cut from the whole
    lead: str = ""
    opening: str = ""
    tail: str = ""


@dataclass
class ChatTemplate:
    """A template's text with the tokenizer's special tokens, which the template may use."""

    text: str
    tokens: Mapping[str, Any] = field(default_factory=dict)
    _forms: dict[str, Form | str] = field(default_factory=dict, repr=False)

    def render(self, asked: Sequence[Asked]) -> list[str]:
        """Render all. Raises RefusedConversation (with `index`), UnreadableTemplate, LimitExceeded."""
        texts = []
        for index, (taken, text) in enumerate(self.try_all(asked)):
            if not taken:
                raise RefusedConversation(f"the chat template refuses this conversation: {text}", index=index)
            texts.append(text)
        return texts

    def try_all(self, asked: Sequence[Asked]) -> list[tuple[bool, str]]:
        """Render all, as (True, text) or (False, the template's reason). Raises UnreadableTemplate, LimitExceeded."""
        found: list[tuple[bool, str]] = []
        part: list[Asked] = []
        n_chars = 0
        for one in asked:
            part.append(one)
            n_chars += sum(len(str(message.get("content", ""))) for message in one[0])
            if len(part) == _AT_ONCE or n_chars > _CHARS_AT_ONCE:
                found += _ask(self.text, self.tokens, part)
                part, n_chars = [], 0
        return found + (_ask(self.text, self.tokens, part) if part else [])

    def form(self, messages: Sequence[Message]) -> Form:
        """Find how conversations like this one are rendered. Raises RefusedConversation if a part would be lost."""
        key = json.dumps([_outline(message) for message in messages])
        if key not in self._forms:
            self._forms[key] = self._find(messages)
        found = self._forms[key]
        if isinstance(found, str):
            raise RefusedConversation(found)
        return found

    def _find(self, messages: Sequence[Message]) -> Form | str:
        stand_ins, words = _with_stand_ins(messages)
        answered = [*stand_ins, {"role": "assistant", "content": _ANSWER}]
        tried = self.try_all([(stand_ins, True), (stand_ins, False), (answered, False)])
        for taken, reason in tried:
            if not taken:
                return f"the chat template refuses this conversation: {reason}"
        prompt, history, whole = (text for _, text in tried)
        told = prompt.lower()
        for what, word in words:
            if word not in told:
                return f"the chat template drops {what}: move it to another turn, or use a template that accepts it"
        at = _answer_place(whole)
        if at < 0:
            return "the chat template drops the assistant's answer"
        header, tail = whole[:at], whole[at + len(_ANSWER) :]
        if prompt != history and header.startswith(prompt):
            return Form(generation=True, lead=header[len(prompt) :], tail=tail)
        if prompt != history and prompt.startswith(header) and _has_marks(prompt[len(header) :]):
            return Form(generation=True, opening=prompt[len(header) :], tail=tail)
        # no generation prompt, or one that the template's own turns don't begin with
        begin = header.rstrip(" ")  # a space goes with the answer's first word, as models write it
        return Form(generation=False, lead=header[len(begin) :], tail=tail)


def prompt_request(form: Form, messages: list[Message]) -> Asked:
    """Return what must be rendered to get the text of a prompt with `prompt_text`."""
    return (messages, True) if form.generation else ([*messages, {"role": "assistant", "content": _ANSWER}], False)


def prompt_text(form: Form, rendered: str) -> str:
    """Return the text after which a model answers, from the rendered `prompt_request`."""
    if form.generation:
        return rendered
    return rendered[: _answer_place(rendered)].rstrip(" ")


def answer_text(form: Form, *, prompt: str, whole: str, answer: str) -> str:
    """Return the answer as the template writes it after `prompt`, without its end; `whole` is the text with the answer.

    The answer's own thoughts are kept if the template would drop them, and opened only once if the template opens them
    itself. If the prompt has opened thoughts and the answer has none, it gets empty ones, so that it follows exactly
    the prompt that is sampled from. Raises RefusedConversation.
    """
    header = prompt.removesuffix(form.opening)
    if not whole.startswith(header) or not whole.endswith(form.tail):
        if not answer.strip():  # some templates leave out a turn that says nothing
            return form.lead + _after_opening(form, answer)
        raise RefusedConversation("the chat template does not write the answer directly after its prompt")
    end = len(whole) - len(form.tail)
    if form.opening and whole.startswith(prompt):
        return whole[len(prompt) : end]
    body = whole[len(header) : end]
    if not _held(answer, body):
        visible = after_thoughts(answer)
        if visible is not None and visible != answer and _held(visible, body):
            body = answer  # all but its thoughts was there
    return _after_opening(form, body) if form.opening else body


def _after_opening(form: Form, body: str) -> str:
    """Continue `body` after the thoughts that the prompt has opened: with its own thoughts, or by closing them."""
    marks = opened_in(form.opening)
    if marks is None:
        return body
    opens, closes = marks
    rest = body.lstrip()
    if rest.startswith(opens):
        rest = rest[len(opens) :]
        space = form.opening[form.opening.rindex(opens) + len(opens) :]
        return rest.removeprefix(space)
    return body if closes in body else f"\n{closes}\n\n{body}"


def plain_message(message: Mapping[str, Any]) -> Message:
    """Return a message as templates expect it: no None values, arguments of tool calls as objects, thoughts by name."""
    plain = {key: copy.deepcopy(value) for key, value in message.items() if value is not None}
    for call in plain.get("tool_calls") or ():
        function = call.get("function", call) if isinstance(call, dict) else {}
        if isinstance(function.get("arguments"), str):
            try:
                function["arguments"] = json.loads(function["arguments"])
            except ValueError:
                continue  # no JSON: the template gets the text
    thoughts = next((plain[key] for key in _REASONING if key in plain), None)
    if thoughts is not None:
        plain = {"thinking": thoughts, **plain, "reasoning_content": thoughts}
    if plain.get("tool_calls"):
        plain.setdefault("content", "")
    return plain


def _answer_place(text: str) -> int:
    found = [match.start() for match in re.finditer(_ANSWER, text, re.IGNORECASE)]
    return found[-1] if found else -1


def _has_marks(text: str) -> bool:
    return any(mark in text for pair in MARKS for mark in pair)


def _held(text: str, within: str) -> bool:
    """Whether `text` occurs in `within`, ignoring white space."""
    return "".join(text.split()) in "".join(within.split())


def _outline(message: Message) -> list[Any]:
    calls = message.get("tool_calls") or []
    return [
        message.get("role"),
        bool(message.get("content")),
        sorted(key for key, value in message.items() if value),
        [sorted(call.get("function", call)) if isinstance(call, dict) else "" for call in calls],
    ]


def _with_stand_ins(messages: Sequence[Message]) -> tuple[list[Message], list[tuple[str, str]]]:
    """Return the messages with each text replaced by a unique word, and (what it is, the word) for each."""
    out, words = [], []
    for number, message in enumerate(copy.deepcopy(list(messages))):
        if message.get("content"):
            message["content"] = _STAND_IN.format(number)
            words.append((f"the {message['role']} turn", message["content"]))
        for at, call in enumerate(message.get("tool_calls") or ()):
            function = call.get("function", call) if isinstance(call, dict) else {}
            name, value = _STAND_IN.format(f"{number}n{at}"), _STAND_IN.format(f"{number}v{at}")
            if function.get("name"):
                function["name"] = name
                words.append(("a tool call", name))
            if function.get("arguments"):
                function["arguments"] = {"value": value} if isinstance(function["arguments"], dict) else value
                words.append(("a tool call's arguments", value))
        out.append(message)
    return out, words


_lock = threading.Lock()
_helper: tuple[int, Helper] | None = None


def _ask(text: str, tokens: Mapping[str, Any], part: list[Asked]) -> list[tuple[bool, str]]:
    global _helper
    with _lock:
        if _helper is None or _helper[0] != os.getpid():  # after a fork the pipes are the other process's
            _helper = os.getpid(), Helper(render_all, limits=LIMITS, what="the model's chat template")
        return [(bool(taken), str(said)) for taken, said in _helper[1].ask(text, dict(tokens), part)]
