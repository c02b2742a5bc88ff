"""Plants declared faults, one at a time, and runs the tests that must notice: `python tests/mutations.py [WORD…]`.

Each fault is a text of a file replaced by another in a copy of the tree; the tree itself is never touched. A fault that
no test notices survives. Exit code 1 where one does; 2 where a text is not there any more (the list has to follow), or
where a test fails without any fault.
Words choose the faults whose name holds one of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from planted_faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("apps", "config", "prefloop", "static", "templates", "tests", "workers")
FILES = ("manage.py", "pyproject.toml")
SECONDS_A_FAULT = 180
OPTIONS = ("-x", "-q", "--no-header", "-m", "not slow", "--nomigrations", "-p", "no:randomly", "-p", "no:cacheprovider")


def check() -> list[str]:
    """Name the faults whose text does not stand in their file exactly once."""
    return [
        f"{fault.name}: its text stands {n} times in {fault.file}"
        for fault in FAULTS
        if (n := (ROOT / fault.file).read_text("utf-8").count(fault.old)) != 1
    ]


def passes(tests: Sequence[str], tree: Path) -> bool:
    """Run these tests in a copy of the tree. Raises SystemExit where they could not be run."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *(f"tests/{name}" for name in tests), *OPTIONS],
        cwd=tree,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tree)},
        capture_output=True,
        timeout=SECONDS_A_FAULT,
        check=False,
    )
    if done.returncode not in (0, 1):  # neither passed nor failed
        raise SystemExit(f"{done.stdout.decode()[-2000:]}{done.stderr.decode()[-2000:]}")
    return done.returncode == 0


def plant(fault: Fault, tree: Path) -> bool:
    """Say whether a test notices the fault in this copy of the tree, which is put right again."""
    target = tree / fault.file
    text = target.read_text("utf-8")
    target.write_text(text.replace(fault.old, fault.new), "utf-8")
    try:
        return not passes(fault.tests, tree)
    finally:
        target.write_text(text, "utf-8")


def copy_to(folder: str) -> Path:
    tree = Path(folder) / "tree"
    for name in COPIED:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, tree / name)
    return tree


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="only faults whose name holds one of these")
    words = parser.parse_args(arguments).words
    if stale := check():
        print("\n".join(stale))
        return 2
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    survived = []
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_to(folder)
        named = sorted({name for fault in chosen for name in fault.tests})
        if named and not passes(named, tree):
            print("these tests fail without any fault: " + " ".join(named))
            return 2
        for fault in chosen:
            began = time.monotonic()
            noticed = plant(fault, tree)
            print(
                f"{'noticed ' if noticed else 'SURVIVED'}  {time.monotonic() - began:5.1f} s  {fault.name}", flush=True
            )
            survived += [] if noticed else [fault.name]
    print(f"{len(survived)} survived" if survived else "every fault is noticed")
    return int(bool(survived))


if __name__ == "__main__":
    raise SystemExit(main())
