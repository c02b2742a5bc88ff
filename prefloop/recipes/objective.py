"""The objective of a recipe: its loss, the numbers of that loss, and the optimiser's settings.

One key may have another meaning in each method (`lambda` is SPIN's, GKD's share of own samples, PPO's of GAE). Its
meaning, limits, default and source are in the loss's own file (`prefloop/losses`); a key that has no meaning in a loss
is hidden.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from prefloop.config import ConfigError, Value, check_fields, setting
from prefloop.losses.declaration import Loss, Need, Rows, Target
from prefloop.losses.registry import LOSSES
from prefloop.recipes.parts import Part

# What the numbers that mean nothing to a loss are: part of the hash of runs that were made before a loss declared its
# own. A number that is not here is None where it means nothing, and no part of the hash then.
_MEANS_NOTHING: Mapping[str, Value] = {
    "beta": 0.1,
    "tau": 0.1,
    "gamma": 0.05,
    "delta": 1.0,
    "lambda_": 0.1,
    "alpha": 1.0,
    "b": 0.0,
    "k": 5,
    "form": "",
    "rank_weight": 1.0,
    "jeffreys": 0.5,
    "n": 4,
    "clip_range": 0.2,
    "value_coef": 0.1,
    "passes": 4,
    "missing_eos_penalty": 0.0,
    "minibatches": 1,
    "label_smoothing": 0.0,
    "center": 0.0,
    "reference": "initial",
}
_KINDS: Mapping[str, type] = {one.name: type(one.default) for loss in LOSSES.values() for one in loss.numbers}
_NUMBERS = (*_MEANS_NOTHING, *sorted(_KINDS.keys() - _MEANS_NOTHING.keys()))


if TYPE_CHECKING:

    @dataclass(frozen=True, kw_only=True)
    class _Numbers(Part):
        """One field for every number that a loss declares."""

        loss: str = "dpo"
        reference: str = "initial"

        def __getattr__(self, name: str) -> Any: ...

else:
    _Numbers = dataclasses.make_dataclass(
        "_Numbers",
        [("loss", str, "dpo"), *((name, _KINDS[name], setting(None, help="")) for name in _NUMBERS)],
        bases=(Part,),
        frozen=True,
        kw_only=True,
    )


@dataclass(frozen=True, kw_only=True)
class Objective(_Numbers):
    """The loss and its numbers. `loss` is fixed by the method."""

    lr: float = setting(
        1e-4,
        above=0.0,
        maximum=1.0,
        help="Peak learning rate of AdamW. The default suits models of about 1M parameters; for 1B and more, papers "
        "use 5e-7 to 1e-6 when training all weights.",
        source="this project's letters world; DPO's code 5e-7, its paper 1e-6",
    )
    epochs: int = setting(1, minimum=1, maximum=1000, help="Passes over the training set.")
    batch: int = setting(32, minimum=1, maximum=65536, help="Examples in one optimizer step.")
    warmup: int = setting(0, minimum=0, help="Steps in which the learning rate rises from 0 to its peak.")
    schedule: str = setting(
        "constant", choices=("constant", "linear"), help="After the warm-up: constant, or linear to 0."
    )
    clip: float = setting(
        1.0,
        minimum=0.0,
        help="Largest norm of the gradient; 0 sets no limit.",
        source="TRL's default; DPO's code has 10",
    )
    weight_decay: float = setting(0.0, minimum=0.0, below=1.0, help="AdamW's decoupled weight decay.")
    start_from: str = setting(
        "previous", choices=("initial", "previous"), help="The policy whose weights a training round starts from."
    )

    if TYPE_CHECKING:

        def __init__(self, **values: Any) -> None: ...

    @override
    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ConfigError(f"loss must be one of {', '.join(LOSSES)}, not {self.loss!r}")
        for name in _NUMBERS:
            if getattr(self, name) in (None, ""):  # a form was stored as "" where it means nothing
                value = self.declared.defaults.get(name, _MEANS_NOTHING.get(name))
                object.__setattr__(self, name, value)
        check_fields(self)

    def explain(self, name: str) -> Mapping[str, Any]:
        spec = self.declared.specs.get(name)
        return {} if spec is None else {item.name: getattr(spec, item.name) for item in dataclasses.fields(spec)}

    def hidden(self) -> frozenset[str]:
        nothing = frozenset(_NUMBERS) - self.declared.defaults.keys()
        return nothing if self.trains else nothing | _TRAINING

    @property
    def declared(self) -> Loss:
        """The declaration of the loss."""
        return LOSSES[self.loss]

    @property
    def rows(self) -> Rows:
        """What the loss is trained on."""
        return self.declared.rows

    @property
    def takes_single_answers(self) -> bool:
        """Whether it learns something of an answer that is compared with none, or of two that are both bad."""
        return self.rows == "answers"

    @property
    def trains(self) -> bool:
        """Whether anything is trained: Best-of-N only chooses among answers."""
        return self.rows != "none"

    def needs(self, what: Need) -> bool:
        return what in self.declared.needs

    @property
    def needs_reference(self) -> bool:
        """Whether the loss compares the policy with another one, whose log-probs (or logits) it needs."""
        return self.needs("ref") or self.needs("teacher")

    @property
    def only_in_steps(self) -> bool:
        """Whether no stored rows can teach it: it needs answers that are drawn while it learns."""
        return self.rows == "samples" or self.target == "reference"

    @property
    def pairs_with_reference(self) -> bool:
        """Whether it compares pairs with a reference, which may then be an anchor that moves."""
        return self.rows == "pairs" and self.needs("ref")

    @property
    def makes_reward_model(self) -> bool:
        """Whether it trains a head that scores answers, and no policy."""
        return self.needs("rewards")

    @property
    def target(self) -> Target:
        """The answer whose own likelihood counts beside a pair."""
        return self.declared.target(self)

    @property
    def run_kind(self) -> str:
        """The kind of a training run with this loss."""
        return self.declared.run_kind or self.loss

    def counted(self) -> dict[str, Any]:
        """Give the settings that enter the hash of a run."""
        plain = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        if not plain["missing_eos_penalty"]:  # younger than some runs that may go on
            plain.pop("missing_eos_penalty")
        return plain


_TRAINING = frozenset(Objective.__annotations__)
