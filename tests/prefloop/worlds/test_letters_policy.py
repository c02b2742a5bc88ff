from __future__ import annotations

import hashlib
import math
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from prefloop.checkpoints import check_checkpoint_dir, verify_manifest
from prefloop.policy.loading import load_policy
from prefloop.policy.prompts import encode_completion, encode_prompt
from prefloop.policy.sampling import SamplePrompt, sample
from prefloop.stats.best_of_n import expected_best_of_n
from prefloop.types import Group
from prefloop.worlds.letters import cache, corpus, sft
from prefloop.worlds.letters.__main__ import main
from prefloop.worlds.letters.sft import MAX_TOKENS, SftError, train_sft
from prefloop.worlds.letters.tokenizer import VOCAB_SIZE, train_tokenizer
from prefloop.worlds.letters.utility import parts, utility

QUICK = 200  # letters: 25 steps, enough to see that two trainings are the same


@pytest.fixture(scope="module")
def groups(letters_policy_dir: Path) -> list[Group]:
    """Eight samples at temperature 1 for each of 64 held-out prompts."""
    policy = load_policy(letters_policy_dir)
    asked = [SamplePrompt(p.id, encode_prompt(policy.tokenizer, p.text)) for p in corpus.prompts("eval")[:64]]
    return sample(policy, asked, n=8, max_tokens=MAX_TOKENS, seed=0)


@pytest.fixture(scope="module")
def asked() -> dict[str, str]:
    return {p.id: p.text for p in corpus.prompts("eval")}


@pytest.mark.slow
def test_the_policy_copies_the_name_and_the_thing_from_prompts_it_never_saw(
    groups: list[Group], asked: dict[str, str]
) -> None:
    found = [parts(asked[g.prompt_id], c.text) for g in groups for c in g.completions]
    assert statistics.mean(p.right_name == 1 for p in found) > 0.7  # by chance 1/40
    assert statistics.mean(p.right_thing == 1 for p in found) > 0.7


@pytest.mark.slow
def test_samples_vary_so_that_the_best_of_four_is_clearly_above_the_mean(
    groups: list[Group], asked: dict[str, str]
) -> None:
    pools = [[utility(asked[g.prompt_id], c.text) for c in g.completions] for g in groups]
    expected = {n: statistics.mean(expected_best_of_n(u, u, n) for u in pools) for n in (1, 4, 8)}
    assert 1.2 < expected[1] < 2.8
    assert expected[4] > expected[1] + 1.0
    assert expected[8] > expected[4]


@pytest.mark.slow
def test_letters_end_by_themselves_and_are_short(groups: list[Group]) -> None:
    lengths = [len(c.ids) for g in groups for c in g.completions]
    assert statistics.mean(c.finished for g in groups for c in g.completions) > 0.98
    assert statistics.mean(lengths) < 45


def test_the_directory_is_safe_whole_and_standard(letters_policy_dir: Path) -> None:
    check_checkpoint_dir(letters_policy_dir)
    assert verify_manifest(letters_policy_dir)["extra"]["world"] == "letters"
    names = {file.name for file in letters_policy_dir.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    policy = load_policy(letters_policy_dir)
    assert policy.model.config.model_type == "qwen2"
    assert policy.model.generation_config.top_k == 0


def test_the_loss_is_the_mean_over_completion_tokens_worked_out_one_letter_at_a_time(letters_policy_dir: Path) -> None:
    """The second road: no padding, one row at a time, every position's softmax, the prompt's left out by hand."""
    policy = load_policy(letters_policy_dir)
    letters = list(corpus.letters(5, seed=9))
    rows = sft._encode(policy.tokenizer, letters)
    total, n_tokens = 0.0, 0
    with torch.no_grad():
        for letter in letters:
            prompt = encode_prompt(policy.tokenizer, letter.prompt.text)
            answer = encode_completion(policy.tokenizer, letter.text)
            logp = policy.model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].double().log_softmax(-1)
            total -= sum(float(logp[len(prompt) - 1 + k, token]) for k, token in enumerate(answer))
            n_tokens += len(answer)
        assert float(sft._loss(policy.model, rows)) == pytest.approx(total / n_tokens, rel=1e-4)


