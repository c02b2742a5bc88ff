"""Make sure that a Chromium is there for the browser tests: the system's, or Playwright's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from apps.core.chromium import NAMES, chromium


def main() -> int:
    if chromium():
        return 0
    sys.stdout.write("==> no Chromium found: installing one for the browser tests\n")
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        for name in NAMES[:2]:  # older releases of Debian have the second alone
            install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", name]
            if subprocess.run(install, check=False).returncode == 0:
                return 0
    done = subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
    if done.returncode != 0:
        sys.stdout.write("==> no Chromium could be installed: the browser tests will be skipped\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
