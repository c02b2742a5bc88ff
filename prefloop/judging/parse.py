"""Parsing a judge's reply. An unclear reply is `unparseable`, with the raw text kept, and never a win or tie.

The parser gets only the reply, never the request, so nothing written in an answer becomes a verdict unless the judge
itself repeats it; and a repeated label makes the reply unparseable, as it then has two.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prefloop.judging.modes import BY_LOGPROB, MODES, VerdictMode
from prefloop.judging.replies import ChatReply, TokenLogprob
from prefloop.preference import sigmoid
from prefloop.thoughts import after_thoughts

ShownChoice = Literal["A", "B", "C"]  # C: equally good

LONGEST_REPLY = 64_000  # characters; more is no reasoned verdict
MOST_MASS = 1.05  # of probabilities that sum to one, rounded as servers round; more are none
LEAST_LABEL_MASS = 0.1  # below, the judge was about to say something else than A or B

VERDICT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"reasoning": {"type": "string"}, "verdict": {"type": "string", "enum": ["A", "B", "C"]}},
    "required": ["reasoning", "verdict"],
    "additionalProperties": False,
}
"""What a reply by JSON is held to, by the server where it can; `parse_json` holds it to the same."""

_IN = r"[\s*_`]*"  # space and markup within the brackets
_NOUN = r"(?:(?:assistant|answer|response|model|option)\s{1,3})?"
_END = r"(?:[\s.*_`]|<\|[^<>|]{1,40}\|>|</s>)*\Z"  # markup and the end tokens that some servers leave in the text
# every single letter is a label here, so that another one than A, B or C makes a reply unclear
_LABEL = re.compile(rf"\[\[{_IN}(?i:{_NOUN})([^\W\d_]){_IN}\]\]")
_LAST_LINE = re.compile(rf"\[\[{_IN}(?i:{_NOUN})([ABC]){_IN}\]\]{_END}")
_FIVE_LABEL = re.compile(rf"\[\[{_IN}([^\W\d_])\s*(>>|>|=|<|<<)\s*([^\W\d_]){_IN}\]\]")
_FIVE_LAST_LINE = re.compile(rf"\[\[{_IN}([AB])\s*(>>|>|=)\s*([AB]){_IN}\]\]{_END}")
_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)
# What keyboards and models of other languages write for a label's signs, and what hides between them.
_PLAIN = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # the full-width forms of ASCII
    **str.maketrans(dict(zip("【】〔〕〖〗", "[][][]", strict=True)) | {"⟦": "[[", "⟧": "]]", "≫": ">>", "。": "."}),
    **dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"), ""),
}
_FIVE: dict[str, tuple[ShownChoice, float]] = {
    "A>>B": ("A", 1.0),
    "A>B": ("A", 0.75),
    "A=B": ("C", 0.5),
    "B>A": ("B", 0.25),
    "B>>A": ("B", 0.0),
}
_SCORE_LINE = re.compile(r"score[\s*_`]{0,5}:", re.IGNORECASE)
_SCORE = re.compile(r"\[{0,2}([0-9]{1,2})(?:(?:\s?/\s?|\s{1,3}out of\s{1,3})([0-9]{1,2}))?\]{0,2}", re.IGNORECASE)
_MARKUP = " \t\r*_`#>."
_WORD_STARTS = " \t\nĠ▁"  # how tokenizers write the space before a word


@dataclass(frozen=True, slots=True)
class ParsedVerdict:
    """What a reply says about the answers as shown; `choice` None: unparseable, `why` gives the reason."""

    choice: ShownChoice | None
    p_first_shown: float | None = None  # P(the answer shown first is better), where the way of judging gives one
    rationale: str = ""
    why: str = ""
    flags: tuple[str, ...] = ()


def _unparseable(why: str, *flags: str) -> ParsedVerdict:
    return ParsedVerdict(choice=None, why=why, flags=flags)


def _answer_part(reply: str) -> str | ParsedVerdict:
    """The part of a reply after a reasoning model's thoughts."""
    if len(reply) > LONGEST_REPLY:
        return _unparseable(f"longer than {LONGEST_REPLY:,} characters")
    said = after_thoughts(reply)
    if said is None:
        return _unparseable("has thoughts but no answer")
    return said.strip() or _unparseable("empty")


