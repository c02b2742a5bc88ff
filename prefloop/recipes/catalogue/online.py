"""On-policy methods: they sample and train at every step; a round is a block of steps between two evaluations.

Learning rates and batches suit the letters world's 0.75M parameters (docs/experiments.md); the papers' own, for models
a thousand times larger, are given with them. The other numbers are the papers' unless `sources` says otherwise. A batch
counts prompts.
"""

from __future__ import annotations

from prefloop.recipes.recipe import (
    AI_REWARD_MODEL,
    Anchor,
    Draw,
    Label,
    Memory,
    Objective,
    Pairing,
    Prompts,
    Recipe,
    Score,
)

_LETTERS_LR = "chosen for letters"
_OAIF = "Guo et al. 2024 (OAIF), arXiv:2402.04792"
_BOND = "Sessa et al. 2024 (BOND), arXiv:2407.14622v1"
_GAP = "Tang et al. 2024, arXiv:2405.08448v1"
_TIES = "A tie makes no pair; offline, here, it is trained on as one half."
_OVERRIDES = "Pairs that people corrected are trained on again; the paper has no people."
_FROZEN_VALUE = (
    "The value head is two layers that read the policy's hidden states and send no gradient into them; the paper's "
    "value function is a network of its own."
)
_PROXY = (
    "The proxy scores each answer by itself; the paper's compares two, and its label is the sign of the difference of "
    "both orders."
)
_COUNTS = "One is added to the counts of which a quantile is made; the paper does not say what the log of none is."
_BOTH = (
    "The reward has both terms of Theorem 1, so that with many anchor answers the optimum is exactly best-of-n; the "
    "paper trains on the first alone."
)
_SHARED = "The best of n is the best of the first n of the anchor's answers that measure the quantile."
_PROMPTS = Prompts(n=384)
_TWO = (Draw(source="current", n=2, temperature=0.9, max_tokens=96),)
_OAIF_SOURCES = {
    "draws.temperature": f"{_OAIF}: 0.9",
    "objective.lr": f"{_LETTERS_LR}; {_OAIF}: 5e-7, Adafactor, batch 128",
    "objective.reference": f"{_OAIF}: the policy that training began with",
}


def _oaif(name: str, title: str, idea: str, objective: Objective, sources: dict[str, str]) -> Recipe:
    return Recipe(
        name=name,
        title=title,
        idea=idea,
        paper=_OAIF,
        group="online",
        prompts=_PROMPTS,
        draws=_TWO,
        refresh="step",
        pairing=Pairing(kind="the-two"),
        label=Label(by="judge"),
        memory=Memory(replays=True, kind="overrides"),
        objective=objective,
        needs=("reward-model",),  # who labels where no other judge is named
        rounds=3,
        external_api=True,
        sources=_OAIF_SOURCES | sources,
        departures=(
            _TIES,
            "Where no judge is named and the project has no language model that compares, its reward model labels; "
            "the paper's annotator is a large model.",
            _OVERRIDES,
        ),
    )


OAIF_DPO = _oaif(
    "oaif-dpo",
    "Online AI feedback, DPO",
    "At every step the policy answers twice, a judge says which is better, and DPO learns from it.",
    Objective(loss="dpo", beta=0.1, lr=1e-4, batch=16),
    {"objective.beta": f"{_OAIF}: 0.1"},
)
OAIF_IPO = _oaif(
    "oaif-ipo",
    "Online AI feedback, IPO",
    "At every step the policy answers twice, a judge says which is better, and IPO learns from it.",
    Objective(loss="ipo", tau=1.0, lr=1e-4, batch=16),
    {"objective.tau": f"{_OAIF}: 1.0"},
)
OAIF_SLIC = _oaif(
    "oaif-slic",
    "Online AI feedback, hinge-norm",
    "At every step the policy answers twice, a judge says which is better, and the normalised hinge learns from it.",
    Objective(loss="hinge-norm", gamma=0.002, lr=1e-4, batch=16),
    {"objective.gamma": f"{_OAIF}: 0.002"},
)

_XPO = "Xie et al. 2024 (XPO), arXiv:2405.21046"

XPO = Recipe(
    name="xpo",
    title="XPO",
    idea="At every step the policy and its reference answer once each, a judge says which is better, and DPO learns "
    "from it, with a bonus for leaving what the reference says.",
    paper=_XPO,
    group="online",
    prompts=_PROMPTS,
    draws=(Draw(source="current", n=1, max_tokens=96), Draw(source="initial", n=1, max_tokens=96)),
    refresh="step",
    pairing=Pairing(kind="the-two"),
    label=Label(by="judge"),
    memory=Memory(replays=True, kind="overrides"),
    objective=Objective(loss="xpo", beta=0.1, alpha=1e-3, lr=1e-4, batch=16),
    needs=("reward-model",),  # who labels where no other judge is named
    rounds=3,
    sources={
        "objective.alpha": "this project's; TRL: 1e-5",
        "objective.lr": f"{_LETTERS_LR}; TRL: 5e-7",
        "draws.temperature": f"{_XPO}: the policy's own law; TRL: 0.9",
    },
    departures=(
        _TIES,
        _OVERRIDES,
        "The bonus has a constant weight; in the paper's theory it falls with the number of steps.",
        "Two equal answers make no pair, and give no bonus.",
    ),
)

