"""The gap between online and offline alignment (Tang et al. 2024, arXiv:2405.08448v1), with its control of coverage.

The proxy that labels online is trained on the pairs and labels that the offline arm is trained on, so both sides have
seen the same comparisons; all three arms have the same loss. All are swept over the same learning rates and read at
their best at each KL: with one rate the online arm stayed below half a nat, where the offline arm went on to two. A
tandem run replays the online run of its own rate.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from prefloop.studies.claims import Above, Near
from prefloop.studies.declaration import Arm, Study

_GAP = "Tang et al. 2024, arXiv:2405.08448v1"
_DEPARTURES = (
    "Wins are counted against the starting policy; in the paper against a golden policy.",
    "The proxy scores each answer by itself; the paper's compares two.",
    "Runs are read at fixed levels of KL; the paper pools points by bins.",
)
# of the letters' training prompts, so that a run goes through as many batches as it has prompts for
_ONLINE = MappingProxyType({"prompts.n": 768, "evaluation.every": 8})
_OFFLINE = MappingProxyType({"evaluation.every": 24})
_SWEEP = MappingProxyType({"objective.lr": (1e-4, 3e-4)})


def _arms(loss: str) -> tuple[Arm, ...]:
    """The three regimes of one loss, by its name in titles and, in small letters, in recipes."""

    def arm(regime: str, **more: Any) -> Arm:
        return Arm(name=regime, title=f"{regime} {loss}", recipe=f"{regime}-{loss.lower()}", **more)

    return (
        arm("online", settings=_ONLINE, sweep=_SWEEP, rounds=1),
        arm("tandem", settings={"evaluation.every": 8}, sweep=_SWEEP, after="online"),
        arm("offline", settings=_OFFLINE, sweep=_SWEEP),
    )


GAP = Study(
    name="gap",
    title="On-policy against offline IPO, and the data of one for the other",
    question="I have labelled pairs: is it worth sampling anew at every step?",
    finding="At every KL on-policy IPO wins more often than offline IPO, and training on the shuffled on-policy data "
    "(tandem) does not close the gap.",
    paper=_GAP,
    arms=_arms("IPO"),
    claims=(Above("online", "offline"), Above("online", "tandem")),
    departures=_DEPARTURES,
)

GAP_BO2 = Study(
    name="gap-bo2",
    title="On-policy against offline Bo2: imitation of the better answer",
    question="Does the gap come from the contrast of the loss?",
    finding="Without a contrast, imitating the better of two, the gap stays, and training on the shuffled on-policy "
    "data comes near on-policy training.",
    paper=_GAP,
    arms=_arms("Bo2"),
    claims=(Above("online", "offline"), Near("tandem", "online")),
    departures=_DEPARTURES,
)

STUDIES = (GAP, GAP_BO2)
