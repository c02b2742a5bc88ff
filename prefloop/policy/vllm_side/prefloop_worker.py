"""Loading new weights into a running server, in each of its workers: vLLM's own reload, and what it misses on a CPU.

There vLLM multiplies by a copy of the output head that it rearranged for the processor. If the head is tied to the
embeddings, no file contains it, so the reload skips it and the copy keeps the old weights.
"""

from __future__ import annotations

from typing import Any


class LoadsInPlace:
    """Mixed into vLLM's worker by `--worker-extension-cls`; its methods are called by /collective_rpc."""

    model_runner: Any

    def prefloop_load(self, path: str) -> None:
        self.reload_weights(weights_path=path)  # type: ignore[attr-defined]  # the worker's
        for layer in self.model_runner.get_model().modules():
            method: Any = getattr(layer, "quant_method", None)
            if hasattr(layer, "cpu_linear") and type(method).__name__ == "UnquantizedEmbeddingMethod":
                method.process_weights_after_loading(layer)