ON_POLICY_DISTILLATION = Recipe(
    name="on-policy-distillation",
    title="On-policy distillation",
    idea="At every step the student answers, and matches a teacher's next-token probabilities on what it wrote.",
    paper="Agarwal et al. 2023, arXiv:2306.13649",
    group="online",
    prompts=_PROMPTS,
    draws=(Draw(source="current", n=1, max_tokens=96),),
    refresh="step",
    pairing=Pairing(kind="none"),
    label=Label(by="none"),
    objective=Objective(loss="gkd", beta=1.0, lr=3e-4, batch=16, reference="latest"),
    rounds=2,
    sources={
        "objective.beta": "the KL of the student from the teacher: Agarwal et al. 2023, arXiv:2306.13649; TRL: 0.5",
        "objective.lr": f"{_LETTERS_LR}; Agarwal et al. 2023: 3e-4, batch 32",
    },
    departures=("Every answer is the student's; the paper also mixes in the data's.",),
)

RLHF = Recipe(
    name="rlhf",
    title="RLHF",
    idea="A reward model from people's labels scores every fresh answer, and PPO raises the score near the reference.",
    paper="Ouyang et al. 2022, arXiv:2203.02155; Schulman et al. 2017 (PPO), arXiv:1707.06347",
    group="online",
    prompts=_PROMPTS,
    draws=(Draw(source="current", n=1, max_tokens=96),),
    refresh="step",
    score=Score(by="judge"),
    pairing=Pairing(kind="none"),
    label=Label(by="none"),
    objective=Objective(loss="ppo", beta=0.05, lambda_=0.95, lr=1e-4, batch=32),
    needs=("reward-model",),
    rounds=3,
    needs_human_labels=True,
    sources={"objective.lr": f"{_LETTERS_LR}; TRL: 3e-6"},
    departures=(_FROZEN_VALUE,),
)

RLAIF = Recipe(
    name="rlaif",
    title="RLAIF",
    idea="RLHF with a reward model that learns a judge's soft labels instead of people's.",
    paper="Lee et al. 2023, arXiv:2309.00267",
    group="online",
    prompts=_PROMPTS,
    draws=(Draw(source="current", n=1, max_tokens=96),),
    refresh="step",
    score=Score(by="judge", judge=AI_REWARD_MODEL),
    pairing=Pairing(kind="none"),
    label=Label(by="judge", labels="soft"),
    objective=Objective(loss="ppo", beta=0.05, lambda_=0.95, lr=1e-4, batch=32),
    needs=("reward-model",),
    rounds=3,
    external_api=True,
    sources={"label.labels": "Lee et al. 2023: soft", "objective.lr": f"{_LETTERS_LR}; TRL: 3e-6"},
    departures=(
        "The policy learns by PPO; the paper's by REINFORCE with a learned baseline.",
        "The reward is the score minus beta times the KL; the paper weighs them (1 - beta) and beta.",
        _FROZEN_VALUE,
    ),
)

RLOO = Recipe(
    name="rloo",
    title="RLOO",
    idea="Several fresh answers a prompt, each reinforced by how much it scores above the mean of the others.",
    paper="Ahmadian et al. 2024, arXiv:2402.14740",
    group="online",
    prompts=_PROMPTS,
    draws=(Draw(source="current", n=4, max_tokens=96),),
    refresh="step",
    score=Score(by="judge"),
    pairing=Pairing(kind="none"),
    label=Label(by="none"),
    objective=Objective(loss="rloo", beta=0.05, lr=1e-4, batch=16),
    needs=("reward-model",),
    rounds=3,
    sources={
        "draws.n": "Ahmadian et al. 2024: 2 and 4",
        "objective.lr": f"{_LETTERS_LR}; Ahmadian et al. 2024: 1e-6",
    },
    departures=("Labels are the project's; the paper's reward models are trained on public sets.",),
)

GRPO = Recipe(
    name="grpo",
    title="GRPO",
    idea="A group of fresh answers a prompt: those that score above their group's mean are reinforced, token by token.",
    paper="Shao et al. 2024, arXiv:2402.03300; Liu et al. 2025 (Dr. GRPO), arXiv:2503.20783",
    group="online",
    prompts=_PROMPTS,
    draws=(Draw(source="current", n=8, max_tokens=96),),
    refresh="step",
    score=Score(by="judge"),
    pairing=Pairing(kind="none"),
    label=Label(by="none"),
    objective=Objective(loss="grpo", beta=0.04, lr=1e-4, batch=16),
    needs=("reward-model",),
    rounds=3,
    sources={
        "draws.n": "this project's; Shao et al. 2024: 64; TRL: 8",
        "objective.lr": f"{_LETTERS_LR}; Shao et al. 2024: 1e-6",
    },
    departures=("The reward model stays; the paper also trains it anew between rounds.",),
)