def _plain(text: str) -> str:
    r"""`text` with the characters of labels in ASCII: `【【Ａ】】` and `\[\[A\]\]` become `[[A]]`."""
    return text.translate(_PLAIN).replace("\\[", "[").replace("\\]", "]")


def parse_text(reply: str) -> ParsedVerdict:
    """Take the verdict from the end of the last line, if the reply has no other label in double brackets.

    Thoughts that a reasoning model wrote before it are left aside. `[[Answer A]]`, markup and full-width signs are read
    as `[[A]]`.
    """
    said = _answer_part(reply)
    if isinstance(said, ParsedVerdict):
        return said
    labels = set(_LABEL.findall(_plain(said)))
    if not labels:
        return _unparseable("no label")
    if len(labels) > 1:
        return _unparseable("more than one label")
    last_line = said.rsplit("\n", 1)[-1]
    found = _LAST_LINE.search(_plain(last_line))
    if found is None:
        return _unparseable("no verdict at the end of the last line")
    choice: ShownChoice = found[1]  # type: ignore[assignment]  # the pattern matches A, B or C only
    return ParsedVerdict(choice=choice, rationale=said[: len(said) - len(last_line)].strip() or last_line)


def parse_five(reply: str) -> ParsedVerdict:
    """Take one of `[[A>>B]] [[A>B]] [[A=B]] [[B>A]] [[B>>A]]` from the end of the last line, strictly as `parse_text`.

    The labels are those of Arena-Hard (Li et al. 2024, arXiv:2406.11939), where a strong one counts three times in a
    win rate; as a probability that the first is better they are here 1, 3/4, 1/2, 1/4, 0 (ours).
    """
    said = _answer_part(reply)
    if isinstance(said, ParsedVerdict):
        return said
    plain = _plain(said)
    labels = {"".join(label) for label in _FIVE_LABEL.findall(plain)} | set(_LABEL.findall(plain))
    if not labels:
        return _unparseable("no label")
    if len(labels) > 1:
        return _unparseable("more than one label")
    last_line = said.rsplit("\n", 1)[-1]
    found = _FIVE_LAST_LINE.search(_plain(last_line))
    known = None if found is None else _FIVE.get("".join(found.groups()))
    if known is None:
        return _unparseable("no verdict at the end of the last line")
    rationale = said[: len(said) - len(last_line)].strip() or last_line
    return ParsedVerdict(choice=known[0], p_first_shown=known[1], rationale=rationale)


def parse_json(reply: str) -> ParsedVerdict:
    """Take the verdict from a reply that is one JSON object of `VERDICT_SCHEMA` and nothing else but its code fence.

    A repeated key, another key, or words around the object make it unparseable: a server that enforces the schema never
    sends such a reply.
    """
    said = _answer_part(reply)
    whole = reply.strip() if len(reply) <= LONGEST_REPLY else ""
    pairs = _json_object(whole)  # first as it is: its reasoning may speak of the marks of thoughts
    if pairs is None:
        if isinstance(said, ParsedVerdict):
            return said
        pairs = _json_object(said)
    if pairs is None:
        return _unparseable("not one JSON object")
    if sorted(key for key, _ in pairs) != ["reasoning", "verdict"]:
        return _unparseable("not an object of reasoning and verdict")
    found = dict(pairs)
    if found["verdict"] not in ("A", "B", "C") or not isinstance(found["reasoning"], str):
        return _unparseable("a verdict other than A, B or C")
    return ParsedVerdict(choice=found["verdict"], rationale=found["reasoning"].strip())


class _Object(tuple[tuple[str, Any], ...]):
    """The keys and values of a JSON object, repeated keys and all."""

    __slots__ = ()


def _json_object(text: str) -> _Object | None:
    fenced = _FENCED.fullmatch(text)
    try:
        found = json.loads(fenced[1] if fenced else text, object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, _Object) else None


@dataclass(frozen=True, slots=True)
class ParsedScore:
    """What a reply says about one answer; `value` None: unparseable, `why` gives the reason."""

    value: int | None
    rationale: str = ""
    why: str = ""


