"""People's overrides in training sets: which ones a set uses for the first time, and what they changed in it.

One rule for pages, cards, JSON and counterfactuals:
1. an override counts in the first of a loop's training sets that holds it; in later ones it is learnt again;
2. to choose what the judge had said is to agree with it, and no override;
3. what an override changed is said apart: the label may have been the same without it, by people's votes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.core.chunks import chunks
from apps.labels.models import Override
from apps.training.models import Loop, Snapshot, SnapshotItem, TrainingRun


class Labelled(Protocol):
    """A label of a training set, frozen or about to be."""

    @property
    def source(self) -> str: ...

    @property
    def label_ids(self) -> Sequence[str]: ...


AnyLabel = TypeVar("AnyLabel", bound=Labelled)


def overrides_before(loop: Loop, index: int) -> set[str]:
    """Return the overrides, as label ids, that a loop's rounds before round `index` used.

    Round 0 trains ingredients (a reward model), which are not the loop's policy.
    """
    items = SnapshotItem.objects.filter(
        source="override",
        snapshot__training_runs__round__loop=loop,
        snapshot__training_runs__round__index__gte=1,
        snapshot__training_runs__round__index__lt=index,
    )
    return {one for ids in items.values_list("label_ids", flat=True) for one in ids}


def split_overrides(
    labels: Iterable[AnyLabel], *, before: Collection[str] = ()
) -> tuple[list[AnyLabel], list[AnyLabel]]:
    """Return the labels that are overrides: new ones, and those replayed from `before`."""
    found = [label for label in labels if label.source == "override"]
    agreed = _agreements(one for label in found for one in label.label_ids)
    known = set(before)
    new: list[AnyLabel] = []
    again: list[AnyLabel] = []
    for label in found:
        # of a mean of several labels only the overrides count, not the votes and verdicts beside them
        ids = {one for one in label.label_ids if one.startswith("override:")}
        if ids and ids <= agreed:
            continue
        (again if ids and ids - agreed <= known else new).append(label)
    return new, again


def _agreements(label_ids: Iterable[str]) -> set[str]:
    """Those of these overrides that equal the judge's label."""
    ids = sorted({int(one.split(":", 1)[1]) for one in label_ids if one.startswith("override:")})
    rows = [row for part in chunks(ids, 500) for row in Override.objects.filter(pk__in=part)]
    return {f"override:{row.pk}" for row in rows if not row.is_correction}


def overridden_runs() -> QuerySet[TrainingRun]:
    """Finished runs whose training sets contain a label by an override, new or replayed."""
    overridden = SnapshotItem.objects.filter(snapshot=OuterRef("snapshot"), source="override")
    return TrainingRun.objects.filter(Exists(overridden), output__isnull=False)


@dataclass(frozen=True, slots=True)
class OverrideShare:
    """The effect of people's overrides on one training set; the last three count among `n_overrides`."""

    n_labels: int
    n_overrides: int  # labels by an override that the loop learns from for the first time
    n_replayed: int  # labels by an override that an earlier round learnt from
    n_flipped: int  # from one answer to the other
    n_added: int  # no pair before, a pair now
    n_softened: int  # to or from a tie, or two bad answers

    @property
    def n_changed(self) -> int:
        return self.n_flipped + self.n_added + self.n_softened

    @property
    def in_words(self) -> str:
        return " ".join(part for part in (self._new, self._again) if part)

    @property
    def _new(self) -> str:
        if not self.n_overrides:
            if self.n_replayed:
                return _("No override is new.")
            return _("None of the %(n)s labels comes from people’s overrides.") % {"n": f"{self.n_labels:,}"}
        start = ngettext(
            "%(k)s of %(n)s labels comes from people’s overrides",
            "%(k)s of %(n)s labels come from people’s overrides",
            self.n_overrides,
        ) % {"k": f"{self.n_overrides:,}", "n": f"{self.n_labels:,}"}
        if not self.n_changed:
            return start + _("; no label changed.")
        did = [
            text % {"n": n}
            for n, text in (
                (self.n_flipped, _("%(n)d flipped")),
                (self.n_added, _("%(n)d added")),
                (self.n_softened, _("%(n)d to or from a tie")),
            )
            if n
        ]
        changed = ngettext("changed %(n)d label", "changed %(n)d labels", self.n_changed) % {"n": self.n_changed}
        return f"{start}; {changed} ({', '.join(did)})."

    @property
    def _again(self) -> str:
        if not self.n_replayed:
            return ""
        text = ngettext(
            "%(n)d label of an earlier round’s override was replayed.",
            "%(n)d labels of earlier rounds’ overrides were replayed.",
            self.n_replayed,
        )
        return text % {"n": self.n_replayed}


def override_share(snapshot: Snapshot) -> OverrideShare:
    """Compare each overridden label of a training set with what it would have been without."""
    run = TrainingRun.objects.filter(snapshot=snapshot, round__isnull=False).select_related("round__loop").first()
    before = overrides_before(run.round.loop, run.round.index) if run is not None and run.round is not None else set()
    items = SnapshotItem.objects.filter(snapshot=snapshot)
    new, again = split_overrides(items.filter(source="override"), before=before)
    flipped = added = softened = 0
    for item in new:
        now, without = item.p_first, item.p_first_without_overrides
        if without is None:
            added += 1
        elif (now - 0.5) * (without - 0.5) < 0:
            flipped += 1
        elif (now == 0.5) != (without == 0.5) or item.both_bad != item.both_bad_without_overrides:
            softened += 1
    return OverrideShare(items.count(), len(new), len(again), flipped, added, softened)
