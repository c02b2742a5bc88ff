"""What a study found, as plain values: its verdict, its curves, and every measured policy. Pages, files, API and
commands show this.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from apps.projects.models import Project
from apps.reports.laboratory import words
from apps.reports.models import Study, StudyRun
from prefloop.stats.crossed import crossed_mean
from prefloop.studies.catalogue import STUDIES
from prefloop.studies.claims import LEVELS, Decided
from prefloop.studies.declaration import Study as Declared
from prefloop.studies.laws import fitted_law
from prefloop.studies.results import NotMeasured, Path, Point, Results
from prefloop.types import Interval

NOT_STARTED = "not started"


def laboratory_report(*, project: Project) -> list[dict[str, Any]]:
    """Sum up every declared study in a project: how far it is and its verdict."""
    stored = {study.name: study for study in Study.objects.filter(project=project).prefetch_related("runs")}
    return [_whole(declared, stored.get(name)) for name, declared in STUDIES.items()]


def study_report(*, project: Project, declared: Declared) -> dict[str, Any]:
    """Report one study in a project; without its runs it says what it would do."""
    study = Study.objects.filter(project=project, name=declared.name).prefetch_related("runs").first()
    return _whole(declared, study)


def results_of(declared: Declared, runs: Sequence[StudyRun]) -> Results:
    """Read the finished runs, of those seeds for which every planned run is finished."""
    ended = {(run.arm, run.setting, run.seed): run for run in runs if run.ended_at is not None}
    planned = {(one.arm.name, one.setting) for one in declared.planned(1)}
    measured = {arm.name for arm in declared.measured}
    wanted = {(arm, setting) for arm, setting in planned if arm in measured}
    seeds = [
        seed
        for seed in sorted({seed for _, _, seed in ended})
        if all((arm, setting, seed) in ended for arm, setting in planned)
    ]
    return Results(
        tuple(
            Path(arm, setting, seed, tuple(_point(row) for row in ended[arm, setting, seed].points))
            for seed in seeds
            for arm, setting in sorted(wanted)
        )
    )


def _point(row: dict[str, Any]) -> Point:
    return Point(row["step"], row["kl"], row["values"], row.get("length"))


def _whole(declared: Declared, study: Study | None) -> dict[str, Any]:
    runs = list(study.runs.all()) if study is not None else []
    results = results_of(declared, runs)
    verdict, decided = declared.decide(results)
    n_seeds = study.n_seeds if study is not None else declared.seeds
    planned = declared.planned(n_seeds)
    keys = {(one.arm.name, one.setting, one.seed) for one in planned}
    n_done = sum(run.ended_at is not None for run in runs if (run.arm, run.setting, run.seed) in keys)
    report = {
        "study": declared.name,
        "title": declared.title,
        "question": declared.question,
        "finding": declared.finding,
        "paper": declared.paper,
        "departures": list(declared.departures),
        "notes": declared.notes,
        "state": study.state if study is not None else NOT_STARTED,
        "error": study.error if study is not None else "",
        "measure": declared.measure,
        "n_seeds": n_seeds,
        "n_runs": len(planned),
        "n_done": n_done,
        "seeds_complete": results.seeds,
        "n_prompts": _n_prompts(declared, results),
        "verdict": verdict,
        "claims": [_claim(one) for one in decided],
        "laws": _laws(declared, results),
        "table": _table(declared, results, runs),
        "curves": _curves(declared, results),
        "runs": _runs(declared, runs),
    }
    return report | {"sentence": words.sentence(report)}


def _claim(decided: Decided) -> dict[str, Any]:
    return {
        **asdict(decided),
        "interval": _ends(decided.interval),
        "levels": [{"kl": one.kl, "mean": one.mean, "ci95": _ends(one.interval)} for one in decided.levels],
    }


def _ends(interval: Interval | None) -> list[float] | None:
    return [interval.low, interval.high] if interval is not None else None


def _n_prompts(declared: Declared, results: Results) -> int | None:
    values = results.paths[0].points[0].values if results.paths else {}
    return len(values[declared.measure]) if declared.measure in values else None


def _curves(declared: Declared, results: Results) -> list[dict[str, Any]]:
    """Give each arm's curve of the study's measure against KL: its best setting at each level, with its interval."""
    curves = []
    for arm in declared.measured:
        points = []
        try:
            for kl in [0.0, *results.levels([arm.name], LEVELS)] if results.of(arm.name) else []:
                found = crossed_mean(results.best(arm.name, kl, declared.measure))
                points.append({"kl": kl, "mean": found.mean, "ci95": _ends(found.interval)})
        except NotMeasured:
            points = []
        curves.append({"arm": arm.name, "title": arm.title, "recipe": arm.recipe, "points": points})
    return curves


def _laws(declared: Declared, results: Results) -> list[dict[str, Any]]:
    """Fit the study's laws of over-optimisation, where enough is measured."""
    found = []
    for law in declared.laws:
        try:
            fitted = fitted_law(results, law.arm, form=law.form)
        except NotMeasured:
            fitted = None
        if fitted is not None:
            ends = {"alpha_interval": _ends(fitted.alpha_interval), "beta_interval": _ends(fitted.beta_interval)}
            found.append({**asdict(fitted), **ends, "title": declared.titles[law.arm]})
    return found


LAST = ("kl", "win", "gold", "length", "seconds", "n_samples", "n_pairs")


def _table(declared: Declared, results: Results, runs: Sequence[StudyRun]) -> dict[str, Any]:
    """Compare all arms at the largest KL that each of them reaches, the best first, with what their runs took."""
    arms = [arm for arm in declared.measured if results.of(arm.name)]
    levels = results.levels([arm.name for arm in arms], 1) if len(arms) == len(declared.measured) else []
    rows = []
    for arm in arms if levels else []:
        try:
            found = crossed_mean(results.best(arm.name, levels[0], declared.measure))
        except NotMeasured:
            return {"kl": None, "rows": []}
        ended = [run for run in runs if run.arm == arm.name and run.points and run.seed in results.seeds]
        last = [{**run.points[-1], **_means(run.points[-1])} for run in ended]
        rows.append(
            {
                "arm": arm.name,
                "title": arm.title,
                "recipe": arm.recipe,
                "mean": found.mean,
                "ci95": _ends(found.interval),
                "last": {key: _average([row.get(key) for row in last]) for key in LAST},
            }
        )
    return {"kl": levels[0] if levels else None, "rows": sorted(rows, key=lambda row: -float(row["mean"]))}


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _means(row: dict[str, Any]) -> dict[str, float]:
    """Average each measure of a stored point over the prompts."""
    return {name: sum(values) / len(values) for name, values in row["values"].items() if name != "law"}


def _runs(declared: Declared, runs: Sequence[StudyRun]) -> list[dict[str, Any]]:
    order = [arm.name for arm in declared.arms]
    shown = [run for run in runs if run.arm in declared.titles and (run.ended_at is not None or run.loop_id)]
    return [
        {
            "arm": run.arm,
            "title": declared.titles[run.arm],
            "setting": run.setting,
            "seed": run.seed,
            "loop": run.loop_id,
            "ended": run.ended_at is not None,
            "points": [
                {
                    **{key: row.get(key) for key in ("step", "kl", "kl_ci95", "length", "checkpoint", "checkpoint_id")},
                    **_means(row),
                }
                for row in run.points
            ],
        }
        for run in sorted(shown, key=lambda one: (order.index(one.arm), one.setting, one.seed))
    ]


def as_json(report: dict[str, Any]) -> str:
    return json.dumps(report, ensure_ascii=False, indent=1)