def test_the_learning_rate_rises_then_falls_along_a_cosine() -> None:
    shape = sft.SHAPES["full"]
    factors = [sft._lr_factor(step, 1000, shape) for step in range(1000)]
    assert factors[0] == pytest.approx(1 / 50)
    assert max(factors) == factors[50] == 1.0
    assert factors[525] == pytest.approx(0.05 + 0.95 / 2)  # half way between warm-up's end and the last step
    assert factors[:50] == sorted(factors[:50])
    assert factors[50:] == sorted(factors[50:], reverse=True)


def test_batches_hold_rows_of_like_length_and_each_row_once() -> None:
    tokenizer = train_tokenizer(letter.text for letter in corpus.letters(200))
    rows = sft._encode(tokenizer, list(corpus.letters(400)))
    batches = sft._batches(rows, 8, seed=0)
    assert sorted(id(row) for batch in batches for row in batch) == sorted(id(row) for row in rows)
    used = sum(len(row.ids) for row in rows)
    computed = sum(8 * max(len(row.ids) for row in batch) for batch in batches)
    assert computed < 1.1 * used


def _digest(directory: Path) -> str:
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.slow
def test_the_same_seed_and_threads_give_the_same_weights_and_leave_torch_as_it_was(tmp_path: Path) -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    seen: list[tuple[int, int, float]] = []
    results = [
        train_sft(tmp_path / "a", size="tiny", n_letters=QUICK, threads=1, on_progress=lambda *at: seen.append(at)),
        train_sft(tmp_path / "b", size="tiny", n_letters=QUICK, threads=1),
        train_sft(tmp_path / "c", size="tiny", n_letters=QUICK, threads=1, seed=1),
    ]
    a, b, c = (_digest(result.path) for result in results)
    assert a == b != c
    assert [step for step, _, _ in seen] == list(range(1, 26))
    assert seen[0][2] == pytest.approx(math.log(VOCAB_SIZE), rel=0.2)  # an untrained policy knows nothing
    assert seen[-1][2] < seen[0][2] - 1
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_directory_with_something_in_it_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(SftError, match="exists already"):
        train_sft(tmp_path, size="tiny", n_letters=QUICK)
    assert main(["--out", str(tmp_path), "--size", "tiny"]) == 1
    assert "error: " in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_half_written_is_left_when_training_is_broken_off(tmp_path: Path) -> None:
    def stop(step: int, n_steps: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_sft(tmp_path / "policy", size="tiny", n_letters=QUICK, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_trains_and_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "policy"
    assert main(["--out", str(out), "--size", "tiny", "--letters", str(QUICK), "--threads", "1"]) == 0
    printed = capsys.readouterr()
    assert "200 letters" in printed.out
    assert "25/25" in printed.err
    verify_manifest(out)


def test_any_text_survives_the_tokenizer(letters_policy_dir: Path) -> None:
    tokenizer = load_policy(letters_policy_dir).tokenizer
    for text in ("Dear Maria,\nThank you!", "Grüße, 東京 🙂", "</s> <assistant> isn't control", "", "  two  spaces"):
        ids = encode_completion(tokenizer, text)
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in ids[:-1]
        assert tokenizer.decode(ids[:-1]) == text
    assert len(tokenizer) == VOCAB_SIZE


def _ask(cache_dir: str) -> str:
    return str(cache.cached_letters_policy(cache_dir))


@pytest.mark.slow
def test_callers_that_ask_at_once_train_once_and_get_the_same_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "trainings"
    log.touch()
    real = cache.train_sft

    def quick(out: Path, **how: object) -> object:
        with log.open("a") as file:
            file.write("x")
        return real(out, size="tiny", n_letters=QUICK, threads=1)

    monkeypatch.setattr(cache, "train_sft", quick)
    with ThreadPoolExecutor(3) as pool:  # each opens the lock's file for itself, as processes do
        found = list(pool.map(_ask, [str(tmp_path / "cache")] * 3))
    assert len(set(found)) == 1
    assert log.read_text() == "x"
    damaged = Path(found[0]) / "config.json"
    damaged.write_text("{}")
    assert _ask(str(tmp_path / "cache")) == found[0]
    assert log.read_text() == "xx"
    verify_manifest(found[0])


def test_the_cache_key_changes_with_whatever_the_weights_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {cache.cache_key(size="tiny", seed=0), cache.cache_key(size="full", seed=0)}
    keys.add(cache.cache_key(size="tiny", seed=1))
    monkeypatch.setattr(cache, "THREADS", 2)
    keys.add(cache.cache_key(size="tiny", seed=0))
    assert len(keys) == 4
