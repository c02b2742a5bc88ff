"""The figures that a round is measured by, each declared once for cards, charts, tables and the frontier."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop


@dataclass(frozen=True, slots=True)
class RoundFigure:
    key: str  # of a round's result
    bounds: str  # key of its interval; "": it has none
    name: str  # as it stands within a sentence
    unit: str  # "%": the value is a fraction
    short: str = ""  # in a node of the lineage; "": it is not shown there
    head: str = ""  # of its column on the page of policies; in lower case a term of apps/core/terms.py
    charted: bool = False  # drawn by round where loops are compared
    of_a_start: bool = False  # says something of a start too, which is measured against itself

    @property
    def title(self) -> str:
        return str(capfirst(_(self.name)))

    @property
    def title_with_unit(self) -> str:
        return self.title if self.unit in ("", "%") else f"{self.title}, {_(self.unit)}"


GOLD = RoundFigure("gold_mean", "gold_ci95", gettext_noop("gold score"), "", "gold", "Gold", True, True)
WIN_RATE = RoundFigure(
    "win_rate_vs_initial",
    "win_rate_ci95",
    gettext_noop("win rate against the start"),
    "%",
    short="win",
    head=gettext_noop("Win rate"),
    charted=True,
)
FIGURES = (
    GOLD,
    WIN_RATE,
    RoundFigure(
        "lc_win_rate_vs_initial",
        "lc_win_rate_ci95",
        gettext_noop("win rate against the start at equal lengths"),
        "%",
    ),
    RoundFigure(
        "win_rate_vs_previous",
        "win_rate_vs_previous_ci95",
        gettext_noop("win rate against the round before"),
        "%",
    ),
    RoundFigure(
        "lc_win_rate_vs_previous",
        "lc_win_rate_vs_previous_ci95",
        gettext_noop("win rate against the round before at equal lengths"),
        "%",
    ),
    RoundFigure("kl", "kl_ci95", gettext_noop("KL from the start"), gettext_noop("nats"), "KL", "KL", charted=True),
    RoundFigure("mean_length", "", gettext_noop("length"), gettext_noop("characters"), charted=True, of_a_start=True),
    RoundFigure(
        "accuracy",
        "accuracy_ci95",
        gettext_noop("accuracy on held-out comparisons"),
        "%",
        short="accuracy",
        head=gettext_noop("Accuracy"),
        charted=True,
    ),
    RoundFigure(
        "judge_accuracy",
        "judge_accuracy_ci95",
        gettext_noop("accuracy as a judge of held-out pairs"),
        "%",
    ),
)
PAIRS = RoundFigure("n_pairs", "", gettext_noop("pairs"), "")  # what a round was trained on, where two are compared
