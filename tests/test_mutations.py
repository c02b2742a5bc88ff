"""The declared faults are up to date; `make mutations` plants each and runs its tests, which takes some minutes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def _loaded(name: str) -> ModuleType:
    """Import a module that stands beside this one, as running the command finds it."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


planted_faults, mutations = _loaded("planted_faults"), _loaded("mutations")


def test_the_text_of_every_fault_is_there_and_its_tests_are_named() -> None:
    assert mutations.check() == []
    assert len({fault.name for fault in mutations.FAULTS}) == len(mutations.FAULTS)
    for fault in mutations.FAULTS:
        assert fault.tests
        for name in fault.tests:
            assert (mutations.ROOT / "tests" / name.split("::")[0]).is_file()
