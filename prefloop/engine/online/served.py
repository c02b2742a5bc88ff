"""Sampling a step's answers from a vLLM server that is kept through the run and gets the new weights at each refresh.

The weights are written to a directory next to the run, and the server loads them in place (`policy/vllm_client.py`): it
is not restarted. If several sources answer in a step (the policy and its anchor), each has a directory, and the server
loads that of the next one. A lost server ends the step before it changed the weights, as a lost judge does.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefloop.judging.errors import JudgeUnreachable
from prefloop.policy.loading import Policy, Reader, reader_of, save_weights
from prefloop.policy.sampling import SamplePrompt
from prefloop.policy.served import VllmSampler, sample_served
from prefloop.policy.vllm_client import ServedModel, VllmFailed
from prefloop.recipes.recipe import Draw
from prefloop.types import Group

if TYPE_CHECKING:
    from prefloop.engine.online.samplers import OnGroup

AT_ONCE = 64  # requests in flight: vLLM batches what it is asked
DIRECTORY = "served.tmp-weights"  # in the run's directory, which is swept of such names


class SharedServer:
    """The run's server, and whose weights it holds: one source of answers at a time."""

    def __init__(self, model: ServedModel, run_dir: Path) -> None:
        self.endpoint = model.endpoint()
        self.directory = run_dir / DIRECTORY
        shutil.rmtree(self.directory, ignore_errors=True)
        self._model = model
        self._holds: Path | None = None

    def hold(self, directory: Path) -> None:
        """Have the server answer with the weights of this directory. Raises JudgeUnreachable if it is gone."""
        if self._holds == directory:
            return
        self._holds = None
        try:
            self._model.load(directory)
        except VllmFailed as error:
            raise JudgeUnreachable(str(error)) from error
        self._holds = directory

    def forget(self, directory: Path) -> None:
        """The directory's weights have changed since the server loaded them."""
        if self._holds == directory:
            self._holds = None

    def close(self) -> None:
        self.endpoint.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class ServedSampler:
    """One source's answers from the run's server."""

    def __init__(self, server: SharedServer, name: str) -> None:
        self._server = server
        self._directory = server.directory / name
        self._reader: Reader | None = None

    def load(self, policy: Policy) -> None:
        self._server.forget(self._directory)
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        save_weights(policy.model, self._directory)
        self._reader = reader_of(policy)

    def draw(self, prompts: Sequence[SamplePrompt], settings: Draw, *, seed: int, on_group: OnGroup) -> list[Group]:
        if self._reader is None:
            raise AssertionError("a sampler needs a policy before it can draw")
        self._server.hold(self._directory)
        sampler = VllmSampler(
            self._server.endpoint,
            self._reader,
            max_tokens=settings.max_tokens,
            seed=seed,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            source=settings.source,
        )
        return sample_served(sampler, prompts, n=settings.n, at_once=AT_ONCE, on_group=on_group)

    def close(self) -> None:
        self._server.close()  # a run's sources end together
