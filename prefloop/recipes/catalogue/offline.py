"""Methods that train once: on stored comparisons, or on answers that the starting policy gives once.

Learning rates and batches suit the letters world's 0.75M parameters (docs/experiments.md); the papers' own, for models
a thousand times larger, are given with them. The other numbers are the papers' unless `sources` says otherwise.
"""

from __future__ import annotations

from prefloop.recipes.recipe import (
    Anchor,
    Draw,
    Filter,
    Label,
    Memory,
    Objective,
    Pairing,
    Prompts,
    Recipe,
    Score,
)

_LETTERS_LR = "chosen for letters"
_TIES = "A tie is trained on with the label one half; the paper has none."
_TR = "Gorbatovski et al. 2024 (TR-DPO), arXiv:2404.09656"
_POINTWISE = "A reward model scores each answer by itself; the paper's ranker compares two."

SFT = Recipe(
    name="sft",
    title="Supervised fine-tuning",
    idea="Learn to write what the chosen answers say.",
    paper="Ouyang et al. 2022, arXiv:2203.02155",
    group="offline",
    draws=(Draw(source="data"),),
    pairing=Pairing(kind="none"),
    label=Label(by="none"),
    objective=Objective(loss="nll", lr=1e-3, epochs=1, batch=32, warmup=10),
    departures=("An answer that several comparisons choose is trained on once.",),
)

REWARD_MODEL = Recipe(
    name="reward-model",
    title="Reward model",
    idea="Learn a score whose difference between two answers gives the odds of preferring one.",
    paper="Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155",
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences", labels="soft"),
    objective=Objective(loss="bradley-terry", lr=6e-4, epochs=2, batch=32, warmup=10, schedule="linear"),
    departures=("Labels stay soft where a judge gave a probability, and a tie is one half; the paper has neither.",),
)

BEST_OF_N = Recipe(
    name="best-of-n",
    title="Best of n",
    idea="Draw n answers and keep the one that the reward model likes best; nothing is trained.",
    paper="Stiennon et al. 2020, arXiv:2009.01325; Nakano et al. 2021, arXiv:2112.09332",
    group="offline",
    draws=(Draw(source="initial", n=16),),
    score=Score(by="judge"),
    filter=Filter(kind="best"),
    pairing=Pairing(kind="none"),
    label=Label(by="none"),
    objective=Objective(loss="none"),
    needs=("reward-model",),
)

DPO = Recipe(
    name="dpo",
    title="DPO",
    idea="Learn directly from stored preferences, as if the policy itself were the reward model.",
    paper="Rafailov et al. 2023, arXiv:2305.18290",
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences"),
    objective=Objective(loss="dpo", beta=0.1, lr=1e-4, epochs=1, batch=32),
    departures=(_TIES,),
)

IPO = Recipe(
    name="ipo",
    title="IPO",
    idea="Regress the difference of log-ratios on a fixed margin, so that certain labels can't run away.",
    paper="Azar et al. 2023, arXiv:2310.12036",
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences"),
    objective=Objective(loss="ipo", tau=0.1, lr=1e-4, epochs=1, batch=32, schedule="linear"),
    sources={"objective.lr": _LETTERS_LR},
    departures=(_TIES,),
)

SIMPO = Recipe(
    name="simpo",
    title="SimPO",
    idea="Make the better answer likelier per token than the worse one, by a margin, with no reference model.",
    paper="Meng et al. 2024, arXiv:2405.14734",
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences"),
    objective=Objective(loss="simpo", beta=2.0, gamma=1.0, lr=1e-4, epochs=1, batch=32, schedule="linear"),
    sources={"objective.lr": f"{_LETTERS_LR}; Meng et al. 2024: 3e-7 to 1e-6, batch 128"},
    departures=(_TIES,),
)

R_DPO = Recipe(
    name="r-dpo",
    title="R-DPO",
    idea="Learn from stored preferences as DPO does, while every token costs something, so that length is no merit.",
    paper="Park et al. 2024, arXiv:2403.19159",
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences"),
    objective=Objective(loss="r-dpo", beta=0.1, alpha=0.01, lr=1e-4, epochs=1, batch=32),
    sources={"objective.lr": _LETTERS_LR},
    departures=(_TIES,),
)

WPO = Recipe(
    name="wpo",
    title="WPO",
    idea="Learn from stored preferences, from each as much as its answers could be the policy's own.",
    paper="Zhou et al. 2024, arXiv:2406.11827",
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences"),
    objective=Objective(loss="wpo", beta=0.1, lr=1e-4, epochs=1, batch=32),
    sources={"objective.lr": _LETTERS_LR},
    departures=(_TIES,),
)


def _tr_dpo(name: str, title: str, idea: str, anchor: Anchor, *departures: str) -> Recipe:
    return Recipe(
        name=name,
        title=title,
        idea=idea,
        paper=_TR,
        group="offline",
        draws=(Draw(source="data"),),
        label=Label(by="preferences"),
        objective=Objective(loss="dpo", beta=0.1, lr=1e-4, epochs=1, batch=32),
        anchor=anchor,
        sources={
            "objective.lr": _LETTERS_LR,
            **({"anchor.rate": f"{_TR}; TRL: 0.6, every 512 steps"} if anchor.kind == "ema" else {}),
            **({"anchor.every": f"this project's; {_TR}: 256 to 512"} if anchor.kind == "copy" else {}),
        },
        departures=(_TIES, *departures),
    )


