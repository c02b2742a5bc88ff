"""Checkpoint directories: what may be loaded, what they contain, and how they are published. No torch here.

A checkpoint is a directory of safetensors and JSON files. It is written under another name, completed with a manifest
(name, size and SHA-256 of every file) and renamed, so that a directory with a manifest is either complete or damaged,
never half written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from prefloop import interrupting
from prefloop.types import PrefloopError

MANIFEST = "manifest.json"
ADAPTER_CONFIG = "adapter_config.json"
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".dill", ".npy", ".npz"})
CODE_SUFFIXES = frozenset({".py", ".pyc", ".so", ".pyd", ".dll", ".dylib"})
_IDENTITY_FILES = frozenset(
    {
        "config.json",
        "adapter_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
        "chat_template.jinja",
        "chat_template.json",
    }
)
_WEIGHTS = re.compile(r"^(adapter_)?model(-\d+-of-\d+)?\.safetensors$")  # the names transformers and peft load
_READ_BYTES = 8 << 20
_CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "trust_remote_code"})
# transformers fetches a kernel from the hub, which is code, for any other name in these keys
_ATTENTION = re.compile(r"^_?attn_implementation(_internal)?$")
_KNOWN_ATTENTION = frozenset({"eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"})
_DTYPE_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format
_MAX_JSON_BYTES = 256_000_000
_SAFE_TEMPLATE_NAME = re.compile(r"^[A-Za-z0-9_\-]{1,64}$")


class UnsafeCheckpoint(PrefloopError):
    """The directory holds something that must not be loaded."""


class DamagedCheckpoint(PrefloopError):
    """The directory does not match its manifest, or has none."""


class UnloadableModel(PrefloopError):
    """The files are safe, but they are not a model that can be used here."""


def check_checkpoint_dir(path: str | Path) -> None:
    """Refuse a directory that is not plain safetensors and JSON, without reading anything executable.

    Raises UnsafeCheckpoint naming the file: a pickle by its suffix (never opened), code, a config that asks for
    custom code, a link that leaves the directory, missing or malformed safetensors.
    """
    root = Path(path)
    if not root.is_dir():
        raise UnsafeCheckpoint(f"{root} is not a directory")
    home = root.resolve()
    weights = 0
    for file in _walk(root):
        name = file.relative_to(root).as_posix()
        if file.is_symlink() and not file.resolve().is_relative_to(home):
            raise UnsafeCheckpoint(f"{name} is a link that points outside the checkpoint directory")
        if file.is_dir():
            continue
        if not file.is_file():
            raise UnsafeCheckpoint(f"{name} is not a regular file")
        # The suffix of the name as it stands and of what it points to: a link must not hide a pickle.
        suffixes = {file.suffix.lower(), file.resolve().suffix.lower()}
        if suffixes & PICKLE_SUFFIXES:
            raise UnsafeCheckpoint(
                f"{name} may hold a pickle, which can run code; only safetensors and JSON are loaded"
            )
        if suffixes & CODE_SUFFIXES:
            raise UnsafeCheckpoint(f"{name} is code; checkpoints that bring their own code are not loaded")
        if file.suffix == ".safetensors":
            check_safetensors(file)
            weights += file.parent == root and bool(_WEIGHTS.match(file.name))
        elif file.suffix == ".json" and file.parent == root:
            check_json(file, name)
    if not any((root / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise UnsafeCheckpoint("config.json is missing: not a model directory")
    if not weights:
        raise UnsafeCheckpoint("model.safetensors is missing: no weights in safetensors format")


def check_safetensors(file: Path, *, n_bytes: int | None = None) -> None:
    """Check a safetensors header against the file's size; raises UnsafeCheckpoint with what is wrong.

    `n_bytes` is the size that a file will have of which only the beginning is there.
    """

    def refuse(why: str) -> UnsafeCheckpoint:
        return UnsafeCheckpoint(f"{file.name} is not a valid safetensors file: {why}")

    size = file.stat().st_size if n_bytes is None else n_bytes
    with file.open("rb") as stream:
        head = stream.read(8)
        if len(head) < 8:
            raise refuse("shorter than its header length")
        length = int.from_bytes(head, "little")
        if length > min(_MAX_HEADER_BYTES, size - 8):
            raise refuse(f"says its header has {length} bytes")
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError) as error:
            raise refuse("its header is not JSON") from error
    if not isinstance(header, dict):
        raise refuse("its header is not an object")
    data = size - 8 - length
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            begin, end = entry["data_offsets"]
            shape, dtype = entry["shape"], entry["dtype"]
            bits = _DTYPE_BITS[dtype]
            whole = all(isinstance(n, int) and n >= 0 for n in (*shape, begin, end))
        except (KeyError, TypeError, ValueError) as error:
            raise refuse(f"the entry of {name!r} is malformed") from error
        if not whole or end > data or end < begin or (end - begin) * 8 != prod(shape) * bits:
            raise refuse(f"the size of {name!r} does not fit its shape, type and place")
        spans.append((begin, end))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise refuse("its tensors overlap or leave gaps")
        position = end
    if position != data:
        raise refuse("its tensors do not fill the file")


def count_parameters(directory: Path) -> int:
    """Count the numbers in a directory's safetensors files from their headers alone."""
    total = 0
    for file in directory.glob("*.safetensors"):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        for key, entry in header.items():
            if key == "__metadata__":
                continue
            size = 1
            for length in entry["shape"]:
                size *= length
            total += size
    return total


