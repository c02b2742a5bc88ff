"""A study whose process is killed with -9 at ten random moments ends with the table of one that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from apps.reports.models import StudyRun
from apps.training.models import Loop

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc"),
]

KILLS = 10


def command(study, seeds):
    return ("run_study", study, "--project", "letters-test", "--seeds", str(seeds), "--json")


def finished(site, process):
    assert process.wait(timeout=400) == 0, site.log(process)
    said = site.log(process)
    report = json.loads(said[said.index("{\n") :])
    for run in report["runs"]:
        for point in run["points"]:
            point.pop("checkpoint_id")  # numbers of rows, as they came
    return report


@pytest.mark.parametrize(("study", "seeds", "n_loops"), [("tabular-control", 2, 0)])
def test_a_study_killed_at_ten_random_moments_ends_with_the_same_table(
    open_site, make_letters_project, study, seeds, n_loops
):
    with open_site("undisturbed") as site:
        make_letters_project(store=site.directory / "store", n_labelled=24, n_eval=6)
        wanted = finished(site, site.start(*command(study, seeds)))
    assert wanted["n_done"] == wanted["n_runs"] > 0
    moments = random.Random(5)
    killed = 0
    with open_site("disturbed") as site:
        make_letters_project(store=site.directory / "store", n_labelled=24, n_eval=6)
        while killed < KILLS:
            process = site.start(*command(study, seeds))
            try:
                process.wait(timeout=moments.uniform(2, 9))
                break  # it came to its end
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
        made = finished(site, site.start(*command(study, seeds)))
        assert Loop.objects.count() == n_loops  # none was started twice
        assert StudyRun.objects.count() == wanted["n_runs"]
    assert killed >= 1, "it was too quick to be killed"
    assert without_times(made) == without_times(wanted)


def without_times(report):
    for row in report["table"]["rows"]:
        row["last"].pop("seconds")
    return report
