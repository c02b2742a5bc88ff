"""Importing a file, all or nothing.

The whole file is read and checked first; then its records are written in short transactions under a batch that every
query ignores, and at the end the batch is marked ready. A killed import leaves an unfinished batch, which the next one
removes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import reduce
from operator import or_
from pathlib import Path

from django.db import transaction
from django.db.models import Max

from apps.accounts.models import User
from apps.core.bulk import file_not_mapped
from apps.core.chunks import chunks
from apps.core.services import audit
from apps.events.telling import is_heard, tell
from apps.exchange import writing
from apps.exchange.lock import import_lock
from apps.exchange.merging import Addition
from apps.exchange.models import ImportNote
from apps.exchange.reading import (
    MAX_RECORDS,
    Survey,
    known_records,
    opened,
    sha256_of,
    survey,
    surveyed_records,
)
from apps.exchange.selectors import batch_counts
from apps.labels.as_records import UNNAMED_JUDGE
from apps.labels.models import Judge, Rating, Vote
from apps.labels.review_counts import reviews_complete, reviews_settle
from apps.labels.selectors import label_judge, unlabelled
from apps.labels.services import preferences_derive
from apps.projects.models import Project
from apps.projects.selectors import guideline_current
from apps.projects.services import criteria_know
from apps.prompts.models import ImportBatch, Prompt, PromptSet, ready
from apps.rankings.services import seats_of_new, seats_settle, sets_make
from apps.rankings.services.sets import PROMPTS_AT_ONCE
from apps.ratings.services import seats_settle as seats_of_answers
from apps.samples.locks import comparisons_lock
from apps.samples.models import Comparison
from prefloop.formats import READERS, Mapping, UnknownFormat
from prefloop.formats.guarded import Located, Reading
from prefloop.judging.kinds import IMPORTED, names_where
from prefloop.records import n_ranked
from prefloop.types import PrefloopError

BATCH = 1_000  # records a transaction
BATCH_ROWS = 20_000  # or fewer, where records are large
_SWEEP = 500

Progress = Callable[[int, int, str], None]
Transaction = Callable[[], AbstractContextManager[object]]


class FileChanged(PrefloopError):
    """The file has changed since it was checked."""


@contextmanager
def _few_collections() -> Iterator[None]:
    """Run the garbage collector a hundred times less often: an import makes millions of objects and no cycles, and
    searching them again and again took a fifth of its time.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@_few_collections()
@file_not_mapped()
def import_file(
    *,
    project: Project | Callable[[], Project],
    path: Path | str,
    format: str = "auto",
    mapping: Mapping | None = None,
    name: str,
    created_by: User | None,
    now: datetime,
    progress: Progress = lambda step, n_steps, message: None,
    in_transaction: Transaction = transaction.atomic,
    max_records: int = MAX_RECORDS,
) -> ImportBatch:
    """Import a file, a directory or a zip of one, and derive the labels; all of it or nothing.

    A known record with the same content is left unchanged; with new labels on the same question and answers these are
    added; with other content it is refused. `mapping` reads any table by its columns. `project` may be a function that
    creates one: it is called after the whole file was found valid, so that a refused file creates no project. Raises
    RecordsError (up to 50 lines, nothing written), UnknownFormat, BadMapping, UnreadableFile, CompressedFile,
    NothingToImport or ImportBusy. `in_transaction` opens each transaction; a worker passes one with its fencing token.
    """
    path = Path(path)
    if format not in ("auto", *READERS):
        raise UnknownFormat(f"unknown format {format!r}; known: auto, {', '.join(READERS)}")

    def surveyed(file: Reading, project: Project | None) -> Survey:
        return survey(
            file,
            project=project,
            on_record=lambda n, _: progress(0, 0, f"checked {n:,}") if n % 500 == 0 else None,
            max_records=max_records,
        )

    def bring(file: Reading, found: Survey, project: Project) -> ImportBatch:
        return _bring(
            file,
            found,
            project=project,
            name=name,
            created_by=created_by,
            now=now,
            progress=progress,
            in_transaction=in_transaction,
        )

    if isinstance(project, Project):
        with import_lock(project), opened(path, format, mapping, name=name) as file:
            imports_sweep(project=project)
            return bring(file, surveyed(file, project), project)
    with opened(path, format, mapping, name=name) as file:
        found = surveyed(file, None)
        made = project()
        try:
            with import_lock(made):
                return bring(file, found, made)
        except BaseException:
            made.delete()
            raise


