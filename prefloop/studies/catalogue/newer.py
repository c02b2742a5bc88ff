"""Newer methods, each against the one that it changes: DPO whose reference follows the policy, a bonus for exploring,
and a teacher on the student's own answers.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from prefloop.studies.claims import Above
from prefloop.studies.declaration import Arm, Study

_TWICE = MappingProxyType({"objective.epochs": 2, "evaluation.every": 24})
_RATES = MappingProxyType({"objective.lr": (1e-4, 3e-4)})
_WINS = "Wins are counted against the starting policy by the truth; in the paper between the methods, by a large model."


def _stored(name: str, title: str, recipe: str, **more: Any) -> Arm:
    return Arm(name=name, title=title, recipe=recipe, settings=_TWICE, sweep=_RATES, **more)


TRUST_REGION = Study(
    name="trust-region",
    title="DPO whose reference follows the policy",
    question="Should the reference stay where training began?",
    finding="At equal KL from the start, DPO whose reference follows the policy, softly after every step or as a copy "
    "every so many, beats DPO whose reference stays.",
    paper="Gorbatovski et al. 2024 (TR-DPO), arXiv:2404.09656",
    arms=(
        _stored("soft", "TR-DPO, soft updates", "tr-dpo"),
        _stored("hard", "TR-DPO, hard updates", "tr-dpo-hard"),
        _stored("plain", "offline DPO", "dpo"),
    ),
    claims=(Above("soft", "plain"), Above("hard", "plain")),
    departures=(_WINS, "The reference is copied every 12 steps; the paper's every 256 to 512."),
)

_STEPS = MappingProxyType({"prompts.n": 768, "evaluation.every": 8})

EXPLORATION = Study(
    name="exploration",
    title="A bonus for what the start would not say",
    question="Does my policy miss good answers because it never tries them?",
    finding="Online DPO with a bonus for leaving what the starting policy says (XPO) beats plain online DPO.",
    paper="Xie et al. 2024 (XPO), arXiv:2405.21046",
    arms=(
        Arm(name="xpo", title="XPO", recipe="xpo", settings=_STEPS, sweep={"objective.alpha": (1e-3, 1e-2)}, rounds=1),
        Arm(name="online", title="online DPO", recipe="oaif-dpo", settings=_STEPS, rounds=1),
    ),
    claims=(Above("xpo", "online"),),
    departures=(_WINS, "Plain online DPO draws both answers from the policy; XPO one of them from its start."),
)

DISTILLATION = Study(
    name="distillation",
    title="A teacher on the student's own answers, and on stored ones",
    question="I have a better policy: on which answers should another one learn from it?",
    finding="A student that matches its teacher's probabilities on its own fresh answers beats one that matches them "
    "on stored answers.",
    paper="Agarwal et al. 2023 (GKD), arXiv:2306.13649",
    arms=(
        Arm(
            name="teacher",
            title="the teacher, by online DPO",
            recipe="oaif-dpo",
            settings={**_STEPS, "objective.lr": 3e-4},
            rounds=1,
        ),
        Arm(
            name="own",
            title="on its own answers",
            recipe="on-policy-distillation",
            settings=_STEPS,
            rounds=1,
            after="teacher",
            uses="objective.reference",
        ),
        Arm(
            name="stored",
            title="on stored answers",
            recipe="gkd",
            settings={**_STEPS, "objective.beta": 1.0, "objective.lambda": 0.0},
            rounds=1,
            after="teacher",
            uses="objective.reference",
        ),
    ),
    claims=(Above("own", "stored"),),
    departures=("The teacher is a policy of the same size that was trained further; the paper's is larger.",),
)

STUDIES = (TRUST_REGION, EXPLORATION, DISTILLATION)