def _bond(
    name: str,
    title: str,
    idea: str,
    draws: tuple[Draw, ...],
    objective: Objective,
    anchor: Anchor,
    departures: tuple[str, ...] = (),
) -> Recipe:
    measures = objective.declared.anchors in ("measure", "both") and not objective.declared.n_anchor
    return Recipe(
        name=name,
        title=title,
        idea=idea,
        paper=_BOND,
        group="online",
        prompts=_PROMPTS,
        draws=draws,
        refresh="step",
        score=Score(by="judge"),
        pairing=Pairing(kind="none"),
        label=Label(by="none"),
        objective=objective,
        anchor=anchor,
        needs=("reward-model",),
        rounds=3,
        sources={
            "objective.lr": f"{_LETTERS_LR}; {_BOND}: 3e-6, Adam, 100 warm-up steps, batch 128",
            **({"draws.n": f"{_BOND}: 16 samples of the anchor measure a quantile"} if measures else {}),
        },
        departures=departures,
    )


_ANCHOR_16 = Draw(source="anchor", n=16, max_tokens=96)
_CURRENT_2 = Draw(source="current", n=2, max_tokens=96)

BOND_FORWARD = _bond(
    "bond-forward",
    "BOND, forward KL",
    "Imitate the best of N answers of the starting policy.",
    (Draw(source="anchor", n=4, max_tokens=96),),
    Objective(loss="bond-forward", n=4, lr=1e-4, batch=16),
    Anchor(kind="initial"),
)
BOND_BACKWARD = _bond(
    "bond-backward",
    "BOND, backward KL",
    "Raise the quantile that an own answer has among the starting policy's, with the KL that Best-of-N implies.",
    (_ANCHOR_16, _CURRENT_2),
    Objective(loss="bond-backward", n=4, lr=1e-4, batch=16),
    Anchor(kind="initial"),
    (_COUNTS,),
)
BOND = _bond(
    "bond",
    "BOND",
    "Distil Best-of-N into the policy: forward and backward KL together, Jeffreys' divergence.",
    (_ANCHOR_16, _CURRENT_2),
    Objective(loss="bond", n=4, jeffreys=0.5, lr=1e-4, batch=16),
    Anchor(kind="initial"),
    (_BOTH, _COUNTS, _SHARED),
)
ITERATIVE_BOND = _bond(
    "iterative-bond",
    "Iterative BOND",
    "BOND with a small N, again and again: the anchor becomes the policy every so many steps.",
    (_ANCHOR_16, _CURRENT_2),
    Objective(loss="bond", n=2, jeffreys=0.5, lr=1e-4, batch=16),
    Anchor(kind="copy", every=24),
    (_BOTH, _COUNTS, _SHARED, "The anchor is copied every 24 steps; the paper's every 1,000."),
)
J_BOND = _bond(
    "j-bond",
    "J-BOND",
    "Two answers of a slowly moving anchor, one of the policy: imitate the better, punish the worse.",
    (Draw(source="current", n=1, max_tokens=96), Draw(source="anchor", n=2, max_tokens=96)),
    Objective(loss="j-bond", jeffreys=0.5, gamma=0.0, lr=1e-4, batch=16),
    Anchor(kind="ema", rate=0.02),
    ("The extra KL pulls towards the anchor, as Eq. 19 has it; Algorithm 2 prints the other sign.",),
)


def _gap(name: str, title: str, idea: str, objective: Objective) -> Recipe:
    return Recipe(
        name=name,
        title=title,
        idea=idea,
        paper=_GAP,
        group="online",
        prompts=_PROMPTS,
        draws=(Draw(source="current", n=2, max_tokens=96),),
        refresh="step",
        score=Score(by="judge"),
        pairing=Pairing(kind="the-two"),
        label=Label(by="scores"),
        objective=objective,
        needs=("reward-model",),
        rounds=3,
        sources={"objective.lr": f"{_LETTERS_LR}; {_GAP}: 1e-5", "objective.batch": f"this project's; {_GAP}: 32"},
        departures=(_PROXY, _TIES),
    )


ONLINE_IPO = _gap(
    "online-ipo",
    "Online IPO",
    "IPO on two fresh answers at every step, labelled by the proxy: the online side of the gap.",
    Objective(loss="ipo", tau=0.1, lr=1e-4, batch=16),
)
ONLINE_BO2 = _gap(
    "online-bo2",
    "Online Bo2",
    "Imitate the better of two fresh answers at every step; only stopping holds it near its start.",
    Objective(loss="bo2", lr=1e-4, batch=16),
)

RECIPES = (
    OAIF_DPO,
    OAIF_IPO,
    OAIF_SLIC,
    XPO,
    ON_POLICY_DISTILLATION,
    RLHF,
    RLAIF,
    RLOO,
    GRPO,
    BOND_FORWARD,
    BOND_BACKWARD,
    BOND,
    ITERATIVE_BOND,
    J_BOND,
    ONLINE_IPO,
    ONLINE_BO2,
)
