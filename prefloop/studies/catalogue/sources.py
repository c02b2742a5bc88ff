"""Where the pairs come from: fresh answers labelled by AI (OAIF), answers accepted by rejection sampling (RSO), and
quantiles of a moving anchor (J-BOND), each against the method that its paper compares it with; a policy's own scores.
"""

from __future__ import annotations

from types import MappingProxyType

from prefloop.config import Value
from prefloop.studies.claims import Above, Rises
from prefloop.studies.declaration import Arm, Study

_STEPS = MappingProxyType({"prompts.n": 768, "evaluation.every": 8})
_TWICE = MappingProxyType({"objective.epochs": 2, "evaluation.every": 24})
_RATES = MappingProxyType({"objective.lr": (1e-4, 3e-4)})
_WINS = "Wins are counted against the starting policy by the truth; in the paper between the methods, by people."

OAIF = Study(
    name="oaif",
    title="Online AI feedback against offline DPO",
    question="Is a judge that labels fresh answers worth more than the pairs that I have?",
    finding="DPO on fresh answers, labelled by AI at every step, beats DPO on stored pairs.",
    paper="Guo et al. 2024 (OAIF), arXiv:2402.04792",
    arms=(
        Arm(name="online", title="online DPO", recipe="oaif-dpo", settings=_STEPS, rounds=1),
        Arm(
            name="offline",
            title="offline DPO",
            recipe="dpo",
            settings=_TWICE,
            sweep=_RATES,
        ),
    ),
    claims=(Above("online", "offline"),),
    departures=(_WINS, "The annotator is a reward model trained on the stored pairs; the paper's a large model."),
)

WEIGHTED = Study(
    name="weighted",
    title="Stored pairs, weighted as if they were the policy's own",
    question="Can stored pairs be made to act like fresh ones?",
    finding="DPO in which a stored pair counts by how likely its answers are under today's policy (WPO) beats plain "
    "DPO on the same pairs.",
    paper="Zhou et al. 2024 (WPO), arXiv:2406.11827",
    arms=(
        Arm(name="weighted", title="WPO", recipe="wpo", settings=_TWICE, sweep=_RATES),
        Arm(name="plain", title="offline DPO", recipe="dpo", settings=_TWICE, sweep=_RATES),
        Arm(name="online", title="online DPO", recipe="oaif-dpo", settings=_STEPS, rounds=1),
    ),
    claims=(Above("weighted", "plain"), Above("online", "weighted")),
    departures=(_WINS,),
)

_RSO = MappingProxyType({"prompts.n": 256, "evaluation.every": 6})

RSO = Study(
    name="rso",
    title="Rejection sampling, ranked samples, and stored pairs",
    question="Which answers of the starting policy are worth being compared?",
    finding="Pairs of answers that rejection sampling accepts (RSO) beat pairs of plain samples, and those beat the "
    "stored pairs (direct).",
    paper="Liu et al. 2023 (RSO), arXiv:2309.06657",
    arms=(
        Arm(name="rso", title="RSO", recipe="rso", settings={**_RSO, "draws.n": 32}),
        Arm(name="rank", title="ranked samples", recipe="rso", settings={**_RSO, "draws.n": 8, "filter.kind": "all"}),
        Arm(
            name="direct",
            title="stored pairs",
            recipe="dpo",
            settings={"objective.beta": 0.05, "objective.lr": 3e-4, "evaluation.every": 12},
        ),
    ),
    claims=(Above("rso", "rank"), Above("rank", "direct")),
    departures=(_WINS, "Eight of 32 answers are accepted; in the paper of 64."),
)

J_BOND = Study(
    name="j-bond",
    title="J-BOND against REINFORCE",
    question="Does distilling Best-of-N give more for its KL than a policy gradient?",
    finding="At equal KL, J-BOND's reward is at least that of REINFORCE (RLOO) at every strength of its penalty.",
    paper="Sessa et al. 2024 (BOND), arXiv:2407.14622v1",
    arms=(
        Arm(
            name="j-bond",
            title="J-BOND",
            recipe="j-bond",
            settings=_STEPS,
            sweep={"objective.lr": (1e-4, 3e-4)},
            rounds=1,
        ),
        Arm(
            name="rloo",
            title="RLOO",
            recipe="rloo",
            settings={**_STEPS, "draws.n": 2},
            sweep={"objective.beta": (0.01, 0.1)},
            rounds=1,
        ),
    ),
    claims=(Above("j-bond", "rloo", least=0.1),),
    measure="gold",
    departures=("RLOO has two strengths of its penalty; the paper's REINFORCE four.",),
)

