"""Sampling inside a step: an engine that holds one policy and gets its weights again when they changed.

Old log-probs never come from here: the pass that is trained through computes them, since any other engine rounds
differently. An engine's own log-prob of a completion is only kept in the log of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from prefloop.config import ConfigError
from prefloop.engine.online.served import ServedSampler, SharedServer
from prefloop.policy.loading import Policy
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.vllm_client import ServedModel
from prefloop.recipes.engines import VLLM, choose_in_steps
from prefloop.recipes.recipe import Draw
from prefloop.types import Group

OnGroup = Callable[[Group], None]


class StepSampler(Protocol):
    """Samples from the policy that was loaded last; each source of answers in a run has its own sampler."""

    def load(self, policy: Policy) -> None:
        """Use these weights from now on; called before the first draw and whenever the weights have changed."""
        ...

    def draw(self, prompts: Sequence[SamplePrompt], settings: Draw, *, seed: int, on_group: OnGroup) -> list[Group]:
        """Draw `settings.n` completions of each prompt, in the order of the prompts; their source is `settings.source`.

        They come with token ids and the sum of the policy's own log-probs in nats, at temperature 1 and unfiltered.
        Completion k of a prompt depends only on (seed, prompt id, k). `on_group` is called with each finished group and
        may raise, which ends the sampling.
        """
        ...

    def close(self) -> None:
        """Release what the engine holds: a server, memory."""
        ...


class OwnSampler:
    """The engine of this package, in this process: it reads the same tensors that are trained."""

    def __init__(self) -> None:
        self._policy: Policy | None = None

    def load(self, policy: Policy) -> None:
        self._policy = policy

    def draw(self, prompts: Sequence[SamplePrompt], settings: Draw, *, seed: int, on_group: OnGroup) -> list[Group]:
        if self._policy is None:
            raise AssertionError("a sampler needs a policy before it can draw")
        return sample(
            self._policy,
            prompts,
            n=settings.n,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            max_tokens=settings.max_tokens,
            seed=seed,
            source=settings.source,
            on_group=on_group,
        )

    def close(self) -> None:
        self._policy = None


def is_served(draw: Draw) -> bool:
    """Say whether a vLLM server gives a draw's answers. Raises ConfigError for an engine that can't in a step."""
    return choose_in_steps(draw.engine).name == VLLM.name


def make_sampler(draw: Draw, *, server: SharedServer | None) -> StepSampler:
    """Make the engine for a draw's answers; it has no policy yet. Raises ConfigError."""
    if not is_served(draw):
        return OwnSampler()
    if server is None:
        raise ConfigError("draws.engine vllm needs a vLLM server, which a worker starts and names through a pipe")
    return ServedSampler(server, draw.source)


class Samplers(Mapping[str, StepSampler]):
    """The engines of a run by their source of answers."""

    def __init__(self, draws: Sequence[Draw], *, run_dir: Path, served: ServedModel | None) -> None:
        self._engines: dict[str, StepSampler] = {}
        self._loaded: set[str] = set()
        server = SharedServer(served, run_dir) if served is not None else None
        for draw in draws:
            if draw.source not in self._engines:
                self._engines[draw.source] = make_sampler(draw, server=server)

    @override
    def __getitem__(self, source: str) -> StepSampler:
        return self._engines[source]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._engines)

    @override
    def __len__(self) -> int:
        return len(self._engines)

    def load(self, policies: Mapping[str, Policy], *, still: frozenset[str]) -> None:
        """Give each engine the policy of its source; a fixed one is loaded once."""
        for source, engine in self._engines.items():
            if source not in self._loaded or source not in still:
                engine.load(policies[source])
                self._loaded.add(source)

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()