def fingerprint(path: str | Path) -> str:
    """Hash a model directory by content: weights, config and tokenizer; optimizer state and notes are ignored."""
    root = Path(path)
    digest = hashlib.sha256()
    for file in sorted(root.iterdir()):
        if file.name in _IDENTITY_FILES or _WEIGHTS.match(file.name):
            digest.update(f"{file.name}\0{_sha256(file)}\n".encode())
    return digest.hexdigest()


def named_base(directory: str | Path) -> Path:
    """Return the model directory that an adapter's config names; `./` and `../` are seen from the adapter's directory.

    Raises OSError, and ValueError, KeyError or TypeError for a config that names none.
    """
    name = json.loads((Path(directory) / ADAPTER_CONFIG).read_text("utf-8"))["base_model_name_or_path"]
    if not isinstance(name, str):
        raise TypeError(f"{ADAPTER_CONFIG} names {name!r}, which is no directory")
    if name.startswith(("./", "../")):
        return Path(os.path.normpath(Path(directory) / name))
    return Path(name)


def tokenizer_hash(path: str | Path) -> str:
    """Hash how a tokenizer treats a text: its vocabulary, merges, added tokens and normalisation, however they are
    written.

    Two directories with the same hash give the same ids; "" where there is no tokenizer.
    """
    root = Path(path)
    fast = root / "tokenizer.json"
    if fast.is_file():
        content = json.loads(fast.read_bytes())
        if isinstance(content, dict):  # how it cuts and fills up rows is set anew at every call
            content = {key: value for key, value in content.items() if key not in ("truncation", "padding")}
        plain = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        return hashlib.sha256(plain).hexdigest()
    digest = hashlib.sha256()
    found = [root / name for name in ("tokenizer.model", "vocab.json", "merges.txt") if (root / name).is_file()]
    for file in found:
        digest.update(f"{file.name}\0{_sha256(file)}\n".encode())
    return digest.hexdigest() if found else ""


