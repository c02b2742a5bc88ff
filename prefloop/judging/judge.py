"""Judges of pairs: what they have in common, and the one that asks a language model."""

from __future__ import annotations

import json
import threading
from typing import Protocol

from prefloop.judging.client import ChatEndpoint
from prefloop.judging.errors import JudgeAnswerTooLong, JudgeBadAnswer, JudgeError, JudgeRejectedItem
from prefloop.judging.parse import parse_reply
from prefloop.judging.render import Template, TemplateError, VerdictMode, new_delimiter, render, suspicions
from prefloop.judging.replies import ChatReply
from prefloop.judging.verdicts import EffectiveLabel, Order, OrderedVerdict, as_shown, combine, labelled, orders_to_ask
from prefloop.types import LabelledVerdict, OrderPolicy

MOST_TROUBLES_IN_A_ROW = 5
TOP_LOGPROBS = 20
TEXT_TOKENS = 1024


class PairJudge(Protocol):
    """Says which of two answers is better. `first` and `second` are the canonical ones, `order` how they are shown."""

    def judge_pair(self, *, prompt: str, first: str, second: str, order: Order, sample: int = 0) -> LabelledVerdict:
        """Judge once. Trouble with this item alone is a verdict of state `error`; trouble with the judge is raised."""
        ...


class LlmPairJudge:
    """A language model behind a chat endpoint, asked by a template for a criterion. Safe to share among threads.

    `seed` fixes the fences' codes and, with `sample`, is sent to the endpoint; None draws new codes for every request.
    """

    def __init__(
        self,
        endpoint: ChatEndpoint,
        template: Template,
        criterion: str,
        mode: VerdictMode | None = None,
        temperature: float = 0.0,
        *,
        max_tokens: int = TEXT_TOKENS,
        seed: int | None = 0,
    ) -> None:
        if mode is not None and mode != template.mode:
            raise TemplateError(f"template {template.name} asks for a {template.mode} verdict, not a {mode} one")
        self._endpoint = endpoint
        self._template = template
        self._criterion = criterion
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._seed = seed
        self._lock = threading.Lock()
        self._answered_once = False
        self._troubles_in_a_row = 0

    def judge_pair(self, *, prompt: str, first: str, second: str, order: Order, sample: int = 0) -> LabelledVerdict:
        """Ask once, in `order`.

        An endpoint that has not given one proper answer yet is taken to be the wrong one, and its trouble is raised;
        afterwards trouble that may be the item's own is that item's `error`, until there are five in a row.
        """
        flags = suspicions(first, second)
        try:
            reply = self._ask(prompt, first, second, order, sample)
        except JudgeAnswerTooLong as error:
            self._note_answer()
            return LabelledVerdict(state="unparseable", raw=error.excerpt, rationale=str(error), flags=flags)
        except JudgeError as error:
            if not self._is_the_items_own(error):
                raise
            raw = error.excerpt if isinstance(error, JudgeBadAnswer) else ""
            return LabelledVerdict(state="error", raw=raw, rationale=str(error), flags=flags)
        self._note_answer()
        parsed = parse_reply(reply, self._template.mode)
        verdict = labelled(parsed, order, raw=_raw(reply), usage=dict(reply.usage))
        return LabelledVerdict(
            state=verdict.state,
            outcome=verdict.outcome,
            p_first=verdict.p_first,
            raw=verdict.raw,
            rationale=verdict.rationale,
            usage=verdict.usage,
            flags=(*verdict.flags, *flags),
        )

    def _ask(self, prompt: str, first: str, second: str, order: Order, sample: int) -> ChatReply:
        shown = as_shown(order, first, second)
        messages = render(
            self._template,
            prompt=prompt,
            first_shown=shown[0],
            second_shown=shown[1],
            criterion=self._criterion,
            delimiter=new_delimiter(prompt, *shown, self._criterion, seed=self._seed),
        )
        logprob = self._template.mode == "logprob"
        return self._endpoint.chat(
            messages,
            temperature=self._temperature,
            max_tokens=1 if logprob else self._max_tokens,
            seed=None if self._seed is None else self._seed + sample,
            logprobs=logprob,
            top_logprobs=TOP_LOGPROBS if logprob else 0,
        )

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
