"""Judges that ask a language model: of pairs, and of single answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from prefloop.judging.asking import Question
from prefloop.judging.by_scores import ScoredAnswer
from prefloop.judging.errors import JudgeAnswerTooLong, JudgeBadAnswer, JudgeError, JudgeRejectedItem
from prefloop.judging.examples import Example, can_show, orders_of, reply_of
from prefloop.judging.metering import Most, tokens_at_most
from prefloop.judging.modes import BY_LOGPROB, MODES, SCORE_MODES, VERDICT_MODES, JudgeMode, VerdictMode
from prefloop.judging.parse import VERDICT_SCHEMA, ParsedScore, parse_reply, parse_score
from prefloop.judging.render import (
    Message,
    Template,
    TemplateError,
    new_delimiter,
    render,
    render_score,
    suspicions,
    template_from_text,
)
from prefloop.judging.replies import ChatReply
from prefloop.judging.spec import JudgeSpec
from prefloop.judging.verdicts import as_shown, labelled
from prefloop.types import LabelledVerdict

MOST_TROUBLES_IN_A_ROW = 5
TOP_LOGPROBS = 20
TEXT_TOKENS = 1024
_VERDICT_FORM = {
    "type": "json_schema",
    "json_schema": {"name": "verdict", "strict": True, "schema": VERDICT_SCHEMA},
}
NO_SCHEMA = "no-schema"  # flag: the endpoint holds no reply to a JSON schema, so only the template asked for the form


class Endpoint(Protocol):
    """Anything that answers messages: a server (`client.ChatEndpoint`), or a policy of ours."""

    def chat(
        self,
        messages: Sequence[Message],
        *,
        temperature: float = 0.0,
        max_tokens: int = 1024,
        seed: int | None = None,
        logprobs: bool = False,
        top_logprobs: int = 0,
        response_format: Mapping[str, Any] | None = None,
    ) -> ChatReply:
        """Ask for one reply. Raises JudgeError."""
        ...


class _LlmJudge:
    """The shared part of judges that ask a language model: the request, and whose error a failure is.

    `seed` fixes the fences' codes and, with `sample`, is sent to the endpoint; None draws new codes for every request.
    `json_schema` False: the endpoint is known not to hold a reply to a schema; one that refuses it is asked without
    afterwards. Either way the verdict says so by the flag NO_SCHEMA. Safe to share among threads.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        template: Template,
        criterion: str,
        mode: JudgeMode | None = None,
        temperature: float = 0.0,
        *,
        max_tokens: int = TEXT_TOKENS,
        seed: int | None = 0,
        json_schema: bool = True,
    ) -> None:
        if mode is not None and mode != template.mode:
            raise TemplateError(f"template {template.name} asks for a {template.mode} verdict, not a {mode} one")
        self._endpoint = endpoint
        self._template = template
        self._criterion = criterion
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._seed = seed
        self._by_logprob = template.mode in BY_LOGPROB
        self._by_schema = template.mode == "json" and json_schema
        self._lock = threading.Lock()
        self._answered_once = False
        self._troubles_in_a_row = 0

    def _ask(self, messages: Sequence[Message], sample: int) -> ChatReply:
        by_schema = self._by_schema
        try:
            return self._ask_once(messages, sample, by_schema=by_schema)
        except JudgeRejectedItem:
            if not by_schema:
                raise
        reply = self._ask_once(messages, sample, by_schema=False)
        self._by_schema = False  # the same request was taken without: it was the schema that was refused
        return reply

    def _most(self, messages: Sequence[Message]) -> Most:
        form = [json.dumps(_VERDICT_FORM)] if self._by_schema else []
        prompt = tokens_at_most(*(message["content"] for message in messages), *form)
        return Most(prompt, 1 if self._by_logprob else self._max_tokens)

    def _ask_once(self, messages: Sequence[Message], sample: int, *, by_schema: bool) -> ChatReply:
        by_logprob = self._by_logprob
        reply = self._endpoint.chat(
            messages,
            temperature=self._temperature,
            max_tokens=1 if by_logprob else self._max_tokens,
            seed=None if self._seed is None else self._seed + sample,
            logprobs=by_logprob,
            top_logprobs=TOP_LOGPROBS if by_logprob else 0,
            response_format=_VERDICT_FORM if by_schema else None,
        )
        self._note_answer()
        return reply

    def _failed(self, error: JudgeError, flags: tuple[str, ...]) -> LabelledVerdict:
        """Handle a request without a reply: the item's `error`, or raised if it is the endpoint's.

        An endpoint that has not given one proper reply yet is taken to be the cause, and the error is raised;
        afterwards an error that may be the item's own is that item's `error`, until there are five in a row.
        """
        if isinstance(error, JudgeAnswerTooLong):
            self._note_answer()
            return LabelledVerdict(state="unparseable", raw=error.excerpt, rationale=str(error), flags=flags)
        if not self._is_the_items_own(error):
            raise error
        raw = error.excerpt if isinstance(error, JudgeBadAnswer) else ""
        return LabelledVerdict(state="error", raw=raw, rationale=str(error), flags=flags)

    def _note_answer(self) -> None:
        with self._lock:
            self._answered_once = True
            self._troubles_in_a_row = 0

    def _is_the_items_own(self, error: JudgeError) -> bool:
        with self._lock:
            self._troubles_in_a_row += 1
            # A refused item (too long, say) is the item's own even when it is the first one asked.
            known_good = self._answered_once or isinstance(error, JudgeRejectedItem)
            return error.per_item and known_good and self._troubles_in_a_row < MOST_TROUBLES_IN_A_ROW


