"""Engines for a checkpoint's answers in this worker: transformers, or the worker's vLLM server. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from django.conf import settings

from apps.jobs.models import FailureClass
from apps.jobs.registry import JobContext, JobFailure, JobStop
from apps.policies.models import Checkpoint
from apps.policies.store import checkpoint_here
from apps.samples.models import Engine, SamplingRun
from prefloop.judging.client import ChatEndpoint
from prefloop.judging.errors import JudgeUnreachable
from prefloop.policy.loading import Policy, Reader, load_reader
from prefloop.policy.prompts import encode_named
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.policy.served import VllmSampler, sample_served
from prefloop.policy.vllm_client import ServedModel
from prefloop.recipes import engines
from prefloop.types import Group, PromptContent
from workers import model_cache, vllm_servers

VLLM_AT_ONCE = 64  # requests in flight: vLLM batches what it is asked


def machine() -> engines.Machine:
    return engines.Machine(accelerator=model_cache.device() != "cpu", vllm=bool(settings.VLLM_PYTHON))


def settle(ctx: JobContext, run: SamplingRun, machine: engines.Machine) -> None:
    """Replace `auto` in a run by an engine of the machine that samples, with the reason: once, for all its jobs."""
    if run.engine != Engine.AUTO:
        return
    found = engines.choose(run.engine, machine, n_answers=run.n * len(run.prompt_ids))
    with ctx.fenced():
        undecided = SamplingRun.objects.filter(pk=run.pk, engine=Engine.AUTO)
        undecided.update(engine=found.name, engine_why=found.why)
    run.refresh_from_db(fields=["engine", "engine_why"])
    ctx.log(f"sampled by {run.engine} ({run.engine_why})")


class Answering(Protocol):
    """Samples n answers to each of the named prompts, in order; a name's answers do not depend on the other prompts."""

    def __call__(
        self,
        asked: Sequence[tuple[str, PromptContent]],
        *,
        n: int,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
    ) -> list[Group]: ...


@contextmanager
def answering(
    checkpoint: Checkpoint, setting: str, *, n_answers: int, check: Callable[[], None]
) -> Iterator[Answering]:
    """Lend a sampler for this policy with the engine of a setting; `n_answers` is the approximate number of answers."""
    found = engines.choose(setting, machine(), n_answers=n_answers)
    if found.name == engines.VLLM.name:
        with vllm(checkpoint, check=check) as (endpoint, reader):
            yield _Served(endpoint, reader, checkpoint.name)
    else:
        yield _Own(model_cache.policy(checkpoint), checkpoint.name)


@contextmanager
def vllm(checkpoint: Checkpoint, *, check: Callable[[], None]) -> Iterator[tuple[ChatEndpoint, Reader]]:
    """Lend a client of the worker's server, with this checkpoint's weights. If the server is lost, the job is
    retried.
    """
    reader = load_reader(checkpoint_here(checkpoint))
    device = model_cache.device()
    with (
        vllm_servers.serving(checkpoint, device=device, check=check, on_start=model_cache.release) as server,
        server.endpoint() as endpoint,
    ):
        try:
            yield endpoint, reader
        except JobStop:
            vllm_servers.stop()  # nobody waits for the answers in flight
            raise
        except JudgeUnreachable as error:
            said = str(error) if server.alive() else str(server.failure())
            vllm_servers.stop()
            raise JobFailure(FailureClass.WORKER_LOST, said, retry=True) from error


@contextmanager
def vllm_for_training(checkpoint: Checkpoint, *, check: Callable[[], None]) -> Iterator[ServedModel]:
    """Lend the worker's server to a training process, which loads its own weights into it and needs memory too."""
    device = model_cache.device()
    with vllm_servers.serving(
        checkpoint, device=device, check=check, on_start=model_cache.release, beside_training=True
    ) as server:
        yield server


@dataclass(frozen=True, slots=True)
class _Own:
    policy: Policy
    name: str

    def __call__(
        self,
        asked: Sequence[tuple[str, PromptContent]],
        *,
        n: int,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
    ) -> list[Group]:
        return sample(
            self.policy,
            _encoded(self.policy.tokenizer, asked),
            n=n,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
            source=self.name,
        )


@dataclass(frozen=True, slots=True)
class _Served:
    endpoint: ChatEndpoint
    reader: Reader
    name: str

    def __call__(
        self,
        asked: Sequence[tuple[str, PromptContent]],
        *,
        n: int,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
    ) -> list[Group]:
        sampler = VllmSampler(
            self.endpoint,
            self.reader,
            max_tokens=max_tokens,
            seed=seed,
            temperature=temperature,
            top_p=top_p,
            source=self.name,
        )
        return sample_served(sampler, _encoded(self.reader.tokenizer, asked), n=n, at_once=VLLM_AT_ONCE)


def _encoded(tokenizer: object, asked: Sequence[tuple[str, PromptContent]]) -> list[SamplePrompt]:
    ids = encode_named(tokenizer, list(asked))
    return [SamplePrompt(name, ids[name]) for name, _ in asked]