def _bring(
    file: Reading,
    found: Survey,
    *,
    project: Project,
    name: str,
    created_by: User | None,
    now: datetime,
    progress: Progress,
    in_transaction: Transaction,
) -> ImportBatch:
    """Write the surveyed records; new ones in pieces, additions to known ones together with marking the batch ready."""
    before = _label_judges(project)
    with in_transaction():
        batch = ImportBatch.objects.create(
            project=project,
            name=name[:200],
            format=found.format,
            sha256=found.sha256,
            n_records=found.n_new,
            n_unchanged=found.n_unchanged,
            created_by=created_by,
        )
        notes = [ImportNote(batch=batch, text=text[:300], n=n) for text, n in found.notes.items()]
        ImportNote.objects.bulk_create(notes)
    try:
        judges = _write(file, found, project=project, batch=batch, progress=progress, opened=in_transaction, now=now)
        with in_transaction():
            known = _compared(found.additions)
            comparisons_lock(known)
            touched = writing.write_additions(found.additions, project=project, batch=batch, judges=judges)
            batch.added = _counts(found.additions)
            batch.ready = True
            batch.save(update_fields=["added", "ready"])
            preferences_derive(project=project, comparison_ids=touched, now=now)
            new = list(Comparison.objects.filter(batch=batch).order_by("id").values_list("id", flat=True))
            reviews_settle(known)
            seats_settle(project=project, comparison_ids=touched)
            seats_of_new(project=project, comparison_ids=new)
            data = {"format": found.format, "sha256": found.sha256, "n_records": found.n_new}
            audit(
                actor=created_by,
                verb="data.import",
                target=f"batch:{batch.pk}",
                project=project,
                data=data | ({"added": batch.added} if batch.added else {}),
            )
            _tell(batch, project)
    except Exception:
        # Not for a kill, which leaves the batch to the next import; a fenced worker's sweep must not write either.
        with in_transaction():
            imports_sweep(project=project)
        raise
    progress(found.n_new, found.n_new, "deriving labels")
    _derive(project=project, before=before, now=now)
    reviews_complete(project=project)
    _sets_make(project, batch, in_transaction)
    _ratings_ask(project, batch, found.additions, in_transaction)
    return batch


def _tell(batch: ImportBatch, project: Project) -> None:
    """Tell that a file was imported: one event for all its votes, unless it had nothing new."""
    if (batch.n_records or batch.added) and is_heard("import.finished", project):
        told = {"import": batch.pk, "name": batch.name, "format": batch.format, "counts": batch_counts(batch)}
        tell("import.finished", project, **told)


def _sets_make(project: Project, batch: ImportBatch, opened: Transaction) -> None:
    """Put the new answers into sets, where people rank sets."""
    current = guideline_current(project)
    if current is None or not current.declared.of_sets:
        return
    prompts = Prompt.objects.filter(batch=batch).order_by("pk").values_list("pk", flat=True)
    for ids in chunks(list(prompts), PROMPTS_AT_ONCE):
        with opened():
            sets_make(project=project, size=current.set_size, prompt_ids=ids)


def _ratings_ask(project: Project, batch: ImportBatch, additions: Sequence[Addition], opened: Transaction) -> None:
    """Ask for ratings of the new answers, and no more for those that the file rates, where people rate answers."""
    if not Project.objects.filter(pk=project.pk, asks_ratings=True).exists():
        return
    prompts = Prompt.objects.filter(batch=batch).order_by("pk").values_list("pk", flat=True)
    rated = [one.prompt for one in additions if one.record.ratings]
    for ids in chunks([*prompts, *rated], PROMPTS_AT_ONCE):
        with opened():
            seats_of_answers(project=project, prompt_ids=ids)


def _compared(additions: Sequence[Addition]) -> list[int]:
    """The comparisons of known records to which something is added."""
    found: list[int] = []
    for some in chunks(additions, _SWEEP):
        rows = Comparison.objects.filter(prompt__in=[one.prompt for one in some]).order_by("id")
        found += rows.values_list("id", flat=True)
    return found


def _counts(additions: Sequence[Addition]) -> dict[str, int]:
    """Count what was added to known records; empty if nothing was."""
    if not additions:
        return {}
    kinds = ("votes", "rankings", "ratings", "verdicts", "overrides", "scores", "flags")
    return {"records": len(additions)} | {
        kind: sum(len(getattr(one.record, kind)) for one in additions) for kind in kinds
    }