_BOND_STEPS = MappingProxyType({**_STEPS, "draws.1.n": 2, "objective.n": 4})
_BOND_RATES = MappingProxyType({"objective.lr": (1e-4, 3e-4)})


def _bond(name: str, title: str, beta: float) -> Arm:
    settings = {**_BOND_STEPS, "objective.jeffreys": beta}
    return Arm(name=name, title=title, recipe="bond", settings=settings, sweep=_BOND_RATES, rounds=1)


BOND = Study(
    name="bond",
    title="BOND with the forward KL, the backward KL, and both",
    question="How should I weigh the two KLs of BOND?",
    finding="Both KLs together (β ½) give more reward at equal KL than the forward KL alone (β 0) and the backward KL "
    "alone (β 1).",
    paper="Sessa et al. 2024 (BOND), arXiv:2407.14622v1",
    arms=(
        _bond("forward", "BOND, β 0", 0.0),
        _bond("jeffreys", "BOND, β ½", 0.5),
        _bond("backward", "BOND, β 1", 1.0),
    ),
    claims=(Above("jeffreys", "forward", least=0.1), Above("jeffreys", "backward", least=0.1)),
    measure="gold",
    departures=(
        "Read as reward at equal KL from the start; the paper shows both KLs to the best of N.",
        "The reward has both terms; the paper trains on the first alone.",
    ),
)


def _rejection(n: int) -> Arm:
    settings: dict[str, Value] = {"draws.n": n, "prompts.n": 256, "evaluation.every": 6}
    return Arm(name=f"best-of-{n}", title=f"best of {n}", recipe="rs-ft", settings=settings, rounds=1)


REJECTION = Study(
    name="rejection",
    title="Rejection sampling: the best of more and more answers",
    question="How many answers should I draw for each prompt?",
    finding="A policy that is trained on the best of more answers has a higher reward, while every further doubling "
    "brings less.",
    paper="Touvron et al. 2023 (Llama 2), arXiv:2307.09288, § 3.2.3",
    arms=tuple(_rejection(n) for n in (2, 8, 32)),
    claims=(
        *(Rises(f"best-of-{n}", "gold") for n in (2, 8, 32)),
        Above("best-of-8", "best-of-2", least=0.1),
        Above("best-of-32", "best-of-8", least=0.1),
    ),
    measure="gold",
    departures=(
        "Policies are compared at equal KL; the paper shows the maximum and the median reward of N answers, which the "
        "page of a best-of-n loop has.",
    ),
)

SELF_REWARDING = Study(
    name="self-rewarding",
    title="A policy that judges itself",
    question="Can my policy get better by its own scores alone?",
    finding="Round by round the policy wins more often against the start, while its answers grow.",
    paper="Yuan et al. 2024 (Self-Rewarding), arXiv:2401.10020",
    arms=(
        Arm(
            name="self-rewarding",
            title="self-rewarding",
            recipe="self-rewarding",
            settings={"prompts.n": 128, "evaluation.every": 8},
            rounds=2,
        ),
    ),
    claims=(Rises("self-rewarding", "win", least=0.02), Rises("self-rewarding", "length", least=2.0)),
    seeds=3,
    departures=(_WINS, "Two rounds after teaching; the paper has three."),
)

_BUDGET = MappingProxyType({"prompts.n": 384, "evaluation.every": 6})
_STORED = MappingProxyType({"objective.epochs": 1, "evaluation.every": 12})
_ONCE = ("dpo", "tr-dpo", "ipo", "simpo", "orpo", "kto")
_FRESH = ("oaif-dpo", "xpo", "oaif-ipo", "rloo", "grpo", "j-bond", "online-ipo")

METHODS = Study(
    name="methods",
    title="Methods on one budget",
    question="Which recipe should I take?",
    finding="Methods that draw answers from the policy that is trained do better at equal KL than those that train on "
    "stored pairs.",
    paper="Tajwar et al. 2024, arXiv:2404.14367",
    arms=(
        *(Arm(name=name, title=name, recipe=name, settings=_STORED) for name in _ONCE),
        *(Arm(name=name, title=name, recipe=name, settings=_BUDGET, rounds=1) for name in _FRESH),
    ),
    claims=(Above("oaif-dpo", "dpo"), Above("oaif-ipo", "ipo"), Above("rloo", "dpo")),
    departures=(
        _WINS,
        "Each recipe runs once over its data, with the settings that were chosen for letters; no setting is swept.",
    ),
)

STUDIES = (OAIF, WEIGHTED, RSO, J_BOND, BOND, REJECTION, SELF_REWARDING, METHODS)
