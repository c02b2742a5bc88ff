"""Which files of a data set's repository are one split of it.

As the `datasets` library decides: by `configs` in the card (the YAML at the top of README.md) where it has them, else
by the files' names, where NAME-00000-of-00001, or words like train and test between separators, name the split. See
huggingface.co/docs/hub/datasets-data-files-configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefloop.formats.opening import suffix_of
from prefloop.formats.rows import SUFFIXES
from prefloop.hub_data import NoData

DEFAULT = "default"
_ABOUT = {
    "dataset_infos.json",
    "dataset_info.json",
    "dataset_dict.json",
    "state.json",
    "config.json",
}  # no rows in them
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test"} | {
    "evaluation": "test", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"
}  # fmt: skip
_SHARD = re.compile(r"(?P<split>[A-Za-z0-9_.]+)-\d{5}-of-\d{5}[-.]")
_SHOWN = 20

Splits = Mapping[str, Sequence[str]]  # the files of each


@dataclass(frozen=True, slots=True)
class Chosen:
    config: str
    split: str
    files: tuple[str, ...]


def choose(files: Sequence[str], card: Mapping[str, Any], words: Sequence[str]) -> Chosen:
    """Choose the files of one split. `card`: the card's metadata; `words`: its configuration and split, or either.

    Without words it is the configuration that the card calls default (or the only one) and its split train (or the only
    one). Raises NoData naming what there is.
    """
    tables = sorted(name for name in files if _is_table(name))  # a hub lists them in any order
    if not tables:
        hint = "; a data set that is only a script often has its tables at @refs/convert/parquet"
        raise NoData(f"there is no table in it ({', '.join(SUFFIXES)}){hint}")
    configs, default = _configs(tables, card)
    config, split = _named(configs, default, list(words))
    found = tuple(sorted(configs[config][split]))
    kinds = {suffix_of(Path(name)) for name in found}
    if len(kinds) != 1:
        raise NoData(f"{config}:{split} has files of several kinds: {', '.join(found[:_SHOWN])}")
    return Chosen(config, split, found)


def _is_table(name: str) -> bool:
    path = Path(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and path.name not in _ABOUT and suffix_of(path) in SUFFIXES


def _named(configs: Mapping[str, Splits], default: str, words: list[str]) -> tuple[str, str]:
    if words and words[0] in configs:
        config = words.pop(0)
    elif len(words) == 2:
        raise NoData(f"there is no configuration {words[0]!r} in it; there are: {_list(configs)}")
    elif not default:
        why = f"there is no configuration {words[0]!r} in it" if words else "it has several configurations"
        raise NoData(f"{why}; name one: {_list(configs)}")
    else:
        config = default
    splits = configs[config]
    if words:
        if words[0] not in splits:
            there = f"the splits {_list(splits)}" + (f", the configurations {_list(configs)}" * (len(configs) > 1))
            raise NoData(f"there is no {words[0]!r} in it; there are {there}")
        return config, words[0]
    if "train" in splits or len(splits) == 1:
        return config, "train" if "train" in splits else next(iter(splits))
    raise NoData(f"it has several splits; name one: {_list(splits)}")


def _list(names: Mapping[str, object]) -> str:
    return ", ".join(list(names)[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


def _configs(tables: list[str], card: Mapping[str, Any]) -> tuple[dict[str, Splits], str]:
    """The configurations with their splits, and the name of the default one ("": there is none)."""
    found: dict[str, Splits] = {}
    default = ""
    given = card.get("configs")
    for one in given if isinstance(given, list) else []:
        if not isinstance(one, dict) or not isinstance(one.get("config_name"), str):
            continue
        splits = _by_patterns(tables, one)
        if splits:
            found[one["config_name"]] = splits
            default = one["config_name"] if one.get("default") is True else default
    if not found:
        found[DEFAULT] = _by_names(tables)
        folders = {Path(name).parts[0] for name in tables if "/" in name}
        for folder in sorted(folders - {"data", DEFAULT}):
            found[folder] = _by_names([name for name in tables if name.startswith(f"{folder}/")])
    return found, default or (DEFAULT if DEFAULT in found else next(iter(found)) if len(found) == 1 else "")


def _by_patterns(tables: list[str], config: Mapping[str, Any]) -> Splits:
    """The splits that a configuration of the card names: its `data_files` are patterns, for all or for each split."""
    from fsspec.utils import glob_translate

    folder = str(config.get("data_dir") or "").strip("/")
    inside = [name for name in tables if not folder or name.startswith(f"{folder}/")]
    given = config.get("data_files")
    if given is None:
        return _by_names(inside) if inside else {}
    named = given if isinstance(given, list) else [given]
    splits: dict[str, list[str]] = {}
    for one in named:
        split, paths = (one.get("split"), one.get("path")) if isinstance(one, dict) else ("train", one)
        for pattern in paths if isinstance(paths, list) else [paths]:
            if not isinstance(split, str) or not isinstance(pattern, str):
                continue
            whole = f"{folder}/{pattern}" if folder else pattern
            fits = re.compile(glob_translate(whole.removeprefix("./")))
            splits.setdefault(split, []).extend(name for name in inside if fits.match(name))
    return {split: sorted(set(names)) for split, names in splits.items() if names}


def _by_names(tables: list[str]) -> Splits:
    """The splits that the files' names tell; where some are named as shards, the others are none of them."""
    splits: dict[str, list[str]] = {}
    for name in tables:
        if shard := _SHARD.match(Path(name).name):
            splits.setdefault(shard["split"], []).append(name)
    for name in tables if not splits else []:
        words = re.split(r"[-._ /\d]+", name.lower())
        split = next((_SPLITS[word] for word in reversed(words) if word in _SPLITS), "train")
        splits.setdefault(split, []).append(name)
    usual = {name: place for place, name in enumerate(("train", "validation", "test"))}
    return dict(sorted(splits.items(), key=lambda item: (usual.get(item[0], len(usual)), item[0])))
