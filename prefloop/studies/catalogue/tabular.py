"""Studies in which nothing is sampled and every outcome is covered: the control of the gap study, where online and
offline are one, and BOND's optimum, the law of the best of N.
"""

from __future__ import annotations

from prefloop.config import Value
from prefloop.studies.claims import Same
from prefloop.studies.declaration import Arm, Study

_BETAS = {"objective.beta": (0.5, 1.0, 2.0)}

TABULAR_CONTROL = Study(
    name="tabular-control",
    title="Online and offline DPO at the exact optimum",
    question="Is there a gap between on-policy and offline training where data, model and steps have no limits?",
    finding="With full support, exact labels and no limit on the policy, online and offline DPO share one optimum, "
    "whatever law the stored pairs come from.",
    paper="Rafailov et al. 2023, arXiv:2305.18290; control for Tang et al. 2024, arXiv:2405.08448v1",
    arms=(
        Arm(name="online", title="online DPO", recipe="oaif-dpo", sweep=_BETAS, exact=True),
        Arm(name="offline", title="offline DPO", recipe="dpo", sweep=_BETAS, exact=True, mu="reference"),
        Arm(name="other", title="offline DPO on another law", recipe="dpo", sweep=_BETAS, exact=True, mu="other"),
    ),
    claims=(Same("online", "offline"), Same("online", "other")),
    notes="Each seed draws a world of six outcomes: a starting policy, rewards, and another policy for stored pairs. "
    "A gap that is measured with language models comes from what is missing here: a proxy that is not the truth, few "
    "pairs, shared parameters, few steps.",
)

_N = 4
_BOND = "Sessa et al. 2024 (BOND), arXiv:2407.14622v1"


def _bond(name: str, title: str, beta: float) -> Arm:
    settings: dict[str, Value] = {"objective.n": _N, "objective.jeffreys": beta}
    return Arm(name=name, title=title, recipe="bond", settings=settings, exact=True)


TABULAR_BOND = Study(
    name="tabular-bond",
    title="BOND at the exact optimum, for three weights of its two KLs",
    question="Does it matter, with no limits on the policy, how BOND weighs its two KLs?",
    finding="With no limit on the policy, BOND ends at the law of the best of N, whatever the weight β of the backward "
    "KL: 0, ½ or 1.",
    paper=_BOND,
    arms=(
        Arm(name="best", title="best of 4", recipe="best-of-n", settings={"draws.n": _N}, exact=True),
        _bond("forward", "BOND, β 0", 0.0),
        _bond("jeffreys", "BOND, β ½", 0.5),
        _bond("backward", "BOND, β 1", 1.0),
    ),
    claims=(Same("forward", "best"), Same("jeffreys", "best"), Same("backward", "best")),
    notes="The law of the best of N is computed from its formula. What β changes in a trained policy comes from shared "
    "parameters, few steps and sampling noise: the study bond.",
)

STUDIES = (TABULAR_CONTROL, TABULAR_BOND)
