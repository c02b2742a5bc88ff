"""The declared faults are up to date; `make mutations` plants each and runs its tests, which takes some minutes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("mutations", Path(__file__).with_name("mutations.py"))
assert _spec is not None
assert _spec.loader is not None
mutations = sys.modules["mutations"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mutations)


def test_the_text_of_every_fault_is_there_and_its_tests_are_named() -> None:
    assert mutations.check() == []
    assert len({fault.name for fault in mutations.FAULTS}) == len(mutations.FAULTS)
    for fault in mutations.FAULTS:
        assert fault.tests
        for name in fault.tests:
            assert (mutations.ROOT / "tests" / name.split("::")[0]).is_file()
