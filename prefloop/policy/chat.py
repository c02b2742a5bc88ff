"""Conversations to token ids, as the tokenizer's own chat template writes them.

What is unusual here:
1. A row's text is what the template renders for the whole conversation: the prompt is the part after which the model
   answers, the answer is what follows, up to the token that ends the turn. That token is the template's own
   (`<end_of_turn>`), and the tokenizer's EOS only where the template ends a turn with no token.
2. The prompt is tokenised as for sampling, and the answer as what can follow those very tokens: where the whole text
   would merge a token across the border, the answer's tokens begin at the border all the same.
3. What a user wrote is text, whatever it looks like: special tokens spelled out are hidden from the template and
   encoded as their letters. The marks of an assistant's thoughts are tokens, as when a model writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from prefloop.chat_templates import (
    ChatTemplate,
    Form,
    Message,
    RefusedConversation,
    answer_text,
    plain_message,
    prompt_request,
    prompt_text,
)
from prefloop.thoughts import MARKS
from prefloop.types import BadData

_THOUGHT_MARKS = frozenset(mark for pair in MARKS for mark in pair)
_TEXTS_AT_ONCE = 1024
_ANCHORS = ("\n", "a", ".", "0")  # what an answer is tokenised after where it would merge with its prompt's last token


class UnusablePrompt(BadData):
    """The prompt cannot be encoded."""


@dataclass(slots=True)
class _Row:
    """One conversation on its way: its messages with special tokens hidden, and what was hidden."""

    messages: list[Message]
    answers: list[str]
    mark: str
    found: list[str] = field(default_factory=list)
    prompt: str = ""  # as rendered
    texts: list[str] = field(default_factory=list)  # the answers as rendered


class Chat:
    """A tokenizer with a chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.source = source_of(tokenizer)
        try:
            text = tokenizer.get_chat_template()
        except ValueError as error:
            raise UnusablePrompt(f"the tokenizer names no chat template to use: {error}") from None
        self._template = ChatTemplate(text, {key: _plain(value) for key, value in tokenizer.special_tokens_map.items()})
        specials = special_strings(tokenizer)
        self._hidden = _any_of(specials)
        self._hidden_of_assistant = _any_of(specials - _THOUGHT_MARKS)
        added = getattr(tokenizer, "added_tokens_decoder", {})
        names = {token.content for token in added.values()} | specials
        self._control = _any_of({name for name in names if name.strip()})
        self._special_ids = frozenset(
            {int(token) for token in tokenizer.all_special_ids}
            | {int(id_) for id_, token in added.items() if token.special}
        )
        self._ends: dict[str, tuple[str, int | None]] = {}
        self._contexts: dict[str, list[int]] = {}  # ids of what stands before answers
        self._known: dict[str, list[int]] = {}  # ids of the texts of the rows that are being encoded

    # what a tokenizer's answers look like, whatever the prompt

    def usual_form(self) -> Form | None:
        """The form of a lone user turn; None where the template refuses one."""
        try:
            return self._template.form([{"role": "user", "content": "-"}])
        except RefusedConversation:
            return None

    def end_id(self, form: Form | None = None) -> int | None:
        """The token that ends an answer."""
        form = form or self.usual_form()
        return self._end(form.tail if form is not None else "")[1]

    def with_end(self, ids: Sequence[int], form: Form | None = None) -> tuple[int, ...]:
        """Give sampled ids the same end token: another special token at their end (a second EOS) is replaced by the
        template's own.
        """
        end = self.end_id(form)
        if ids and end is not None and ids[-1] != end and ids[-1] in self._special_ids:
            return (*ids[:-1], end)
        return tuple(ids)

    def without_frame(self, text: str) -> str:
        """Return what a model wrote without the template's own text around an answer."""
        form = self.usual_form()
        if form is None:
            return text
        before = self._end(form.tail)[0]
        if form.lead and text.startswith(form.lead):
            text = text[len(form.lead) :]
        return text.removesuffix(before) if before else text

    # encoding

    def encode(
        self, rows: Sequence[tuple[Sequence[Message], Sequence[str]]]
    ) -> list[tuple[tuple[int, ...], list[tuple[int, ...]], Form]]:
        """Encode conversations, each (messages, possible answers), to (prompt ids, ids of each answer, form).

        Raises BadData with the `index` of the row, UnreadableTemplate, LimitExceeded.
        """
        ready, forms, asked, owners = [], [], [], []
        for index, (messages, answers) in enumerate(rows):
            row = self._hide([plain_message(message) for message in messages], answers)
            try:
                form = self._template.form(row.messages)
            except BadData as error:
                raise type(error)(str(error), index=index) from None
            ready.append(row)
            forms.append(form)
            asked.append(prompt_request(form, row.messages))
            for answer in row.answers:
                asked.append(([*row.messages, {"role": "assistant", "content": answer}], False))
            owners += [index] * (1 + len(row.answers))
        try:
            rendered = iter(self._template.render(asked))
        except RefusedConversation as error:
            raise RefusedConversation(str(error), index=owners[error.index]) from None
        for index, (row, form) in enumerate(zip(ready, forms, strict=True)):
            row.prompt = prompt_text(form, next(rendered))
            try:
                row.texts = [
                    answer_text(form, prompt=row.prompt, whole=next(rendered), answer=answer)
                    + self._end_of(form.tail)[0]
                    for answer in row.answers
                ]
            except BadData as error:
                raise type(error)(str(error), index=index) from None
        self._tokenise(ready)
        out = []
        for row, form in zip(ready, forms, strict=True):
            end = self._end_of(form.tail)[1]
            completions = [(*self._answer_ids(row, text), end) for text in row.texts]
            out.append((tuple(self._pieces(row, row.prompt)), completions, form))
        self._known.clear()
        return out

    def _hide(self, messages: list[Message], answers: Sequence[str]) -> _Row:
        mark = "\ue000"
        everything = json.dumps([messages, list(answers)], ensure_ascii=False, default=str)
        while mark in everything:  # a private-use character that the texts do not use
            mark = chr(ord(mark) + 1)
        row = _Row([], [], mark)
        row.messages = [self._hide_in(row, message, str(message.get("role"))) for message in messages]
        row.answers = [self._hide_in(row, answer, "assistant") for answer in answers]
        return row

    def _hide_in(self, row: _Row, value: Any, role: str) -> Any:
        if isinstance(value, dict):
            return {key: inner if key == "role" else self._hide_in(row, inner, role) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._hide_in(row, inner, role) for inner in value]
        pattern = self._hidden_of_assistant if role == "assistant" else self._hidden
        if not isinstance(value, str) or pattern is None:
            return value

        def hide(match: re.Match[str]) -> str:
            row.found.append(match.group())
            return f"{row.mark}{len(row.found) - 1}{row.mark}"

        return pattern.sub(hide, value)

    def _pieces(self, row: _Row, text: str) -> list[int]:
        """Tokenise a rendered text: hidden text as letters, the rest with the template's own special tokens."""
        ids: list[int] = []
        for index, piece in enumerate(text.split(row.mark)):
            if index % 2:
                ids += encode_text(self._tokenizer, row.found[int(piece)])
            elif piece:
                ids += self._ids(piece)
        return ids

    def _answer_ids(self, row: _Row, text: str) -> list[int]:
        first, mark, rest = text.partition(row.mark)
        ids = self._continued(self._before(row), first) if first else []
        return ids + self._pieces(row, mark + rest)

    def _before(self, row: _Row) -> str:
        """The part of the prompt that can affect the tokenisation of the text after it."""
        before = row.prompt.rpartition(row.mark)[2]
        if self._control is None:
            return before
        found = [match.start() for match in self._control.finditer(before)]
        return before[found[-1] :] if found else before  # what stands before a control token changes nothing after it

    def _continued(self, before: str, text: str) -> list[int]:
        """Tokenise `text` as a continuation of the tokens of `before`, without merging with them."""
        for anchor in (before, *_ANCHORS):
            if anchor not in self._contexts:
                if len(self._contexts) == _TEXTS_AT_ONCE:
                    self._contexts.clear()
                self._contexts[anchor] = self._ids(anchor) if anchor else []
            context = self._contexts[anchor]
            joint = self._ids(anchor + text)
            if joint[: len(context)] == context:
                return joint[len(context) :]
        return self._ids(text)

    def _tokenise(self, rows: Sequence[_Row]) -> None:
        """Tokenise everything that these rows need, many texts at a time, which is several times as fast as one by
        one.
        """
        wanted: dict[str, None] = {}
        for row in rows:
            wanted |= dict.fromkeys(row.prompt.split(row.mark)[::2])
            before = self._before(row)
            wanted |= dict.fromkeys(before + text.partition(row.mark)[0] for text in row.texts)
        texts = [text for text in wanted if text]
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            part = texts[start : start + _TEXTS_AT_ONCE]
            self._known |= zip(part, self._tokenizer(part, add_special_tokens=False)["input_ids"], strict=True)

    def _ids(self, text: str) -> list[int]:
        known = self._known.get(text)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"] if known is None else known)

    def _end(self, tail: str) -> tuple[str, int | None]:
        """What the template writes between an answer and its end, and the token that ends it."""
        if tail not in self._ends:
            found = self._control.search(tail) if self._control is not None else None
            if found is not None:
                end = self._tokenizer.convert_tokens_to_ids(found.group())
                self._ends[tail] = tail[: found.start()], int(end)
            else:
                eos = self._tokenizer.eos_token_id
                self._ends[tail] = "", None if eos is None else int(eos)
        return self._ends[tail]

    def _end_of(self, tail: str) -> tuple[str, int]:
        before, end = self._end(tail)
        if end is None:
            raise UnusablePrompt("neither the chat template nor the tokenizer has a token that ends an answer")
        return before, end


def source_of(tokenizer: Any) -> tuple[Any, ...]:
    """What a `Chat` is made from: if this changes, a new one is needed."""
    template = tokenizer.chat_template
    return (repr(template) if isinstance(template, dict) else template, len(tokenizer), tokenizer.eos_token)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Token ids of plain text: a special token spelled out in it is encoded as letters."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def special_strings(tokenizer: Any) -> set[str]:
    """The special tokens of a tokenizer, as text."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return {token for token in tokenizer.all_special_tokens if token} | {
        token.content for token in added.values() if token.special and token.content
    }


def _any_of(strings: set[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(re.escape(one) for one in sorted(strings, key=len, reverse=True))) if strings else None


def _plain(value: Any) -> Any:
    return [str(one) for one in value] if isinstance(value, list | tuple) else str(value)
