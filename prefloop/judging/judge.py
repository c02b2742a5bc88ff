"""Judges that ask a language model: of pairs, and of single answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from prefloop.judging.client import ChatEndpoint
from prefloop.judging.errors import JudgeAnswerTooLong, JudgeBadAnswer, JudgeError, JudgeRejectedItem
from prefloop.judging.parse import SCORE_RANGES, VERDICT_SCHEMA, ParsedScore, parse_reply, parse_score
from prefloop.judging.render import (
    SCORE_MODES,
    VERDICT_MODES,
    JudgeMode,
    Message,
    Template,
    TemplateError,
    VerdictMode,
    new_delimiter,
    render,
    render_score,
    suspicions,
)
from prefloop.judging.replies import ChatReply
from prefloop.judging.verdicts import EffectiveLabel, Order, OrderedVerdict, as_shown, combine, labelled, orders_to_ask
from prefloop.types import LabelledVerdict, OrderPolicy, VerdictState

MOST_TROUBLES_IN_A_ROW = 5
TOP_LOGPROBS = 20
TEXT_TOKENS = 1024
_VERDICT_FORM = {
    "type": "json_schema",
    "json_schema": {"name": "verdict", "strict": True, "schema": VERDICT_SCHEMA},
}
NO_SCHEMA = "no-schema"  # flag: the endpoint holds no reply to a JSON schema, so only the template asked for the form


class PairJudge(Protocol):
    """Says which of two answers is better. `first` and `second` are the canonical ones, `order` how they are shown."""

    def judge_pair(self, *, prompt: str, first: str, second: str, order: Order, sample: int = 0) -> LabelledVerdict:
        """Judge once. Trouble with this item alone is a verdict of state `error`; trouble with the judge is raised."""
        ...


class _LlmJudge:
    """What the judges that ask a language model share: the request, and whose own its trouble is.

    `seed` fixes the fences' codes and, with `sample`, is sent to the endpoint; None draws new codes for every request.
    `json_schema` False: the endpoint is known not to hold a reply to a schema; one that refuses it is asked without
    afterwards. Either way the verdict says so by the flag NO_SCHEMA. Safe to share among threads.
    """

    def __init__(
        self,
        endpoint: ChatEndpoint,
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

    def _ask_once(self, messages: Sequence[Message], sample: int, *, by_schema: bool) -> ChatReply:
        by_logprob = self._template.mode in ("logprob", "soft")
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
        """What becomes of a request that brought no reply: the item's `error`, or raised where it is the endpoint's.

        An endpoint that has not given one proper answer yet is taken to be the wrong one, and its trouble is raised;
        afterwards trouble that may be the item's own is that item's `error`, until there are five in a row.
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

    def __init__(self, endpoint: ChatEndpoint, template: Template, *args: Any, **options: Any) -> None:
        if template.mode not in VERDICT_MODES:
            raise TemplateError(f"template {template.name} grades answers; it does not compare them")
        self._mode: VerdictMode = template.mode
        super().__init__(endpoint, template, *args, **options)

    def judge_pair(self, *, prompt: str, first: str, second: str, order: Order, sample: int = 0) -> LabelledVerdict:
        """Ask once, in `order`."""
        flags = suspicions(first, second)
        shown = as_shown(order, first, second)
        messages = render(
            self._template,
            prompt=prompt,
            first_shown=shown[0],
            second_shown=shown[1],
            criterion=self._criterion,
            delimiter=new_delimiter(prompt, *shown, self._criterion, seed=self._seed),
        )
        try:
            reply = self._ask(messages, sample)
        except JudgeError as error:
            return self._failed(error, flags)
        parsed = parse_reply(reply, self._mode)
        verdict = labelled(parsed, order, raw=_raw(reply), usage=dict(reply.usage))
        if self._mode == "json" and not self._by_schema:
            flags = (NO_SCHEMA, *flags)
        return replace(verdict, flags=(*verdict.flags, *flags))


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """What one call to a judge said of one answer. `value` is None unless `state` is `ok`."""

    state: VerdictState
    value: int | None = None
    raw: str = ""
    rationale: str = ""
    usage: dict[str, int] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


class LlmScorer(_LlmJudge):
    """A language model behind a chat endpoint that grades single answers, by a template of a score mode."""

    def __init__(self, endpoint: ChatEndpoint, template: Template, *args: Any, **options: Any) -> None:
        if template.mode not in SCORE_MODES:
            raise TemplateError(f"template {template.name} compares answers; it does not grade them")
        self._range = SCORE_RANGES[template.mode]
        super().__init__(endpoint, template, *args, **options)

    def score(self, *, prompt: str, answer: str, sample: int = 0) -> ScoredAnswer:
        """Ask once for a grade; several samples of one answer differ by their seed, above temperature 0."""
        flags = suspicions(answer)
        code = new_delimiter(prompt, answer, self._criterion, seed=self._seed)
        messages = render_score(self._template, prompt=prompt, answer=answer, criterion=self._criterion, delimiter=code)
        try:
            reply = self._ask(messages, sample)
        except JudgeError as error:
            failed = self._failed(error, flags)
            return ScoredAnswer(failed.state, raw=failed.raw, rationale=failed.rationale, flags=flags)
        if reply.finish_reason == "length":
            parsed = ParsedScore(None, why="cut off at the token limit")
        else:
            parsed = parse_score(reply.text, lowest=self._range[0], highest=self._range[1])
        return ScoredAnswer(
            state="unparseable" if parsed.value is None else "ok",
            value=parsed.value,
            raw=_raw(reply),
            rationale=parsed.why if parsed.value is None else parsed.rationale,
            usage=dict(reply.usage),
            flags=flags,
        )


def judge_comparison(
    judge: PairJudge,
    *,
    prompt: str,
    first: str,
    second: str,
    policy: OrderPolicy,
    seed: int = 0,
    comparison_id: str = "",
) -> tuple[list[OrderedVerdict], EffectiveLabel]:
    """Ask `judge` in every order that `policy` needs; the verdicts and what they come to."""
    verdicts = [
        OrderedVerdict(order, judge.judge_pair(prompt=prompt, first=first, second=second, order=order))
        for order in orders_to_ask(policy, seed=seed, comparison_id=comparison_id)
    ]
    label = combine(verdicts, policy, seed=seed, comparison_id=comparison_id)
    if label is None:
        raise AssertionError("every order was asked")
    return verdicts, label


def _raw(reply: ChatReply) -> str:
    """What is kept of a reply: its text, or more where that says more (log-probs, tool calls, refusals)."""
    if reply.top_logprobs:
        top = {entry.token: round(entry.logprob, 6) for entry in reply.top_logprobs}
        return json.dumps({"text": reply.text, "top_logprobs": top}, ensure_ascii=False)
    return reply.text or reply.raw