TR_DPO = _tr_dpo(
    "tr-dpo",
    "TR-DPO, soft updates",
    "DPO from stored preferences whose reference goes part of the way to the policy after every step.",
    Anchor(kind="ema", rate=0.6),
)
TR_DPO_HARD = _tr_dpo(
    "tr-dpo-hard",
    "TR-DPO, hard updates",
    "DPO from stored preferences whose reference becomes the policy every so many steps.",
    Anchor(kind="copy", every=12),
    "The reference is copied every 12 steps; the paper's every 256 to 512.",
)

ORPO = Recipe(
    name="orpo",
    title="ORPO",
    idea="Imitate the better answer and raise the ratio of its odds to the worse one's, in one go from any start.",
    paper="Hong et al. 2024, arXiv:2403.07691",
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences"),
    objective=Objective(loss="orpo", lambda_=0.1, lr=3e-4, epochs=1, batch=32, schedule="linear"),
    sources={"objective.lr": f"{_LETTERS_LR}; Hong et al. 2024: 5e-6 to 8e-6"},
    departures=(
        "It starts from the policy that the loop starts with; the paper's from a base model.",
        "A tie makes no pair.",
    ),
)

KTO = Recipe(
    name="kto",
    title="KTO",
    idea="Learn from single answers, desirable or not, that need no partner to be compared with.",
    paper="Ethayarajh et al. 2024, arXiv:2402.01306",
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences"),
    objective=Objective(loss="kto", beta=0.1, lr=1e-4, epochs=1, batch=32, schedule="linear"),
    sources={"objective.lr": f"{_LETTERS_LR}; Ethayarajh et al. 2024: 5e-7, batch 32"},
    departures=(
        "The answer to another prompt beside each prompt stays with it; the authors shift the answers of each batch.",
        "A tie is left out; of two bad answers both are undesirable.",
    ),
)

SLIC_HF = Recipe(
    name="slic-hf",
    title="SLiC-HF",
    idea="Rank the starting policy's answers, ask the better to be likelier by a margin, and keep the best likely.",
    paper="Zhao et al. 2023, arXiv:2305.10425",
    group="offline",
    prompts=Prompts(n=384),
    draws=(Draw(source="initial", n=8, temperature=0.7, top_k=40, max_tokens=96),),
    score=Score(by="judge"),
    pairing=Pairing(kind="tournament"),
    label=Label(by="scores"),
    objective=Objective(loss="slic", delta=1.0, lambda_=0.1, lr=1e-4, epochs=1, batch=32, schedule="linear"),
    needs=("reward-model",),
    sources={
        "draws.n": "Zhao et al. 2023, arXiv:2305.10425: 8",
        "draws.temperature": "Zhao et al. 2023, arXiv:2305.10425: 0.7",
        "draws.top_k": "Zhao et al. 2023, arXiv:2305.10425: 40",
        "objective.lr": f"{_LETTERS_LR}; Zhao et al. 2023: 1e-5",
    },
    departures=(_POINTWISE,),
)

RRHF = Recipe(
    name="rrhf",
    title="RRHF",
    idea="Order several answers by their likelihood per token as the scores order them, and imitate the best.",
    paper="Yuan et al. 2023, arXiv:2304.05302",
    group="offline",
    prompts=Prompts(n=384),
    draws=(Draw(source="initial", n=4, max_tokens=96),),
    score=Score(by="judge"),
    pairing=Pairing(kind="none"),  # the loss ranks all answers of a prompt by itself
    label=Label(by="none"),
    objective=Objective(loss="rrhf", rank_weight=1.0, lr=1e-4, epochs=1, batch=16, schedule="linear"),
    needs=("reward-model",),
    sources={
        "draws.n": "this project's; Yuan et al. 2023 mix answers of several models",
        "objective.lr": f"{_LETTERS_LR}; Yuan et al. 2023, released code: 2e-5, 3 epochs",
    },
    departures=("All answers are the starting policy's; the paper mixes those of several models and the data's.",),
)

CLICK = Recipe(
    name="click",
    title="CLICK",
    idea="Contrast the policy's own good and bad answers by a margin, while the data stays likely.",
    paper="Zheng et al. 2023, arXiv:2306.03350",
    group="offline",
    prompts=Prompts(n=384),
    draws=(Draw(source="initial", n=8, max_tokens=96),),
    score=Score(by="judge"),
    pairing=Pairing(kind="first-round"),
    label=Label(by="scores"),
    objective=Objective(loss="click", alpha=15.0, gamma=0.1, lr=1e-4, epochs=1, batch=32, schedule="linear"),
    needs=("reward-model",),
    sources={
        "draws.n": "this project's",
        "pairing.kind": "this project's: disjoint random pairs; the paper's likelihood ranking could not be verified",
        "objective.lr": f"{_LETTERS_LR}; Zheng et al. 2023, released code: 5e-5, Adafactor",
    },
    departures=(
        "A reward model scores the answers; the paper's classifier says which are unwanted.",
        "Pairs are random and disjoint; the paper's rule, by the likelihood of the answers, could not be verified.",
    ),
)

