"""Over-optimisation of a proxy (Gao et al. 2022, arXiv:2210.10760): its score goes up while gold goes up and down."""

from __future__ import annotations

from types import MappingProxyType

from prefloop.studies.claims import Above, PeaksLater, Rises, Turns
from prefloop.studies.declaration import Arm, Law, Study

_FAR = MappingProxyType(
    {"objective.beta": 0.0, "objective.lr": 4e-4, "prompts.n": 1024, "objective.epochs": 2, "evaluation.every": 16}
)

GOODHART = Study(
    name="goodhart",
    title="A proxy that is optimised too far",
    question="How far can I go against my reward model before it stops meaning anything?",
    finding="The proxy's score rises throughout, while gold rises, has a peak, and falls.",
    paper="Gao et al. 2022, arXiv:2210.10760",
    arms=(Arm(name="rloo", title="RLOO without a KL penalty", recipe="rloo", settings=_FAR, rounds=1),),
    claims=(Rises("rloo", "proxy"), Turns("rloo", "gold", least=0.1)),
    laws=(Law("rloo", "rl"),),
    measure="gold",
    departures=(
        "The policy learns by RLOO; the paper's by PPO.",
        "One proxy, trained on the project's labels; the paper has nine sizes of proxies.",
        "Gold is the truth of the project's world; the paper's a larger reward model.",
    ),
)

_SIZES = (60, 240, 960)  # training prompts whose labels a proxy learns from


def _proxies() -> tuple[Arm, ...]:
    """For each size a reward model, and a policy that is trained against it."""
    arms: list[Arm] = []
    for n in _SIZES:
        made = f"proxy-{n}"
        arms.append(Arm(name=made, title=f"proxy of {n} prompts", recipe="reward-model", settings={"prompts.n": n}))
        arms.append(
            Arm(
                name=f"rloo-{n}",
                title=f"RLOO against the proxy of {n} prompts",
                recipe="rloo",
                settings=_FAR,
                rounds=1,
                after=made,
                uses="score.judge",
            )
        )
    return tuple(arms)


PROXIES = Study(
    name="proxies",
    title="Proxies that learnt from few and from many labels",
    question="How far can I go against my reward model if I label more?",
    finding="The more labels the proxy has learnt from, the further gold rises, and the later it falls.",
    paper="Gao et al. 2022, arXiv:2210.10760",
    arms=_proxies(),
    claims=(
        Above("rloo-960", "rloo-60", least=0.1),
        PeaksLater("rloo-960", "rloo-60"),
        *(Rises(f"rloo-{n}", "gold") for n in _SIZES),
    ),
    laws=tuple(Law(f"rloo-{n}", "rl") for n in _SIZES),
    measure="gold",
    departures=(
        "The policy learns by RLOO; the paper's by PPO.",
        "Three sizes of the proxy's data and one of the proxy; the paper has nine sizes of proxies, and of their data.",
        "Gold is the truth of the project's world; the paper's a larger reward model.",
    ),
)

STUDIES = (GOODHART, PROXIES)