class LlmPairJudge(_LlmJudge):
    """A language model behind a chat endpoint that compares, asked by a template of a verdict mode for a criterion."""

    def __init__(
        self, endpoint: Endpoint, template: Template, *args: Any, examples: Sequence[Example] = (), **options: Any
    ) -> None:
        if template.mode not in VERDICT_MODES:
            raise TemplateError(f"template {template.name} grades answers; it does not compare them")
        self._mode: VerdictMode = template.mode
        self._examples = tuple(one for one in examples if can_show(template.mode, one.outcome))
        super().__init__(endpoint, template, *args, **options)

    def most(self, question: Question) -> Most:
        """Say what one request with this question can take."""
        return self._most(self._messages(question))

    def _messages(self, question: Question) -> list[Message]:
        first_shown, second_shown = as_shown(question.order, *question.answers)
        told = [text for one in self._examples for text in (one.prompt, one.first, one.second, one.reason)]
        code = new_delimiter(question.prompt, first_shown, second_shown, self._criterion, *told, seed=self._seed)

        def asked(prompt: str, first: str, second: str) -> list[Message]:
            return render(
                self._template,
                prompt=prompt,
                first_shown=first,
                second_shown=second,
                criterion=self._criterion,
                delimiter=code,
            )

        messages = asked(question.prompt, first_shown, second_shown)
        turns: list[Message] = []
        for one, order in zip(self._examples, orders_of(self._examples), strict=True):
            turns.append(asked(one.prompt, *as_shown(order, one.first, one.second))[-1])
            turns.append({"role": "assistant", "content": reply_of(self._mode, one, order)})
        return [*messages[:-1], *turns, messages[-1]]

    def ask(self, question: Question) -> LabelledVerdict:
        """Ask which of the two is better."""
        flags = suspicions(*question.answers)
        try:
            reply = self._ask(self._messages(question), question.sample)
        except JudgeError as error:
            return self._failed(error, flags)
        parsed = parse_reply(reply, self._mode)
        verdict = labelled(parsed, question.order, raw=_raw(reply), usage=dict(reply.usage))
        if self._mode == "json" and not self._by_schema:
            flags = (NO_SCHEMA, *flags)
        return replace(verdict, flags=(*verdict.flags, *flags))


class LlmScorer(_LlmJudge):
    """A language model behind a chat endpoint that grades single answers, by a template of a score mode."""

    def __init__(self, endpoint: Endpoint, template: Template, *args: Any, **options: Any) -> None:
        if template.mode not in SCORE_MODES:
            raise TemplateError(f"template {template.name} compares answers; it does not grade them")
        self._range = MODES[template.mode].range
        super().__init__(endpoint, template, *args, **options)

    def score(self, *, prompt: str, answer: str, sample: int = 0) -> ScoredAnswer:
        """Ask once for a grade; several samples of one answer differ by their seed, above temperature 0."""
        return self.ask(Question(prompt, (answer,), sample=sample))

    def most(self, question: Question) -> Most:
        """Say what one request with this question can take."""
        return self._most(self._messages(question))

    def _messages(self, question: Question) -> list[Message]:
        (answer,) = question.answers
        code = new_delimiter(question.prompt, answer, self._criterion, seed=self._seed)
        return render_score(
            self._template, prompt=question.prompt, answer=answer, criterion=self._criterion, delimiter=code
        )

    def ask(self, question: Question) -> ScoredAnswer:
        """Ask for a grade of the one answer."""
        flags = suspicions(*question.answers)
        try:
            reply = self._ask(self._messages(question), question.sample)
        except JudgeError as error:
            failed = self._failed(error, flags)
            return ScoredAnswer(failed.state, raw=failed.raw, rationale=failed.rationale, flags=flags)
        if reply.finish_reason == "length":
            parsed = ParsedScore(None, why="cut off at the token limit")
        else:
            parsed = parse_score(reply.text, lowest=self._range[0], highest=self._range[1])
        return ScoredAnswer(
            state="unparseable" if parsed.value is None else "ok",
            value=None if parsed.value is None else float(parsed.value),
            raw=_raw(reply),
            rationale=parsed.why if parsed.value is None else parsed.rationale,
            usage=dict(reply.usage),
            flags=flags,
        )


def pair_judge(spec: JudgeSpec, endpoint: Endpoint) -> LlmPairJudge:
    """Make the judge that compares as declared. Raises TemplateError."""
    more: dict[str, Any] = {"json_schema": spec.json_schema, "examples": spec.examples}
    return LlmPairJudge(endpoint, _template(spec), spec.criterion, **more, **_settings(spec))


def scorer(spec: JudgeSpec, endpoint: Endpoint) -> LlmScorer:
    """Make the judge that grades as declared. Raises TemplateError."""
    return LlmScorer(endpoint, _template(spec), spec.criterion, **_settings(spec))


def _template(spec: JudgeSpec) -> Template:
    return template_from_text(spec.template, name=spec.name, mode=spec.mode)


def _settings(spec: JudgeSpec) -> dict[str, Any]:
    return {"temperature": spec.temperature, "max_tokens": spec.max_tokens, "seed": spec.seed}


def _raw(reply: ChatReply) -> str:
    """What is kept of a reply: its text, or more if that has more information (log-probs, tool calls, refusals)."""
    if reply.top_logprobs:
        top = {entry.token: round(entry.logprob, 6) for entry in reply.top_logprobs}
        return json.dumps({"text": reply.text, "top_logprobs": top}, ensure_ascii=False)
    return reply.text or reply.raw