RSO = Recipe(
    name="rso",
    title="RSO",
    idea="Draw many answers, accept those that the optimal policy would give, pair them, and learn offline.",
    paper="Liu et al. 2023, arXiv:2309.06657",
    group="offline",
    prompts=Prompts(n=256),
    draws=(Draw(source="initial", n=64, temperature=0.7, top_k=40, max_tokens=96),),
    score=Score(by="judge"),
    filter=Filter(kind="rejection", beta=0.5, keep=8),
    pairing=Pairing(kind="first-round"),
    label=Label(by="scores"),
    objective=Objective(loss="rso", gamma=0.05, lr=3e-4, epochs=1, batch=32, schedule="linear", reference="initial"),
    needs=("reward-model",),
    sources={
        "draws.n": "Liu et al. 2023, arXiv:2309.06657: 64",
        "draws.temperature": "Liu et al. 2023, arXiv:2309.06657: 0.7",
        "draws.top_k": "Liu et al. 2023, arXiv:2309.06657: 40",
        "objective.lr": f"{_LETTERS_LR}; Liu et al. 2023: 1e-5, Adafactor, batch 32",
    },
    departures=(
        _POINTWISE,
        "Candidates are taken by place and not by text, in a new order every pass (recipes/filters.py says why).",
    ),
)

_GAP = "Tang et al. 2024, arXiv:2405.08448v1"
_OWN_LABELS = "The labels are the project's own; in the paper a golden preference model labels every pair anew."
_ONE_SETTING = "One setting is trained; the paper pools a sweep of rates, betas and numbers of steps."
_PROXY = (
    "The proxy that labelled the stream scores each answer by itself; the paper's compares two, and its label is the "
    "sign of the difference of both orders."
)

OFFLINE_IPO = Recipe(
    name="offline-ipo",
    title="Offline IPO",
    idea="IPO on stored pairs, as the offline side of the online-offline gap.",
    paper=_GAP,
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences"),
    objective=Objective(loss="ipo", tau=0.1, lr=1e-4, epochs=2, batch=32),
    sources={"objective.lr": f"{_LETTERS_LR}; {_GAP}: 3e-6 to 3e-5", "objective.batch": _GAP},
    departures=(
        _TIES,
        _OWN_LABELS,
        _ONE_SETTING,
    ),
)

OFFLINE_BO2 = Recipe(
    name="offline-bo2",
    title="Offline Bo2",
    idea="Imitate the winner of each stored pair: the gap study's loss without a contrast.",
    paper=_GAP,
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences"),
    objective=Objective(loss="bo2", lr=1e-4, epochs=2, batch=32),
    sources={"objective.lr": f"{_LETTERS_LR}; {_GAP}: 3e-6 to 3e-5", "objective.batch": _GAP},
    departures=(
        _TIES,
        _OWN_LABELS,
        _ONE_SETTING,
    ),
)

TANDEM_IPO = Recipe(
    name="tandem-ipo",
    title="Tandem IPO",
    idea="Train offline on the shuffled data that an online run made: does coverage explain the gap?",
    paper=_GAP,
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences"),
    memory=Memory(replays=True, kind="replay", order="uniform"),
    objective=Objective(loss="ipo", tau=0.1, lr=1e-4, epochs=1, batch=32),
    needs=("online-ipo",),
    sources={"objective.lr": f"{_LETTERS_LR}; {_GAP}: 3e-6 to 3e-5"},
    departures=(
        _PROXY,
        _ONE_SETTING,
    ),
)

TANDEM_BO2 = Recipe(
    name="tandem-bo2",
    title="Tandem Bo2",
    idea="Imitate the winners of an online run's data, shuffled.",
    paper=_GAP,
    group="offline",
    draws=(Draw(source="data"),),
    label=Label(by="preferences"),
    memory=Memory(replays=True, kind="replay", order="uniform"),
    objective=Objective(loss="bo2", lr=1e-4, epochs=1, batch=32),
    needs=("online-bo2",),
    sources={"objective.lr": f"{_LETTERS_LR}; {_GAP}: 3e-6 to 3e-5"},
    departures=(
        _PROXY,
        _ONE_SETTING,
    ),
)

RECIPES = (
    SFT,
    REWARD_MODEL,
    BEST_OF_N,
    DPO,
    IPO,
    SIMPO,
    R_DPO,
    WPO,
    TR_DPO,
    TR_DPO_HARD,
    ORPO,
    KTO,
    SLIC_HF,
    RRHF,
    CLICK,
    RSO,
    OFFLINE_IPO,
    TANDEM_IPO,
    OFFLINE_BO2,
    TANDEM_BO2,
)
