"""The engines that can sample answers, each declared once. Settings, refusals, forms, commands and workers read it
here.

`auto` is not an engine: the worker that samples replaces it by one, and the run's record names it and the reason.
"""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"
ENDPOINT_PREFIX = "endpoint:"  # and the endpoint's name
WORTH_A_START = 2048  # answers; a vLLM server takes a minute to start


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What an engine can do. `ours`: it holds a policy of the project, and gets its weights during training."""

    name: str
    about: str
    ours: bool = True
    tells_tokens: bool = True  # and the log-prob of each
    has_top_k: bool = True
    repeats_exactly: bool = False  # the same seed brings the same tokens, whoever is answered beside


TRANSFORMERS = Engine(name="transformers", about="in the worker", repeats_exactly=True)
VLLM = Engine(name="vllm", about="in a vLLM server that the worker starts")
ENDPOINT = Engine(
    name="endpoint",
    about="a model on another server, in place of the initial policy or a named checkpoint",
    ours=False,
    tells_tokens=False,
    has_top_k=False,
)
ENGINES = (TRANSFORMERS, VLLM, ENDPOINT)
OURS = (AUTO, *(engine.name for engine in ENGINES if engine.ours))  # what a setting may name as it is
HELP = (
    "What samples the answers: "
    + "; ".join(f"{one.name if one.ours else ENDPOINT_PREFIX + 'NAME'}, {one.about}" for one in ENGINES)
    + "; auto chooses vllm for many answers on a GPU, if it is installed."
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What the sampling machine has."""

    accelerator: bool
    vllm: bool


@dataclass(frozen=True, slots=True)
class Chosen:
    """An engine, and the reason for choosing it."""

    name: str
    why: str


def engine_of(setting: str) -> Engine:
    """Return the engine that a setting other than `auto` names."""
    name = ENDPOINT.name if setting.startswith(ENDPOINT_PREFIX) else setting
    return next(engine for engine in ENGINES if engine.name == name)


def choose(setting: str, machine: Machine, *, n_answers: int) -> Chosen:
    """Choose what samples this many answers on this machine."""
    if setting != AUTO:
        return Chosen(engine_of(setting).name, "as it was set")
    if not machine.vllm:
        return Chosen(TRANSFORMERS.name, "auto: vLLM is not installed")
    if not machine.accelerator:
        return Chosen(TRANSFORMERS.name, "auto: the worker has no GPU")
    if n_answers < WORTH_A_START:
        return Chosen(TRANSFORMERS.name, f"auto: {n_answers:,} answers are too few to start vLLM for")
    return Chosen(VLLM.name, f"auto: {n_answers:,} answers on a GPU")


def choose_in_steps(setting: str) -> Chosen:
    """Choose what samples inside the steps of a run: for `auto` the engine that repeats exactly, so that a killed
    run resumes to the same result.
    """
    if setting != AUTO:
        return Chosen(engine_of(setting).name, "as it was set")
    exact = next(engine for engine in ENGINES if engine.repeats_exactly)
    return Chosen(exact.name, "auto: inside steps, so that a resumed run samples exactly the same answers")


def refusal(setting: str, *, loss: str, needs_tokens: bool, source: str, in_steps: bool, top_k: int) -> str:
    """Say in a sentence what the engine can't do for a recipe; "" if it can do everything."""
    if setting == AUTO:
        return ""
    engine = engine_of(setting)
    if needs_tokens and not engine.tells_tokens:
        return (
            f"draws.engine must not be {setting}: {loss} needs the tokens and log-probs of its answers, which an "
            "endpoint does not return"
        )
    if not engine.ours and (in_steps or source in ("current", "previous", "anchor")):
        return (
            f"draws.engine must not be {setting} where draws.source is {source}: an endpoint serves a fixed model, "
            "which training does not change; with draws.source=initial it answers in place of the starting policy"
        )
    if top_k and not engine.has_top_k:
        return f"draws.top_k must be 0 where draws.engine is {setting}: an endpoint has no top-k"
    return ""
