"""Reading a judge's own reply. What it says unclearly is `unparseable`, with the raw text kept, and never a win or tie.

The parser is given the reply only, never the request, so nothing written in an answer becomes a verdict unless the
judge itself repeats it; and a repeated label makes the reply unparseable, as it then has two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prefloop.judging.replies import ChatReply, TokenLogprob

ShownChoice = Literal["A", "B", "C"]  # C: equally good

LONGEST_REPLY = 64_000  # characters; more is no reasoned verdict
LEAST_LABEL_MASS = 0.1  # below, the judge was about to say something else than A or B

_LABEL = re.compile(r"\[\[\s*([A-Za-z])\s*\]\]")
_LAST_LINE = re.compile(r"\[\[\s*([ABC])\s*\]\][\s.*_`]*\Z")
_WORD_STARTS = " \t\nĠ▁"  # how tokenizers write the space before a word


@dataclass(frozen=True, slots=True)
class ParsedVerdict:
    """What a reply says of the answers as shown; `choice` None: unparseable, `why` says why."""

    choice: ShownChoice | None
    p_first_shown: float | None = None  # P(the answer shown first is better); log-prob verdicts only
    rationale: str = ""
    why: str = ""
    flags: tuple[str, ...] = ()


def _unparseable(why: str, *flags: str) -> ParsedVerdict:
    return ParsedVerdict(choice=None, why=why, flags=flags)


def parse_text(reply: str) -> ParsedVerdict:
    """Take the verdict from the end of the last line, if the reply has no other label in double brackets.

    Thoughts that a reasoning model wrote before `</think>` are left aside.
    """
    if len(reply) > LONGEST_REPLY:
        return _unparseable(f"longer than {LONGEST_REPLY:,} characters")
    said = reply
    if said.lstrip().startswith("<think>"):
        _, closed, said = said.rpartition("</think>")
        if not closed:
            return _unparseable("thought, but gave no answer")
    said = said.strip()
    if not said:
        return _unparseable("empty")
    labels = set(_LABEL.findall(said))
    if not labels:
        return _unparseable("no label")
    if len(labels) > 1:
        return _unparseable("more than one label")
    last_line = said.rsplit("\n", 1)[-1]
    found = _LAST_LINE.search(last_line)
    if found is None:
        return _unparseable("no verdict at the end of the last line")
    choice: ShownChoice = found[1]  # type: ignore[assignment]  # the pattern matches A, B or C only
    return ParsedVerdict(choice=choice, rationale=said[: len(said) - len(last_line)].strip() or last_line)


def parse_logprobs(top: Sequence[TokenLogprob], *, least_label_mass: float = LEAST_LABEL_MASS) -> ParsedVerdict:
    """P(A) renormalised over A and B, from the log-probs (nats) of the likeliest first tokens.

    Spellings of a label ("A", " A") are added up. A label that is not among the likeliest is put at the least log-prob
    given (it can be no likelier) and flagged `floored`. Source: Lee et al. 2023 (RLAIF), arXiv:2309.00267.
    """
    if not top:
        return _unparseable("no log-probs")
    if any(math.isnan(entry.logprob) or entry.logprob > 1e-3 for entry in top):
        return _unparseable("log-probs that are none")
    a, b = (_logsumexp([e.logprob for e in top if e.token.strip(_WORD_STARTS) == label]) for label in "AB")
    if math.exp(a) + math.exp(b) < least_label_mass:
        return _unparseable("neither A nor B is likely", "low-label-mass")
    flags: tuple[str, ...] = ()
    if math.isinf(a) or math.isinf(b):
        floor = min(entry.logprob for entry in top)
        a, b, flags = max(a, floor), max(b, floor), ("floored",)
    p = _sigmoid(a - b)
    choice: ShownChoice = "C" if a == b else "A" if a > b else "B"
    return ParsedVerdict(choice=choice, p_first_shown=p, flags=flags)


def parse_reply(reply: ChatReply, mode: Literal["text", "logprob"]) -> ParsedVerdict:
    if mode == "logprob":
        return parse_logprobs(reply.top_logprobs)
    if reply.finish_reason == "length":
        return _unparseable("cut off at the token limit")
    return parse_text(reply.text)


def _logsumexp(values: Sequence[float]) -> float:
    most = max(values, default=-math.inf)
    if math.isinf(most):
        return -math.inf
    return most + math.log(sum(math.exp(value - most) for value in values))


def _sigmoid(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))
