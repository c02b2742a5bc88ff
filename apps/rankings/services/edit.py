"""Edited answers: a person's text becomes a new answer beside the one it was made of, which never changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Max

from apps.accounts.models import User
from apps.core.services import audit
from apps.labels.models import Vote
from apps.labels.raters import rater_name
from apps.labels.selectors import last_adjudication
from apps.labels.services import vote_append
from apps.labels.telling import told
from apps.projects.selectors import criterion_named, guideline_name
from apps.prompts.models import Prompt
from apps.samples import exposure
from apps.samples.models import EDIT, Comparison, Completion
from apps.samples.services import comparisons_create, pairs_held_out
from prefloop.answers import same_answer
from prefloop.types import PrefloopError

LONGEST_EDIT = 200_000  # characters
SIDES = ("left", "right")


class BadEdit(PrefloopError):
    """A text that cannot become an edited answer."""


@dataclass(frozen=True, slots=True)
class Edited:
    answer: Completion
    comparison: Comparison | None  # of it with the answer that it was made of, where it was said to be better
    created: bool


def answer_edit(
    *,
    comparison: Comparison,
    answer: Completion,
    text: str,
    editor: User,
    now: datetime,
    is_better: bool = True,
    criterion: str = "",
) -> Edited:
    """Keep an edited text of one of a comparison's answers as a new answer to the same prompt.

    `is_better`: also make a comparison of both, in which the edited answer is the better one by `criterion`; it is
    marked as an edit, and held out like those that the first answer is in. The same text again returns the same answer.
    Raises BadEdit, NoSuchCriterion.
    """
    project = comparison.project
    criterion_named(project, criterion)
    _check(answer, text)
    name = rater_name(editor, comparison)
    with transaction.atomic():
        Prompt.objects.select_for_update(no_key=True).get(pk=answer.prompt_id)  # edits of one prompt follow each other
        made = Completion.objects.filter(parent=answer, editor=name, text=text).first()
        created = made is None
        if made is None:
            made = _written(answer, text, name)
            audit(actor=editor, verb="answer.edit", target=f"completion:{made.pk}", project=project)
        pair = _compared(made, answer, editor, name, criterion, now) if is_better else None
    return Edited(made, pair, created)


def _check(answer: Completion, text: str) -> None:
    if not text.strip():
        raise BadEdit("the edited answer is empty: write what the answer should say")
    if len(text) > LONGEST_EDIT:
        raise BadEdit(f"an edited answer has at most {LONGEST_EDIT:,} characters")
    if "\x00" in text:
        raise BadEdit("the edited answer holds a null character, which no database stores")
    if same_answer(text, answer.text):
        raise BadEdit("the edited answer says the same as before: change its text")


def _written(answer: Completion, text: str, name: str) -> Completion:
    own = Completion.objects.filter(prompt=answer.prompt_id, run=None)
    last = own.aggregate(last=Max("index"))["last"]
    return Completion.objects.create(
        project_id=answer.project_id,
        prompt_id=answer.prompt_id,
        index=0 if last is None else last + 1,
        text=text,
        parent=answer,
        editor=name,
    )


def _compared(
    made: Completion, answer: Completion, editor: User, name: str, criterion: str, now: datetime
) -> Comparison:
    """Compare both answers, and keep that the edited one is better; said once by a person and criterion."""
    (pair,) = comparisons_create(project=made.project, pairs=[(answer, made)], origin=EDIT)
    if pairs_held_out(pair.prompt_id):
        pair.refresh_from_db(fields=["held_out"])
    exposure.shown(user_id=editor.pk, comparison_ids=[pair.pk], where="edit")
    Comparison.objects.select_for_update(no_key=True).get(pk=pair.pk)
    head = last_adjudication(pair, editor, criterion)
    if head is None or head.choice == "withdrawn":
        vote = Vote(
            comparison=pair,
            user=editor,
            rater=name,
            criterion=criterion,
            choice="second",  # the edited answer is the younger one
            at=now,
            guideline=guideline_name(made.project),
            adjudication=True,
            by_edit=True,
            supersedes=head,
        )
        vote_append(vote=vote, now=now)
        told("edit.created", made.project, vote)
    return pair
