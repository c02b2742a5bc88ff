"""Scores that a policy writes about answers, its own or others': several sampled judgements each. Imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from apps.core.chunks import chunks
from apps.jobs.registry import JobContext
from apps.judging.models import Judge
from apps.judging.services import NewScore, scores_add
from apps.samples.models import Completion
from prefloop.judging.parse import parse_score
from prefloop.policy.loading import Policy
from prefloop.policy.prompts import encode_prompt
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.types import PromptContent
from workers import model_cache
from workers.score_prompts import score_prompt

ANSWERS_AT_ONCE = 256  # scored between two writes


@dataclass(frozen=True, slots=True)
class Judgement:
    """One sampled judgement; `value` None: it could not be read, and `why` says why."""

    raw: str
    value: int | None
    rationale: str = ""
    why: str = ""


def judgements(
    policy: Policy, asked: Mapping[str, PromptContent], options: Mapping[str, float]
) -> Iterator[tuple[str, list[Judgement]]]:
    """Sample `options["samples"]` judgements of each prompt, by its key; a key draws the same in any company."""
    groups = sample(
        policy,
        [SamplePrompt(key, encode_prompt(policy.tokenizer, prompt)) for key, prompt in asked.items()],
        n=int(options["samples"]),
        temperature=float(options["temperature"]),
        top_p=float(options["top_p"]),
        max_tokens=int(options["max_tokens"]),
        seed=int(options["seed"]),
    )
    for group in groups:
        read = []
        for completion in group.completions:
            parsed = parse_score(completion.text)
            if not completion.finished:
                read.append(Judgement(completion.text, None, why="cut off at the token limit"))
            else:
                read.append(Judgement(completion.text, parsed.value, parsed.rationale, parsed.why))
        yield group.prompt_id, read


def score_by_policy(ctx: JobContext, judge: Judge, completion_ids: Sequence[int]) -> None:
    """Store the judge's judgements of each completion: all samples of one at once, so that a re-run doubles none.

    What could not be read is a row of its own without a value: it is left out of the mean, and never a 0.
    """
    if judge.checkpoint is None:
        raise AssertionError("a policy that scores has weights")  # a constraint of the table
    policy = model_cache.policy(judge.checkpoint)
    ask = score_prompt(judge.project)
    done = 0
    ctx.progress(0, len(completion_ids), f"{judge.checkpoint.name} scores")
    for part in chunks(completion_ids, ANSWERS_AT_ONCE):
        ctx.check()
        found = Completion.objects.filter(pk__in=part).select_related("prompt")
        rows = list(found.order_by("prompt_id", "index", "id"))
        # the same text is judged once, by a key that no database decides
        asked = {_key(row): ask(row.prompt.text, row.text) for row in rows}
        said = dict(judgements(policy, asked, judge.options))
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
        ctx.progress(done, len(completion_ids), f"{judge.checkpoint.name} scores")


def _key(row: Completion) -> str:
    return f"{row.prompt.external_id}\0{hashlib.sha256(row.text.encode()).hexdigest()}"