def imports_sweep(*, project: Project) -> int:
    """Remove unfinished imports; returns how many there were. The caller holds the import lock."""
    batches = ImportBatch.objects.filter(project=project, ready=False)
    n = 0
    for batch in batches:
        # Votes protect the votes they replace, so the last of each line goes first.
        while Vote.objects.filter(comparison__batch=batch, superseded_by__isnull=True).delete()[0]:
            pass
        while Rating.objects.filter(completion__batch=batch, superseded_by__isnull=True).delete()[0]:
            pass
        while ids := list(Prompt.objects.filter(batch=batch).values_list("pk", flat=True)[:_SWEEP]):
            Prompt.objects.filter(pk__in=ids).delete()
        batch.delete()
        n += 1
    if n:
        nothing = {f"{name}__isnull": True for name in ("verdicts", "scores", "overrides", "rankings", "runs")}
        made = names_where(lambda kind: not kind.asked)
        Judge.objects.filter(project=project, kind__in=made, **nothing).delete()
    return n


def _write(
    file: Reading,
    found: Survey,
    *,
    project: Project,
    batch: ImportBatch,
    progress: Progress,
    opened: Transaction,
    now: datetime,
) -> dict[str, Judge]:
    """Write the new records under their batch; returns the judges in the file."""
    with opened():
        policies = {name: policy for name, policy in found.judges.items() if name in found.speaking}
        judges = _judges(project, policies, found.by, now=now)
        if found.criteria:
            criteria_know(project=project, label_judges=dict.fromkeys(sorted(found.criteria), ""))
    if not found.n_new:
        return judges
    with opened():
        prompt_set, _ = PromptSet.objects.get_or_create(project=project, name=_set_name(batch.name))
    done = 0
    waiting: list[Located] = []
    rows = 0

    def flush() -> None:
        nonlocal done, rows
        # nothing of it was there when it was surveyed, under the same lock
        some_known = found.n_new < found.n_records
        known = known_records(project, [item.record.id for item in waiting]) if some_known else {}
        new = [item for item in waiting if item.record.id not in known]
        with opened():
            writing.write_batch(new, project=project, batch=batch, prompt_set=prompt_set, judges=judges)
        done += len(new)
        rows = 0
        waiting.clear()
        progress(done, found.n_new, f"wrote {done:,} of {found.n_new:,}")

    for item in surveyed_records(file, found):
        waiting.append(item)
        record = item.record
        rows += 1 + len(record.completions) + len(record.votes) + len(record.verdicts) + len(record.scores)
        rows += n_ranked(record) + len(record.ratings) if record.rankings or record.ratings else 0
        if len(waiting) >= BATCH or rows >= BATCH_ROWS:
            flush()
    flush()
    if done != found.n_new or sha256_of(file.path) != found.sha256:
        raise FileChanged(f"{file.path.name}: changed while it was imported; nothing was kept")
    return judges


def _set_name(name: str) -> str:
    return Path(name).stem[:120] or "imported"


def _judges(project: Project, policies: dict[str, str], by: dict[str, str], *, now: datetime) -> dict[str, Judge]:
    """Return the judge of each name, created if there is none; an existing name stands for its newest version."""
    newest = dict(
        Judge.objects.filter(project=project).values("name").annotate(v=Max("version")).values_list("name", "v")
    )
    known = {
        judge.name: judge
        for judge in Judge.objects.filter(project=project).order_by("version")
        if newest[judge.name] == judge.version
    }
    wanted = {UNNAMED_JUDGE if name == "" else name: policy for name, policy in policies.items()}
    for name in sorted(wanted.keys() - known.keys()):
        known[name] = Judge.objects.create(
            project=project,
            name=name,
            kind=IMPORTED.name,
            order_policy=wanted[name],
            criterion_name=by.get(name, ""),
            # it labels nothing, so it must not stand between a project and the one judge that does
            retired_at=now if name == UNNAMED_JUDGE else None,
        )
    return {("" if name == UNNAMED_JUDGE else name): known[name] for name in wanted}


def _label_judges(project: Project) -> dict[str, Judge | None]:
    return {criterion: label_judge(project, criterion) for criterion in ("", *project.known_criteria)}


def _derive(*, project: Project, before: dict[str, Judge | None], now: datetime) -> None:
    """Derive missing labels: of this import, and of one that was killed just before it did so.

    A new judge in the project may change which judge is the label judge; then all labels are derived again.
    """
    after = _label_judges(project)
    if any(judge is not None and judge != after[criterion] for criterion, judge in before.items()):
        preferences_derive(project=project, now=now)
        return
    lacks = reduce(or_, [unlabelled(criterion) for criterion in after])
    waiting = Comparison.objects.filter(ready(), lacks, project=project).order_by("id")
    preferences_derive(project=project, comparison_ids=list(waiting.values_list("id", flat=True)), now=now)
