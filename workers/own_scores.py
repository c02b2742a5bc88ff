"""Scores that a policy gives to answers, its own or others': several sampled judgements each. Imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from apps.core.chunks import chunks
from apps.jobs.registry import JobContext
from apps.judging.services import judge_template
from apps.labels.models import Judge
from apps.labels.services import NewScore, scores_add
from apps.samples.models import Completion
from prefloop.judging.modes import MODES, ScoreMode
from prefloop.judging.parse import parse_score
from prefloop.judging.render import judge_mode, template_from_text
from prefloop.recipes.engines import AUTO
from prefloop.types import PromptContent
from workers import engines, pieces
from workers.engines import Answering
from workers.score_prompts import score_prompt, template_prompt
from workers.worlds import ScorePrompt

ANSWERS_AT_ONCE = 256  # scored between two writes


@dataclass(frozen=True, slots=True)
class Judgement:
    """One sampled judgement; `value` None: it could not be read, and `why` gives the reason."""

    raw: str
    value: int | None
    rationale: str = ""
    why: str = ""


def judgements(
    answering: Answering,
    asked: Mapping[str, PromptContent],
    options: Mapping[str, Any],
    *,
    mode: ScoreMode = "additive",
) -> Iterator[tuple[str, list[Judgement]]]:
    """Sample `options["samples"]` judgements of each prompt, by its key; a key's judgements do not depend on the
    others.
    """
    lowest, highest = MODES[mode].range
    groups = answering(
        list(asked.items()),
        n=int(options["samples"]),
        temperature=float(options["temperature"]),
        top_p=float(options["top_p"]),
        max_tokens=int(options["max_tokens"]),
        seed=int(options["seed"]),
    )
    for group in groups:
        read = []
        for completion in group.completions:
            parsed = parse_score(completion.text, lowest=lowest, highest=highest)
            if not completion.finished:
                read.append(Judgement(completion.text, None, why="cut off at the token limit"))
            else:
                read.append(Judgement(completion.text, parsed.value, parsed.rationale, parsed.why))
        yield group.prompt_id, read


def score_by_policy(ctx: JobContext, judge: Judge, completion_ids: Sequence[int]) -> None:
    """Store the judge's judgements of each completion, all samples of one at once, so that a re-run stores none twice.

    An unreadable one is a row without a value: it is left out of the mean, and never counts as 0.
    """
    with answering_as(judge, n_asked=len(completion_ids), check=ctx.check) as answering:
        _score(ctx, judge, completion_ids, answering)


@contextmanager
def answering_as(judge: Judge, *, n_asked: int, check: Callable[[], None]) -> Iterator[Answering]:
    """Lend a sampler for the judging policy, with the engine of its loop."""
    if judge.checkpoint is None:
        raise AssertionError("a policy that scores has weights")  # a constraint of the table
    engine = str(judge.options.get("engine", AUTO))
    n_answers = n_asked * int(judge.options["samples"])
    with engines.answering(judge.checkpoint, engine, n_answers=n_answers, check=check) as found:
        yield found


def _score(ctx: JobContext, judge: Judge, completion_ids: Sequence[int], answering: Answering) -> None:
    ask, mode = _prompt_of(judge), cast(ScoreMode, judge.mode)
    name = judge.checkpoint.name if judge.checkpoint else ""
    tokens = int(judge.options["samples"]) * int(judge.options["max_tokens"])
    size = judge.checkpoint.n_parameters if judge.checkpoint else None
    done = 0
    ctx.progress(0, len(completion_ids), f"{name} scores")
    for part in chunks(completion_ids, pieces.at_once(size, tokens=tokens, most=ANSWERS_AT_ONCE)):
        ctx.check()
        found = Completion.objects.filter(pk__in=part).select_related("prompt")
        rows = list(found.order_by("prompt_id", "index", "id"))
        # the same text is judged once, by a key that no database decides
        asked = {_key(row): ask(row.prompt.text, row.text) for row in rows}
        said = dict(judgements(answering, asked, judge.options, mode=mode))
        new = [
            NewScore(
                row.pk,
                None if one.value is None else float(one.value),
                "ok" if one.value is not None else "unparseable",
                number,
                one.raw,
                one.rationale or one.why,
            )
            for row in rows
            for number, one in enumerate(said[_key(row)])
        ]
        with ctx.fenced():
            scores_add(judge=judge, scores=new)
        done += len(rows)
        ctx.progress(done, len(completion_ids), f"{name} scores")


def _prompt_of(judge: Judge) -> ScorePrompt:
    """The prompt that asks this judge for a score: by its own template, or as its world or project asks for additive
    scores.
    """
    mode = judge_mode(judge.mode)
    if mode == "additive" and not judge.template:
        return score_prompt(judge.project, criterion=judge.criterion)
    return template_prompt(template_from_text(judge_template(judge), name=judge.name, mode=mode), judge.criterion)


def _key(row: Completion) -> str:
    return f"{row.prompt.external_id}\0{hashlib.sha256(row.text.encode()).hexdigest()}"