def parse_score(reply: str, *, lowest: int = 0, highest: int = 5) -> ParsedScore:
    """Take the whole number after `Score:` from the last line, if no other line begins with `Score:`.

    `Score: 4/5` is read where 5 is the highest. What is out of range, a fraction, or not on the last line is
    unparseable: dropped from the mean, and never 0 (Yuan et al. 2024, Self-Rewarding, arXiv:2401.10020).
    """
    said = _answer_part(reply)
    if isinstance(said, ParsedVerdict):
        return ParsedScore(None, why=said.why)
    rationale, lines = said, _plain(said).split("\n")
    found = [line for line in (line.strip(_MARKUP) for line in lines) if _SCORE_LINE.match(line)]
    last_line = lines[-1].strip(_MARKUP)
    if len(found) != 1 or not _SCORE_LINE.match(last_line):
        many = "no score" if not found else "more than one score" if len(found) > 1 else "no score on the last line"
        return ParsedScore(None, why=many)
    number = _SCORE.fullmatch(_SCORE_LINE.sub("", last_line, count=1).strip(_MARKUP))
    if number is None or (number[2] is not None and int(number[2]) != highest):
        return ParsedScore(None, why="no whole number after Score:")
    if not lowest <= int(number[1]) <= highest:
        return ParsedScore(None, why=f"a score outside {lowest} to {highest}")
    return ParsedScore(int(number[1]), rationale=rationale.rpartition("\n")[0].strip())


def mean_score(scores: Iterable[ParsedScore]) -> float | None:
    """The mean over the readable samples; None if there are none."""
    values = [score.value for score in scores if score.value is not None]
    return sum(values) / len(values) if values else None


def parse_logprobs(
    top: Sequence[TokenLogprob],
    *,
    labels: tuple[str, str] = ("A", "B"),
    least_label_mass: float = LEAST_LABEL_MASS,
) -> ParsedVerdict:
    """P(A) renormalised over A and B, from the log-probs (nats) of the most likely first tokens.

    Spellings of a label ("A", " A") are added up. A label that is not listed has at most the mass that the list leaves
    over: where that leaves open which of the two is likelier, the reply is unparseable, never a tie. Otherwise it is
    put at the most that one unlisted token can have (no more than the least that is listed) and flagged `floored`.
    Source: Lee et al. 2023 (RLAIF), arXiv:2309.00267.
    """
    listed = list(dict.fromkeys(top))  # some servers list the token that was drawn a second time
    if not listed:
        return _unparseable("no log-probs")
    mass = math.fsum(math.exp(min(entry.logprob, 1.0)) for entry in listed)
    if math.isnan(mass) or any(entry.logprob > 1e-3 for entry in listed) or mass > MOST_MASS:
        return _unparseable("invalid log-probs")
    a, b = (_log_mass(entry for entry in listed if entry.token.strip(_WORD_STARTS) == label) for label in labels)
    if math.exp(a) + math.exp(b) < least_label_mass:
        return _unparseable(f"neither {labels[0]} nor {labels[1]} is likely", "low-label-mass")
    flags: tuple[str, ...] = ()
    spelled = {entry.token.strip(_WORD_STARTS) for entry in listed}
    if missing := [label for label in labels if label not in spelled]:
        left = math.log(1.0 - mass) if mass < 1.0 else -math.inf
        if len(missing) > 1 or left >= max(a, b):
            return _unparseable(f"{missing[0]} is not listed, and may be the more likely one", "floored")
        most = min(left, *(entry.logprob for entry in listed))
        a, b, flags = max(a, most), max(b, most), ("floored",)
    p = sigmoid(a - b)
    choice: ShownChoice = "C" if a == b else "A" if a > b else "B"
    return ParsedVerdict(choice=choice, p_first_shown=p, flags=flags)


def parse_reply(reply: ChatReply, mode: VerdictMode) -> ParsedVerdict:
    if mode in BY_LOGPROB:
        return parse_logprobs(reply.top_logprobs, labels=MODES[mode].labels)
    if reply.finish_reason == "length":
        return _unparseable("cut off at the token limit")
    return {"five": parse_five, "json": parse_json, "text": parse_text}[mode](reply.text)


def _log_mass(entries: Iterable[TokenLogprob]) -> float:
    """The log of the probability of all these tokens together; -inf of none."""
    values = [entry.logprob for entry in entries]
    most = max(values, default=-math.inf)
    if math.isinf(most):
        return -math.inf
    return most + math.log(math.fsum(math.exp(value - most) for value in values))
