"""The settings of a judge as plain values, as jobs, trials and training steps receive them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from prefloop.config import ConfigError
from prefloop.judging.examples import Example
from prefloop.judging.modes import JudgeMode
from prefloop.types import OrderPolicy

_YOUNGER = (
    "key",
    "json_schema",
    "top_p",
    "checkpoint",
    "rules",
    "members",
    "rule",
    "weights",
    "examples",
)  # added later: runs of before lack them


@dataclass(frozen=True, kw_only=True)
class JudgeSpec:
    """The settings of one judge. Fields that its kind does not need keep their defaults.

    The address and key of its endpoint are not included; a process receives them through a pipe (`base_url` may be set
    by hand).
    """

    kind: str
    name: str = ""
    key: str = ""  # identifies a member of an ensemble
    base_url: str = ""
    model: str = ""
    template: str = ""
    criterion: str = ""
    mode: JudgeMode = "text"
    order_policy: OrderPolicy = "average"
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    samples: int = 1  # grades of an answer, of a judge that grades
    tie_delta: float = 0.0
    seed: int = 0
    json_schema: bool = True  # False: the endpoint is known not to enforce a schema
    checkpoint: str = ""  # model directory of a judge that is made of weights
    world: str = ""
    noise: float = 0.0
    soft: bool = False
    rules: Mapping[str, Any] = field(default_factory=dict)  # the options of a judge made of rules
    members: tuple[JudgeSpec, ...] = ()
    rule: str = "majority"
    weights: tuple[float, ...] = ()  # of the members, in their order
    examples: tuple[Example, ...] = ()  # pairs that people decided, shown before each question
    at_once: int = 0  # calls in flight; 0: as many as its kind has

    def settings(self) -> dict[str, Any]:
        """Return every setting that affects its verdicts, as plain values; addresses, paths and pace do not."""
        plain = asdict(self) | {"members": [member.settings() for member in self.members]}
        for name in ("base_url", "checkpoint", "at_once"):
            plain.pop(name)
        for item in fields(self):
            default = item.default_factory() if item.default_factory is not MISSING else item.default
            if item.name in _YOUNGER and getattr(self, item.name) == default:
                plain.pop(item.name, None)
        return plain

    @classmethod
    def from_json(cls, data: Any) -> JudgeSpec:
        """Read the result of `dataclasses.asdict`. Raises ConfigError."""
        known = {item.name for item in fields(cls)}
        if not isinstance(data, Mapping) or set(data) - known:
            raise ConfigError(f"a judge is an object of {', '.join(sorted(known))}, not {data!r}")
        values = dict(data)
        values["members"] = tuple(map(cls.from_json, values.get("members", ())))
        values["weights"] = tuple(map(float, values.get("weights", ())))
        try:
            values["examples"] = tuple(Example(**one) for one in values.get("examples", ()))
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"a judge: {error}") from None
