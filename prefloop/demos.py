"""Demo projects, each declared once: real data and models at a small size, where the truth is known. Torch-free.

`DEMOS` holds them by the name of their world. A demo's prompts, truth and policy are its world's
(`prefloop.worlds.NAME`); here is what its project says, how large it is, and which judges it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoJudge:
    """A judge of a demo project; the arguments are those of any judge."""

    name: str
    kind: str
    mode: str = ""
    criterion: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    biases: Mapping[str, float] | None = None  # of a simulated judge; the reports should find them


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """A demo project. `second` is asked about the held-out comparisons and `n_second` of the others, in both orders."""

    world: str  # also the project's address
    title: str
    about: str
    criterion: str
    guidelines: str
    button: str
    policy: str
    n_train: int  # prompts of each split that get answers
    n_eval: int
    n_answers: int
    max_tokens: int
    labels: DemoJudge
    second: DemoJudge
    n_second: int


LETTERS = Demo(
    world="letters",
    title="Thank-you letters (demo)",
    about="A tiny world with a known truth: short letters, a policy of under a million parameters trained on this "
    "machine, and judges whose biases are known.",
    criterion="Kind and correct: the right person, the right thing, warm, not too long.",
    guidelines="""Which letter would you rather receive?

1. It must be **for the right person and about the right thing**. A letter that thanks Maria for the flowers when it
   was Peter's lamp is worse than a clumsy one that gets it right.
2. Then **kindness**: warm words, a greeting, a closing. Rudeness loses.
3. Then **brevity**: saying the same thing twice, or running on, loses.

Equal is a good answer, and so is *both bad*.
""",
    button="Letters, trained here in a minute",
    policy="letters-sft",
    n_train=1024,  # all of the world's: two pairs each make the labels a reward model needs
    n_eval=96,
    n_answers=4,
    max_tokens=96,
    labels=DemoJudge(name="world-preference", kind="world", options={"noise": 0.5}),
    second=DemoJudge(
        name="simulated-judge",
        kind="llm",
        criterion="kind and correct",
        # in units of utility, and utility per 100 characters
        biases={"position_bias": 0.5, "length_bias": 0.6, "noise": 0.8, "tie_margin": 0.15},
    ),
    n_second=160,
)

CHAT = Demo(
    world="chat",
    title="Short answers (demo)",
    about="A real chat model, SmolLM2-135M-Instruct, answers everyday questions under constraints that rules can "
    "check: a length, a form, words to use or to avoid. The share of constraints met is the known truth.",
    criterion="The answer keeps to every constraint of the prompt, such as its length and form, and is correct.",
    guidelines="""Which answer does better what the prompt asks for?

1. First the **constraints**: the number of sentences or words, the form, words to use or to avoid. An answer that keeps
   to all of them beats one that breaks any.
2. Then whether the answer is **true and to the point**.
3. An answer that stops in the middle of a sentence loses to one that ends.

Equal is a good answer, and so is *both bad*.
""",
    button="Short answers of a real chat model (a download of 93 MB)",
    policy="smollm2-135m",
    n_train=80,
    n_eval=24,
    n_answers=4,
    max_tokens=80,
    labels=DemoJudge(name="rules", kind="rules", options={"from_metadata": True}),
    second=DemoJudge(
        name="smollm2-itself",
        kind="policy",
        mode="logprob",
        criterion="The better answer keeps to every constraint of the request, such as its length and form.",
    ),
    n_second=16,
)

DEMOS: dict[str, Demo] = {demo.world: demo for demo in (LETTERS, CHAT)}
