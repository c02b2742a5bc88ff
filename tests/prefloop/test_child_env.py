"""What a process that loads strangers' models sees of the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefloop.child_env import OPERATOR_OFFLINE, child_environment, hub_environment

SECRETS = [
    "SECRET_KEY",
    "SECRET_KEY_FILE",
    "DATABASE_URL",
    "DATABASE_URL_FILE",
    "CELERY_BROKER_URL",
    "REDIS_URL",
    "POSTGRES_PASSWORD",
    "HF_TOKEN",
    "OPENAI_API_KEY",
    "WANDB_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "SENTRY_DSN",
    "api_key",
    "SSH_AUTH_SOCK",
    "GITHUB_TOKEN",
    "DB_PASSWD",
    "PGPASSWORD",
    "PGPASSWORD_FILE",
]
PLAIN = (
    "PATH",
    "HOME",
    "TOKENIZERS_PARALLELISM",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "KEYBOARD",
    "LD_LIBRARY_PATH",
)


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_reaches_a_child(name: str) -> None:
    assert name not in child_environment({name: "x"})


def test_what_a_child_needs_stays_and_no_hub_is_asked() -> None:
    made = child_environment(dict.fromkeys(PLAIN, "x") | {"HF_HUB_OFFLINE": "0"})
    assert {name: "x" for name in PLAIN}.items() <= made.items()
    assert made["HF_HUB_OFFLINE"] == made["TRANSFORMERS_OFFLINE"] == "1"


def test_the_process_that_fetches_from_a_hub_has_its_token_and_no_other_secret() -> None:
    made = hub_environment(dict.fromkeys([*SECRETS, *PLAIN], "x") | {"HF_HUB_OFFLINE": "1", OPERATOR_OFFLINE: "0"})
    assert made.keys() & set(SECRETS) == {"HF_TOKEN"}
    assert made["HF_HUB_OFFLINE"] == "0"
    assert hub_environment({"HF_HUB_OFFLINE": "1"})["HF_HUB_OFFLINE"] == "1"  # the operator's own word


@pytest.mark.slow
def test_workers_and_commands_are_offline_before_anything_asks_a_hub() -> None:
    root = Path(__file__).resolve().parents[2]
    code = "import django, os; django.setup(); from huggingface_hub import constants; print(constants.HF_HUB_OFFLINE)"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    env.pop("HF_HUB_OFFLINE", None)
    asked = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, check=True)
    assert asked.stdout.strip() == "True"


def test_every_process_of_ours_that_loads_models_is_started_with_it() -> None:
    """Training here and on nodes, the server of vLLM, what reads a GGUF file; what they start inherits it."""
    root = Path(__file__).resolve().parents[2]
    nodes = ("workers/executors/local.py", "workers/executors/slurm.py", "workers/node.py")
    for file in (*nodes, "prefloop/policy/vllm_server.py", "prefloop/model_sources/child.py"):
        text = (root / file).read_text("utf-8")
        assert "child_environment(" in text, file
        assert "**os.environ" not in text, file
