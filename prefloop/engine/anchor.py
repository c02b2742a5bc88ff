"""The anchor: a policy that is fixed, is copied from the policy every so many steps, or follows it.

Its weights are kept in fp32 whatever the policy's type: at rate .02 an update of bf16 weights is mostly lost to
rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from prefloop.engine.sharding import gathered, local, part_of
from prefloop.policy.loading import Policy
from prefloop.policy.precision import in_full
from prefloop.recipes.recipe import Anchor as AnchorSettings


class Anchor:
    """Answers and is compared with like any policy; call `follow` after each optimizer step."""

    def __init__(
        self, settings: AnchorSettings, policy: Policy, place: Callable[[Any], Any] = lambda model: model
    ) -> None:
        self._settings = settings
        model = copy.deepcopy(policy.model).eval()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
        model = place(model)
        self.policy = Policy(model, policy.tokenizer, policy.path, "", policy.device, policy.dtype)
        self._exact: dict[str, Tensor] = {}
        if settings.moves:
            self._exact = {name: in_full(local(value.detach())).clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def follow(self, model: Any, step: int) -> None:
        """Update it after `step` steps of the whole loop: anchor <- (1 - rate) anchor + rate policy, or a copy."""
        if self._settings.kind == "ema":
            rate = self._settings.rate
            for name, value in model.named_parameters():
                self._exact[name].lerp_(in_full(local(value.detach())), rate)
        elif self._settings.kind == "copy" and step % self._settings.every == 0:
            for name, value in model.named_parameters():
                self._exact[name].copy_(local(value.detach()))
        else:
            return
        self._show()

    def tensors(self, *, keep: bool = True) -> dict[str, Tensor]:
        """Its weights in fp32, for a checkpoint; empty for one that never moves. All processes call it together, and
        those without `keep` get nothing.
        """
        shown, found = dict(self.policy.model.named_parameters()), {}
        for name, value in self._exact.items():
            whole = gathered(value, shown[name])
            if keep:
                found[name] = whole.cpu().contiguous()
        return found

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `tensors` gave; nothing for one that never moves. Raises KeyError if a weight is missing."""
        shown = dict(self.policy.model.named_parameters())
        for name, value in self._exact.items():
            value.copy_(part_of(tensors[name], shown[name]))
        self._show()

    def _show(self) -> None:
        for name, value in self.policy.model.named_parameters():
            local(value).copy_(self._exact[name])
