"""A client of our own vLLM server: sampling, and loading other weights in place.

Other weights of the same shape are loaded in a tenth of a second for a small model, while a start takes a minute: vLLM
reads them from a directory and forgets the prompts cached with the old ones. vLLM offers this to developers only
(`VLLM_SERVER_DEV_MODE`), on paths that need no key; on our servers every path needs it (`vllm_side`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from prefloop.checkpoints import check_checkpoint_dir
from prefloop.judging.client import ChatEndpoint, Limits
from prefloop.types import PrefloopError

LIMITS = Limits(read_seconds=1800.0, total_seconds=3600.0, max_bytes=64_000_000, attempts=2)
LOAD_SECONDS = 900.0  # weights of tens of GB are read again
_NOT_SHAPE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")


class VllmFailed(PrefloopError):
    """The server did not start, or ended; the text gives the reason, as far as its log has one."""


class ServedModel:
    """A running server. Anybody with `base_url`, `model` and `key` can call it like an OpenAI-compatible endpoint."""

    def __init__(self, *, host_port: str, model: str, key: str) -> None:
        self.host_port = host_port
        self.model = model
        self.key = key

    @property
    def base_url(self) -> str:
        return f"http://{self.host_port}/v1"

    def endpoint(self) -> ChatEndpoint:
        """Open a client of it, allowed to call this one private address because the server is ours."""
        return ChatEndpoint(self.base_url, self.model, self.key, [self.host_port], limits=LIMITS)

    def failure(self) -> VllmFailed:
        """Say why it does not answer, as far as is known."""
        return VllmFailed(f"the vLLM server on {self.host_port} does not answer")

    def load(self, directory: str | Path) -> None:
        """Answer with these weights from now on; no request may be running. Raises UnsafeCheckpoint, VllmFailed.

        They are of the shape that it serves (`same_shape`).
        """
        check_checkpoint_dir(directory)
        self._tell("/collective_rpc", {"method": "prefloop_load", "args": [str(Path(directory).resolve())]})
        if not self._tell("/reset_prefix_cache").get("success"):
            raise VllmFailed("the vLLM server could not forget what it had read: somebody is asking it")

    def _tell(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.key}"}
        try:
            with httpx.Client(trust_env=False, timeout=LOAD_SECONDS, headers=headers) as client:
                answer = client.post(f"http://{self.host_port}{path}", json=body)
        except httpx.TransportError as error:
            raise self.failure() from error
        if answer.status_code != 200:
            raise VllmFailed(f"the vLLM server could not load other weights: {answer.status_code} {answer.text[:200]}")
        told = answer.json() if answer.content else {}
        return told if isinstance(told, dict) else {}


def same_shape(one: str | Path, other: str | Path) -> bool:
    """Whether a server of one checkpoint directory can load the other's weights: one architecture, the same tokens.

    Tokens are passed as ids, so of the tokenizer only its vocabulary and end token matter, not how its files are
    written: transformers writes them differently when a model is saved again.
    """
    return _shape(one) == _shape(other)


def _shape(directory: str | Path) -> tuple[object, ...]:
    config, tokens, settings = (
        _read(Path(directory) / name) for name in ("config.json", "tokenizer.json", "tokenizer_config.json")
    )
    plain = {key: value for key, value in config.items() if key not in _NOT_SHAPE}
    return plain, tokens.get("model", {}).get("vocab"), settings.get("eos_token")


def _read(path: Path) -> dict[str, Any]:
    said = json.loads(path.read_bytes()) if path.is_file() else {}
    return said if isinstance(said, dict) else {}
