"""The specification of a training run: `RUN_DIR/spec.json`. Torch-free, so that the web process can write it.

Layout of a run directory:
    spec.json         this file, written once
    snapshot.jsonl    the training set (the name stands in the spec)
    inbox.jsonl       what people correct while the run goes on (`events.py`)
    events.jsonl      what the run says (`events.py`)
    step-000200/      checkpoints: weights, optimizer, position; only the last `keep_last` stay
    kept-000050/      what is measured on the way, without the optimizer; all of them stay
    final/            the result, published at once, without the optimizer
    failure.json      why it failed, where it did
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from prefloop.config import ConfigError, check_fields, setting
from prefloop.judging.spec import JudgeSpec
from prefloop.memory import DEFAULT_TOKENS, LEAST_TOKENS
from prefloop.recipes.adapter import Adapter
from prefloop.recipes.online import OnlineSpec
from prefloop.recipes.past import Anchor
from prefloop.recipes.recipe import Objective, objective_from_json, part_from_json

FailureClass = Literal[
    "user_config",
    "data",
    "out_of_memory",
    "out_of_disk",
    "judge_unreachable",
    "judge_refused",
    "cap_reached",
    "internal",
]

FAILURE_CLASSES: tuple[FailureClass, ...] = get_args(FailureClass)
PRECISIONS = ("auto", "float32", "bfloat16", "float64")
SHARDING = ("auto", "always", "never")
ONLINE = "online"  # samples and learns in the same breath: `RunSpec.online` says how

SPEC_FILE = "spec.json"
EVENTS_FILE = "events.jsonl"
INBOX_FILE = "inbox.jsonl"
FAILURE_FILE = "failure.json"
FINAL_DIR = "final"
STEP = "step-"  # how the name of a directory begins that holds a checkpoint to go on from
KEPT = "kept-"  # how the name of a directory begins that holds the policy after a step, to be measured
TEMPORARY = ".tmp-"  # within the name of a directory that is not whole yet

# Exit codes of `python -m prefloop.engine.train`.
EXIT_DONE = 0
EXIT_LEFT = 75  # EX_TEMPFAIL: a checkpoint is written, run it again to go on (SIGTERM)
EXIT_OF_FAILURE: dict[FailureClass, int] = {
    "internal": 1,
    "user_config": 2,
    "data": 3,
    "out_of_memory": 4,
    "out_of_disk": 5,
    "judge_unreachable": 6,
    "judge_refused": 7,
    "cap_reached": 8,
}


@dataclass(frozen=True, slots=True)
class RunFailure:
    """The content of `failure.json`: the cause of the failure, and one line for the person who reads it."""

    failure_class: FailureClass
    message: str
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One training run. Paths are absolute or relative to the run directory."""

    run_id: str
    kind: str  # sft, reward-model, online, or the name of the loss
    start: str  # model directory whose weights training starts from
    snapshot: str = "snapshot.jsonl"
    snapshot_sha256: str = ""
    reference: str | None = None  # model directory that the objective pulls to
    objective: Objective = dataclasses.field(default_factory=Objective)
    seed: int = setting(0, minimum=0, help="Seed of the order of rows and of new heads.")
    threads: int = setting(
        1, minimum=1, maximum=1024, help="CPU threads; a run repeats exactly only with the same number."
    )
    device: str = setting(
        "auto",
        choices=("auto", "cpu", "cuda"),
        prefixes=("cuda:",),
        help="Device; auto uses a GPU if there is one.",
    )
    precision: str = setting(
        "auto",
        choices=PRECISIONS,
        help="Type of the weights; auto uses bfloat16 on a GPU, and for large models on a CPU where it is faster. The "
        "optimizer keeps at least float32.",
    )
    processes: int = setting(
        1, minimum=1, maximum=1024, help="Processes that share the rows of each step, on one machine."
    )
    shard: str = setting(
        "auto",
        choices=SHARDING,
        help="Whether the processes share the weights too (FSDP2), instead of each holding all of them; auto shares "
        "them where memory asks for it.",
    )
    spare_memory: bool = setting(
        False,
        help="Always recompute activations in the backward pass: slower, but less memory. Rows that would not fit do "
        "so anyway.",
    )
    adapter: Adapter = dataclasses.field(default_factory=Adapter)
    anchor: Anchor = dataclasses.field(default_factory=Anchor)  # of stored rows; an on-policy run's is in `online`
    save_every: int = setting(0, minimum=0, help="Steps between checkpoints; 0 goes by time alone.")
    save_seconds: float = setting(
        120.0, minimum=0.0, help="Seconds of steps between checkpoints: no kill loses more, except one longer step."
    )
    token_budget: int = setting(
        DEFAULT_TOKENS,
        minimum=LEAST_TOKENS,
        help="Most tokens in one forward pass; fewer where memory asks for it. Affects memory, not the result.",
    )
    keep_last: int = setting(2, minimum=1, maximum=1000, help="Checkpoints kept for resuming.")
    keep_every: int = setting(
        0, minimum=0, help="Steps after which the policy is kept for good, to be measured; 0 keeps the result alone."
    )
    parent: str = ""  # the checkpoint that this run descends from, as its owner names it
    online: OnlineSpec | None = None  # for the kind `online`, and only for it

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.objective.trains:
            raise ConfigError("a run needs a loss to train on, not none")
        offline = self.objective.run_kind  # an online run takes any loss
        if self.kind not in (ONLINE, offline):
            raise ConfigError(f"kind must be {offline} for the loss {self.objective.loss}, not {self.kind!r}")
        if self.kind == offline and self.objective.only_in_steps:
            raise ConfigError(f"the loss {self.objective.loss} needs new samples at every step: kind must be online")
        if (self.kind == ONLINE) != (self.online is not None):
            raise ConfigError("online must be given for a run of the kind online, and for no other")
        if self.anchor.moves and (self.online is not None or not self.objective.pairs_with_reference):
            raise ConfigError("anchor is for a run on stored pairs with a reference, and for no other")
        if self.objective.needs_reference and not self.reference:
            raise ConfigError(f"a {self.kind} run needs a reference")
        for name in ("run_id", "start", "snapshot"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ConfigError(f"{name} must be a text that is not empty, not {getattr(self, name)!r}")

    def config_hash(self) -> str:
        """SHA-256 of everything that affects the result, without the places of files and how often it saves."""
        plain = dataclasses.asdict(self) | {"objective": self.objective.counted()}
        for name in (
            "run_id",
            "start",
            "reference",
            "snapshot",
            "save_every",
            "save_seconds",
            "keep_last",
            "keep_every",
            "device",
            "parent",
        ):
            plain.pop(name)
        if self.online is not None:
            plain["online"] = self.online.settings()
        else:
            plain.pop("online")
        if self.anchor.kind == "none":  # younger than some runs that may go on
            plain.pop("anchor")
        for name in ("processes", "shard", "spare_memory"):  # rounding alone: a run may go on with more of them
            plain.pop(name)
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8")).hexdigest()


def portable(spec: RunSpec, run_dir: Path, *, root: Path) -> RunSpec:
    """Name what lies below `root` relative to the run directory, so that the whole of it can be moved or restored."""

    def place(name: str) -> str:
        is_inside = Path(name).is_absolute() and Path(name).is_relative_to(root)
        return os.path.relpath(name, run_dir) if is_inside else name

    def judge_placed(judge: JudgeSpec) -> JudgeSpec:
        members = tuple(judge_placed(member) for member in judge.members)
        return dataclasses.replace(judge, checkpoint=place(judge.checkpoint), members=members)

    online = spec.online
    if online is not None:
        online = dataclasses.replace(
            online,
            reward_model=None if online.reward_model is None else place(online.reward_model),
            carry=None if online.carry is None else place(online.carry),
            replay=tuple(place(name) for name in online.replay),
            judge=None if online.judge is None else judge_placed(online.judge),
        )
    reference = None if spec.reference is None else place(spec.reference)
    return dataclasses.replace(
        spec, start=place(spec.start), snapshot=place(spec.snapshot), reference=reference, online=online
    )


def named_places(spec: RunSpec, run_dir: Path) -> list[Path]:
    """List the files and directories that a specification names, as paths from the root."""
    names = [spec.start, spec.snapshot, spec.reference]
    if spec.online is not None:
        judges = [spec.online.judge] if spec.online.judge is not None else []
        while judges:
            judge = judges.pop()
            judges += judge.members
            names.append(judge.checkpoint)
        names += [spec.online.reward_model, spec.online.carry, *spec.online.replay]
    return list(dict.fromkeys(Path(os.path.normpath(run_dir / name)) for name in names if name))


def write_spec(run_dir: str | Path, spec: RunSpec) -> Path:
    """Write `spec.json` atomically; the directory is created if it is missing."""
    folder = Path(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / SPEC_FILE
    _write_json(target, dataclasses.asdict(spec))
    return target


def read_spec(run_dir: str | Path) -> RunSpec:
    """Read `spec.json`. Raises ConfigError if it is missing or not a valid specification."""
    return _spec_of(_read_json(Path(run_dir) / SPEC_FILE))


def spec_from(content: bytes) -> RunSpec:
    """Read what `spec.json` of a run holds. Raises ConfigError if it is not a valid specification."""
    try:
        return _spec_of(dict(json.loads(content)))
    except (ValueError, TypeError):
        raise ConfigError(f"{SPEC_FILE} is missing, or no JSON object") from None


def _spec_of(data: dict[str, Any]) -> RunSpec:
    known = [item.name for item in dataclasses.fields(RunSpec)]
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ConfigError(f"{SPEC_FILE} has unknown keys: {', '.join(unknown)}; known: {', '.join(known)}")
    values = dict(data)
    if "objective" in values:
        values["objective"] = objective_from_json(values["objective"])
    if values.get("online") is not None:
        values["online"] = OnlineSpec.from_json(values["online"])
    for name, part in (("adapter", Adapter), ("anchor", Anchor)):
        if name in values:
            values[name] = part_from_json(part, values[name], name)
    try:
        return RunSpec(**values)
    except TypeError as error:
        raise ConfigError(f"{SPEC_FILE}: {error}") from None


def kept_dirs(run_dir: str | Path) -> dict[int, Path]:
    """Return the directories of the policies that a run kept to be measured, by step."""
    found = {path.name.removeprefix(KEPT): path for path in Path(run_dir).glob(f"{KEPT}*")}
    return {int(step): path for step, path in sorted(found.items()) if step.isdecimal()}


def newest_step(run_dir: Path) -> str:
    """Name the newest checkpoint that a run can go on from; "" where there is none."""
    return max((path.name for path in run_dir.glob(f"{STEP}*") if TEMPORARY not in path.name), default="")


def stays_here(file: str, *, newest: str) -> bool:
    """Whether a file of a run's directory is of no use on another machine: locks, what is half written, older steps."""
    first = file.partition("/")[0]
    return TEMPORARY in first or first.endswith((".lock", ".tmp")) or (first.startswith(STEP) and first != newest)


def write_failure(run_dir: str | Path, failure: RunFailure) -> None:
    _write_json(Path(run_dir) / FAILURE_FILE, dataclasses.asdict(failure))


def read_failure(run_dir: str | Path) -> RunFailure | None:
    """Return why the run failed, None if it did not (or ended without a record)."""
    path = Path(run_dir) / FAILURE_FILE
    if not path.exists():
        return None
    data = _read_json(path)
    step = data.get("step")
    failure_class = data.get("failure_class")
    return RunFailure(
        failure_class=failure_class if failure_class in FAILURE_CLASSES else "internal",
        message=str(data.get("message", "")),
        step=step if isinstance(step, int) else None,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path.name} is missing in {path.parent}") from None
    except ValueError:
        raise ConfigError(f"{path.name} in {path.parent} is not JSON") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path.name} in {path.parent} must hold an object")
    return data


def _write_json(target: Path, data: dict[str, Any]) -> None:
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")  # of several processes each may have to say why
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(data, stream, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(target)
