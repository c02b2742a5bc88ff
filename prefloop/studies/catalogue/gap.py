"""The gap between online and offline alignment (Tang et al. 2024, arXiv:2405.08448v1), with its control of coverage.

The proxy that labels online is trained on the pairs and labels that the offline arm is trained on, so both sides have
seen the same comparisons; all three arms have the same loss. All are swept over the same learning rates and read at
their best at each KL: with one rate the online arm stayed below half a nat, where the offline arm went on to two. A
tandem run replays the online run of its own rate. The studies of the hypotheses (coverage by the order of the replay,
quality of the data, classification) read the same online and offline runs.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from prefloop.config import Value
from prefloop.studies.claims import Above, Falls, Near
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

_RATE = MappingProxyType({"objective.lr": (3e-4,)})


def _replay(name: str, title: str, **more: Value) -> Arm:
    settings: dict[str, Value] = {"evaluation.every": 8, **more}
    return Arm(name=name, title=title, recipe="tandem-ipo", settings=settings, sweep=_RATE, after="online")


SHUFFLING = Study(
    name="shuffling",
    title="The data of an on-policy run in its own order, and shuffled",
    question="Does it matter in which order the answers come?",
    finding="The data of an on-policy run in its own order train the same policy; shuffled within a few batches nearly "
    "the same; shuffled over the whole run a worse one.",
    paper=_GAP,
    arms=(
        Arm(name="online", title="online IPO", recipe="online-ipo", settings=_ONLINE, sweep=_RATE, rounds=1),
        _replay("logged", "replay in order", **{"memory.order": "logged"}),
        _replay("near", "shuffled within 4 batches", **{"memory.order": "window:4"}),
        _replay("far", "shuffled over the run"),  # as tandem IPO does
    ),
    claims=(Near("logged", "online", within=0.02), Near("near", "online"), Above("near", "far")),
    departures=(*_DEPARTURES, "The run has 48 batches; the paper's 4,000, with windows of 4 and of 500."),
)


def _fixed(name: str, title: str, **more: Any) -> Arm:
    """IPO on pairs that are all drawn before training, labelled by the proxy."""
    settings: dict[str, Value] = {"refresh": "round", "prompts.n": 768, "evaluation.every": 12}
    settings |= more.pop("settings", {})
    return Arm(name=name, title=title, recipe="online-ipo", settings=settings, sweep=_SWEEP, rounds=1, **more)


QUALITY = Study(
    name="quality",
    title="Pairs of better answers, drawn before training",
    question="Is it enough to have good answers in the data?",
    finding="Pairs of the answers of the last on-policy policy do not close the gap; pairs near the starting policy, "
    "which are worse answers, teach more.",
    paper=_GAP,
    arms=(
        Arm(name="online", title="online IPO", recipe="online-ipo", settings=_ONLINE, sweep=_SWEEP, rounds=1),
        _fixed("last", "pairs of the last policy", after="online", uses="draws.source"),
        _fixed("first", "pairs of the starting policy", settings={"draws.source": "initial"}),
    ),
    claims=(Above("online", "last"), Above("first", "last")),
    departures=(
        *_DEPARTURES,
        "The pairs are labelled by the proxy; in the paper by the golden model.",
        "Of the paper's four fixed sets those with both answers from one policy.",
    ),
)

CLASSIFIER = Study(
    name="classifier",
    title="Telling stored pairs apart, and writing better answers",
    question="Does a policy that ranks my pairs rightly also answer better?",
    finding="Offline training ranks the stored pairs better than on-policy training does, and answers worse; the "
    "log-prob of the better stored answers falls, and most in offline training.",
    paper=_GAP,
    arms=tuple(arm for arm in _arms("IPO") if arm.name != "tandem"),
    claims=(
        Above("offline", "online", by="accuracy"),
        Above("online", "offline"),
        Falls("offline", "chosen"),
        Above("online", "offline", by="chosen"),
    ),
    departures=(*_DEPARTURES, "128 stored pairs, each of another prompt; in the paper 256."),
)

STUDIES = (GAP, GAP_BO2, SHUFFLING, QUALITY, CLASSIFIER)
