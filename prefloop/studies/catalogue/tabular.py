"""The control of the gap study: where nothing is sampled and every outcome is covered, online and offline are one."""

from __future__ import annotations

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

STUDIES = (TABULAR_CONTROL,)
