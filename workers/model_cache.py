"""The models a worker has loaded, by content: a job with the same weights does not load them again."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TypeVar

import torch
from django.conf import settings

from apps.policies.models import Checkpoint
from apps.policies.store import checkpoint_here
from prefloop.policy.loading import Policy, RewardModel, load_policy, load_reward_model
from workers import vllm_servers
from workers.precision import dtype_of

MOST_MODELS = 4
M = TypeVar("M", Policy, RewardModel)

_policies: OrderedDict[str, Policy] = OrderedDict()
_reward_models: OrderedDict[str, RewardModel] = OrderedDict()
_lock = Lock()


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def use_threads() -> None:
    """Use the configured number of threads: results repeat exactly only with the same number."""
    if torch.get_num_threads() != settings.WORKER_THREADS:
        torch.set_num_threads(settings.WORKER_THREADS)


def release() -> None:
    """Free every model, and the accelerator's memory, for another process."""
    with _lock:
        _policies.clear()
        _reward_models.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _make_room() -> None:
    """Stop the vLLM server on an accelerator, where it takes most of the memory; on a CPU both can stay."""
    if torch.cuda.is_available():
        vllm_servers.stop()


def policy(checkpoint: Checkpoint) -> Policy:
    """Return the checkpoint's policy, loaded once. Raises UnsafeCheckpoint."""
    with _lock:
        found = _get(_policies, checkpoint.fingerprint)
        if found is None:
            _make_room()
            use_threads()
            path = checkpoint_here(checkpoint)
            found = load_policy(path, device=device(), dtype=dtype_of(path, device()))
            _put(_policies, checkpoint.fingerprint, found)
        return found


def reward_model(checkpoint: Checkpoint) -> RewardModel:
    """Return the checkpoint's reward model, loaded once. Raises UnsafeCheckpoint."""
    with _lock:
        found = _get(_reward_models, checkpoint.fingerprint)
        if found is None:
            _make_room()
            use_threads()
            path = checkpoint_here(checkpoint)
            found = load_reward_model(path, device=device(), dtype=dtype_of(path, device()))
            _put(_reward_models, checkpoint.fingerprint, found)
        return found


def _get(cache: OrderedDict[str, M], key: str) -> M | None:
    if key in cache:
        cache.move_to_end(key)
        return cache[key]
    return None


def _put(cache: OrderedDict[str, M], key: str, value: M) -> None:
    cache[key] = value
    while len(cache) > MOST_MODELS:
        cache.popitem(last=False)
