"""Who measured a loop's policies, in plain values and in words, and people's votes on the pairs given to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from apps.training.models import Loop, Round, Stage
from apps.training.rounds.evaluation import people_of
from prefloop.recipes.evaluation import TRUTH
from prefloop.stats.head_to_head import WithPeople
from prefloop.stats.ppi import MIN_HUMAN


@dataclass(frozen=True, slots=True)
class PeopleSaid:
    """A round's pairs for people: `n_asked` of them, and the result of those that were answered."""

    index: int
    n_asked: int
    said: WithPeople

    @property
    def few(self) -> int:
        """Prompts that people still have to decide before there is an interval."""
        return max(0, MIN_HUMAN - self.said.both.n)


def evaluation_of(loop: Loop) -> dict[str, Any]:
    """Return `{"judge", "independent"}` of the newest measured round: the top of `run_recipe --json`."""
    told = _newest(loop)
    return {"judge": told.get("by") or None, "independent": told.get("independent")}


def measurer_in_words(loop: Loop) -> str:
    """Say who measures the loop; empty before a policy was measured, or if none is."""
    told = _newest(loop)
    name, independent = told.get("by"), told.get("independent")
    if not told:
        return ""
    if name == TRUTH:
        return _("Win rates are measured by the world’s own truth, which is never trained on.")
    if not name:
        return _(
            "No win rate: no judge compares the answers. Make a judge on the Judges page, or name one in the settings "
            "(evaluation.judge). KL and length are measured anyway."
        )
    if independent:
        return _("Win rates are measured by %(judge)s, which did not label the training data.") % {"judge": name}
    return _(
        "Win rates are measured by %(judge)s, which also labelled the training data: no other judge can measure here. "
        "They show how well the policy pleases this judge; an independent one may disagree."
    ) % {"judge": name}


def people_said(rounds: Sequence[Round]) -> list[PeopleSaid]:
    """Return people's votes on each round's pairs, if it gave them any."""
    found = []
    for round_ in rounds:
        said = people_of(round_.evaluation)
        if said is not None:
            found.append(PeopleSaid(round_.index, len(round_.evaluation["people"]), said))
    return found


def _newest(loop: Loop) -> dict[str, Any]:
    rounds = loop.rounds.filter(stage=Stage.DONE).order_by("-index").values_list("evaluation", flat=True)
    return next((told for told in rounds if told), {})
