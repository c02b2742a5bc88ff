"""Which weights a run trains: all of them, or a low-rank adapter while the others are frozen. Torch-free.

Source: Hu et al. 2021, LoRA, arXiv:2106.09685; rank and alpha as in peft's own examples.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from prefloop.config import ConfigError, check_fields, setting

AUTO_PARAMETERS = 300_000_000  # `auto` trains all weights up to this many parameters, an adapter above
ALL_LINEAR = "all-linear"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """LoRA's numbers; they have no meaning if all weights are trained."""

    kind: str = setting(
        "auto",
        choices=("auto", "none", "lora"),
        help="Which weights are trained: none means all weights, lora a low-rank adapter while the weights are frozen; "
        f"auto chooses lora for models of more than {AUTO_PARAMETERS // 10**6}M parameters.",
    )
    rank: int = setting(16, minimum=1, maximum=1024, help="Rank of the adapter's matrices.", source="peft's examples")
    alpha: int = setting(
        32,
        minimum=1,
        maximum=4096,
        help="Scale of the adapter: its product is multiplied by alpha / rank.",
        source="peft's examples (twice the rank)",
    )
    dropout: float = setting(
        0.0,
        minimum=0.0,
        below=1.0,
        help="Share of the adapter's input left out at random in training. 0 keeps a step's result independent of "
        "how its rows are packed and divided over processes.",
    )
    targets: str = setting(
        ALL_LINEAR,
        help=f"Which layers get an adapter: {ALL_LINEAR} (all but the head), or the endings of their names, separated "
        f"by commas (q_proj,v_proj).",
        source="Dettmers et al. 2023, QLoRA, arXiv:2305.14314 (all linear layers match full fine-tuning)",
    )
    merge: bool = setting(
        True,
        help="Whether the result is a full model with the adapter merged in (and the adapter in adapter/), or only the "
        "adapter, which needs the model it was trained from.",
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.target_names:
            raise ConfigError(f"adapter.targets must be {ALL_LINEAR} or names of layers, not {self.targets!r}")

    def hidden(self) -> frozenset[str]:
        names = {item.name for item in dataclasses.fields(self)}
        return frozenset(names - {"kind"}) if self.kind == "none" else frozenset()

    @property
    def target_names(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.targets.split(",") if name.strip())

    def resolved(self, n_parameters: int | None) -> Adapter:
        """Return it with `auto` decided for a model of this many parameters (unknown counts as small)."""
        if self.kind != "auto":
            return self
        return dataclasses.replace(self, kind="lora" if (n_parameters or 0) > AUTO_PARAMETERS else "none")
