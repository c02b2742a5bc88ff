"""Over-optimisation of a proxy (Gao et al. 2022, arXiv:2210.10760): its score goes up while gold goes up and down."""

from __future__ import annotations

from types import MappingProxyType

from prefloop.studies.claims import Rises, Turns
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

STUDIES = (GOODHART,)
