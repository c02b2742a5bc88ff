"""The processes of a site: its workers, and the training processes that they start."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def processes_of(directory):
    """Those whose command line names the directory: the training processes."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX" and str(directory) in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def offspring(pid):
    """Every process below this one, by the parent links of /proc."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, front = [], [pid]
    while front:
        front = [child for child, parent in parents.items() if parent in front]
        found += front
    return found


class Workers:
    """A gpu and a cpu worker of a site."""

    def __init__(self, site, **env):
        self.site, self.env = site, env
        self.start()

    def start(self):
        self.processes = [self.site.worker(queue="gpu", **self.env), self.site.worker(queue="cpu", **self.env)]

    def kill(self):
        """As a machine that loses power does: every process of both workers, at once, unasked."""
        for process in self.processes:
            os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def leave(self):
        for process in self.processes:
            process.terminate()
        return [process.wait(timeout=60) for process in self.processes]
