"""Label Studio's default server, in an environment of its own (`make bench-setup`), and pairs for both sides."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
LABEL_STUDIO = ROOT / ".venv-label-studio" / "bin" / "label-studio"
TOKEN = "0123456789abcdef" * 2 + "01234567"
CONFIG = (
    '<View><Text name="p" value="$prompt"/><Pairwise name="pw" toName="a,b"/>'
    '<Text name="a" value="$first"/><Text name="b" value="$second"/></View>'
)


def pairs(n: int, *, seed: int = 0) -> Iterator[dict[str, str]]:
    """Make n pairs of about 1,500 bytes, of words that mean nothing."""
    draw = random.Random(seed)
    words = ["".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(draw.randint(2, 9))) for _ in range(3000)]
    for i in range(n):
        text = [" ".join(draw.choices(words, k=k)) for k in (40, 95, 95)]
        yield {"prompt": f"{i}: {text[0]}", "first": text[1], "second": text[2]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path) -> dict[str, str]:
    return dict(
        os.environ,
        LABEL_STUDIO_BASE_DATA_DIR=str(folder),
        COLLECT_ANALYTICS="false",
        LATEST_VERSION_CHECK="false",
        LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN="true",
        DATA_UPLOAD_MAX_MEMORY_SIZE=str(2 * 10**9),
        OMP_NUM_THREADS="1",
    )


@contextlib.contextmanager
def label_studio(folder: Path) -> Iterator[httpx.Client]:
    """Start a fresh server, and end it; its address is the client's base."""
    if not LABEL_STUDIO.exists():
        sys.exit(f"Label Studio is not in {LABEL_STUDIO.parent.parent.name}: run make bench-setup")
    port = free_port()
    command = [str(LABEL_STUDIO), "start", "--no-browser", "-p", str(port), "--username", "bench@example.org"]
    command += ["--password", "bench-only-here", "--user-token", TOKEN]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment(folder), stdout=log, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, headers={"Authorization": f"Token {TOKEN}"}, timeout=900) as client:
            for _ in range(600):
                with contextlib.suppress(httpx.HTTPError):
                    if client.get("/health").status_code == 200:
                        break
                if process.poll() is not None:
                    sys.exit(f"Label Studio ended: {(folder / 'log').read_text()[-2000:]}")
                time.sleep(0.5)
            yield client
    finally:
        process.terminate()
        process.wait(30)