def write_manifest(
    directory: str | Path,
    *,
    step: int | None = None,
    config_hash: str = "",
    parent: str = "",
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `manifest.json` last: name, size and SHA-256 of every other file, each flushed to disk first."""
    root = Path(directory)
    files = []
    for file in _files(root):
        _fsync(file)
        files.append({"name": file.relative_to(root).as_posix(), "size": file.stat().st_size, "sha256": _sha256(file)})
    manifest: dict[str, Any] = {
        "format": 1,
        "step": step,
        "config_hash": config_hash,
        "parent": parent,
        "fingerprint": fingerprint(root),
        "extra": dict(extra or {}),
        "files": files,
    }
    target = root / MANIFEST
    with target.open("w", encoding="utf-8") as stream:
        json.dump(manifest, stream, indent=1, sort_keys=True)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    for folder in {file.parent for file in _files(root)} | {root}:
        _fsync(folder)
    return manifest


def verify_manifest(directory: str | Path) -> dict[str, Any]:
    """Read the manifest and compare every file with it; raises DamagedCheckpoint naming the first difference."""
    root = Path(directory)
    try:
        manifest = json.loads((root / MANIFEST).read_text("utf-8"))
        entries = {str(entry["name"]): entry for entry in manifest["files"]}
    except FileNotFoundError as error:
        raise DamagedCheckpoint(f"{root.name} has no manifest: it was not finished") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpoint(f"the manifest of {root.name} cannot be read") from error
    present = {file.relative_to(root).as_posix(): file for file in _files(root)}
    if missing := sorted(entries.keys() - present.keys()):
        raise DamagedCheckpoint(f"{root.name} is missing {missing[0]}")
    if added := sorted(present.keys() - entries.keys()):
        raise DamagedCheckpoint(f"{root.name} holds {added[0]}, which its manifest does not name")
    for name, entry in entries.items():
        file = present[name]
        if file.stat().st_size != entry.get("size") or _sha256(file) != entry.get("sha256"):
            raise DamagedCheckpoint(f"{name} in {root.name} differs from the manifest")
    return dict(manifest)


def publish(
    tmp_dir: str | Path,
    final_dir: str | Path,
    *,
    step: int | None = None,
    config_hash: str = "",
    parent: str = "",
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Close `tmp_dir` with a manifest and rename it to `final_dir`, both on one file system; return the manifest.

    Raises FileExistsError where `final_dir` exists: a checkpoint is never overwritten.
    """
    tmp, final = Path(tmp_dir), Path(final_dir)
    if final.exists():
        raise FileExistsError(f"{final} exists; a checkpoint is never overwritten")
    manifest = write_manifest(tmp, step=step, config_hash=config_hash, parent=parent, extra=extra)
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(tmp, final)
    _fsync(final.parent)
    return manifest


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root, followlinks=False):
        for name in sorted(folders) + sorted(files):
            yield Path(folder) / name


def _files(root: Path) -> list[Path]:
    return sorted(file for file in _walk(root) if file.is_file() and file != root / MANIFEST)


def check_json(file: Path, name: str) -> None:
    """Refuse a JSON file of a model that is too large, is not JSON, or asks for code. Raises UnsafeCheckpoint."""
    if file.stat().st_size > _MAX_JSON_BYTES:
        raise UnsafeCheckpoint(f"{name} is too large for a JSON file of a model")
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UnsafeCheckpoint(f"{name} is not readable JSON") from error
    if name == "tokenizer.json" or not isinstance(content, dict):
        return  # a vocabulary: its keys are tokens, and one of them may well read "auto_map"
    if name in ("vocab.json", "added_tokens.json"):
        return
    if key := _find_code_key(content):
        raise UnsafeCheckpoint(f"{name} asks for custom code ({key}); checkpoints with custom code are not loaded")
    templates = content.get("chat_template")
    if isinstance(templates, list):
        for template in templates:
            title = template.get("name") if isinstance(template, dict) else None
            if not isinstance(title, str) or not _SAFE_TEMPLATE_NAME.match(title):
                raise UnsafeCheckpoint(f"{name} names a chat template {title!r}, which is not a plain name")


def _is_known_attention(value: object) -> bool:
    """Whether it names attention that transformers includes; a dict names one for each part of a model."""
    names = value.values() if isinstance(value, dict) else [value]
    return all(name is None or (isinstance(name, str) and name in _KNOWN_ATTENTION) for name in names)


def _find_code_key(content: object) -> str | None:
    """Find a key that asks for custom code at any depth (without recursion, since the file chooses the depth)."""
    stack = [content]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                if key in _CODE_KEYS and value:
                    return str(key)
                if _ATTENTION.match(key) and not _is_known_attention(value):
                    return f"{key}: {value!r}"[:120]
                stack.append(value)
        elif isinstance(node, list):
            stack.extend(node)
    return None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while part := stream.read(_READ_BYTES):
            digest.update(part)
            interrupting.ask()  # weights take seconds, or minutes on a busy machine
        return digest.hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
