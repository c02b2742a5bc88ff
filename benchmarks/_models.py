"""The models and the pairs that the benchmarks use, kept in var/bench-cache; all but SmolLM2 is made here."""

from __future__ import annotations

import random
import shutil
import string
from pathlib import Path

from benchmarks._harness import CACHE
from prefloop.policy.tiny import byte_tokenizer
from prefloop.recipes.snapshots import write_snapshot
from prefloop.types import TrainingPair

N_PROMPT, N_COMPLETION = 192, 64  # tokens, EOS included
# Qwen2 shapes: hidden, layers, heads, key-value heads, MLP, vocabulary
SHAPES = {
    "tiny": (32, 2, 4, 2, 64, 300),
    "40m": (512, 8, 8, 8, 1408, 32_000),
    "0.5b": (896, 24, 14, 2, 4864, 151_936),  # Qwen2.5-0.5B's
}


def model_dir(name: str) -> Path:
    """Return the directory of a model: `letters` is trained once (under a minute), `smollm2` is SmolLM2-135M-Instruct,
    downloaded once (93 MB), and the others have random weights.
    """
    if name == "letters":
        from prefloop.worlds.letters.cache import cached_letters_policy

        return cached_letters_policy(CACHE, size="full")
    if name == "smollm2":
        return _smollm2()
    target = CACHE / f"qwen2-{name}"
    if not (target / "model.safetensors").exists():
        _make(name, target)
    return target


def _smollm2() -> Path:
    from prefloop.worlds.chat.policy import make_policy

    target = CACHE / "smollm2"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        make_policy(target, seed=0, threads=1, told=lambda done, total, doing: None)
    return target


def _make(name: str, target: Path) -> None:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    hidden, layers, heads, kv_heads, mlp, vocabulary = SHAPES[name]
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=byte_tokenizer().eos_token_id,
        pad_token_id=None,  # Qwen2 would freeze that token's embedding
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen2ForCausalLM(config)
    shutil.rmtree(target, ignore_errors=True)
    unfinished = target.with_name(target.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    byte_tokenizer().save_pretrained(unfinished)  # a letter is a token: texts have exactly the length asked of them
    unfinished.rename(target)


def pairs_file(name: str, n: int) -> Path:
    """Write n preference pairs as a snapshot: of the letters or the chat world, or random words of fixed lengths."""
    CACHE.mkdir(parents=True, exist_ok=True)
    target = CACHE / f"pairs-{name}-{n}.jsonl"
    if not target.exists():
        make = {"letters": _letters_pairs, "smollm2": _chat_pairs}.get(name, _random_pairs)
        write_snapshot(target, make(n))
    return target


def _letters_pairs(n: int) -> list[TrainingPair]:
    """Corpus letters in pairs, as the judge `world-preference` labels them."""
    from prefloop.worlds.letters import corpus
    from prefloop.worlds.letters.world import LettersWorld

    world, rng = LettersWorld(), random.Random(0)
    pairs = []
    for prompt in corpus.prompts("train"):
        texts = corpus.answers(prompt, 4)
        for at in (0, 2):
            first, second = texts[at], texts[at + 1]
            said = world.label(prompt.text, first, second, noise=0.5, rng=rng)
            pairs.append(TrainingPair(f"{prompt.id}-{at}", prompt.text, first, second, float(said == "first")))
    rng.shuffle(pairs)
    if len(pairs) < n:
        raise ValueError(f"the letters world has {len(pairs)} pairs, fewer than {n}")
    return pairs[:n]


def _chat_pairs(n: int) -> list[TrainingPair]:
    """Prompts of the chat world with answers of 32 to 96 words, drawn from those prompts: about a token a word."""
    rng, texts = random.Random(0), prompt_texts("smollm2", n)
    words = [word for text in prompt_texts("smollm2", 320) for word in text.split()]

    def answer() -> str:
        return " ".join(rng.choices(words, k=rng.randint(32, 96)))

    return [TrainingPair(f"c{at}", text, answer(), answer(), float(at % 2)) for at, text in enumerate(texts)]


def _random_pairs(n: int) -> list[TrainingPair]:
    rng = random.Random(0)

    def letters(count: int) -> str:
        return "".join(rng.choices(string.ascii_letters, k=count))

    return [
        TrainingPair(f"r{at}", letters(N_PROMPT), letters(N_COMPLETION - 1), letters(N_COMPLETION - 1), float(at % 2))
        for at in range(n)
    ]


def prompt_texts(name: str, n: int) -> list[str]:
    """Return n prompts: of the letters or the chat world, or random words of the fixed length."""
    if name == "letters":
        from prefloop.worlds.letters import corpus

        return [prompt.text for prompt in corpus.prompts("train")[:n]]
    if name == "smollm2":
        from prefloop.worlds.chat.prompts import prompts

        return [prompt.text for prompt in prompts("train", seed=0)[:n]]
    return [pair.prompt for pair in _random_pairs(n)]
