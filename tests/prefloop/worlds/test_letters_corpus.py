from __future__ import annotations

import random
import statistics

import pytest

from prefloop.records import parse_line, write_record
from prefloop.worlds.letters import corpus
from prefloop.worlds.letters.utility import parts, utility
from prefloop.worlds.letters.world import WORLD_JUDGE, LettersWorld


def test_train_and_eval_prompts_are_many_distinct_and_disjoint() -> None:
    train, held_out = corpus.prompts("train"), corpus.prompts("eval")
    assert (len(train), len(held_out)) == (1024, 192)
    assert len({p.text for p in (*train, *held_out)}) == 1024 + 192
    assert not {(p.kind, p.name, p.thing) for p in train} & {(p.kind, p.name, p.thing) for p in held_out}


def test_no_letter_to_learn_from_answers_an_eval_prompt() -> None:
    held_out = {(p.kind, p.name, p.thing) for p in corpus.prompts("eval", seed=3)}
    learnt = {(p.kind, p.name, p.thing) for p in (letter.prompt for letter in corpus.letters(5000, seed=3))}
    assert len(learnt) == 2208
    assert not learnt & held_out


def test_the_world_is_a_function_of_its_seed() -> None:
    assert list(corpus.letters(50, seed=1)) == list(corpus.letters(50, seed=1))
    assert list(corpus.letters(50, seed=1)) != list(corpus.letters(50, seed=2))
    assert corpus.prompts("eval", seed=1) != corpus.prompts("eval", seed=2)


@pytest.mark.slow
def test_letters_are_of_mixed_quality_and_mostly_say_what_was_asked() -> None:
    letters = list(corpus.letters(4000))
    found = [parts(letter.prompt.text, letter.text) for letter in letters]
    utilities = [p.total for p in found]
    assert 2.0 <= statistics.mean(utilities) <= 2.7
    assert 1.2 <= statistics.pstdev(utilities) <= 2.2
    assert statistics.mean(p.right_name == 1 for p in found) > 0.93
    assert statistics.mean(p.right_thing == 1 for p in found) > 0.93
    assert len({letter.text for letter in letters}) > 3800
    assert max(len(letter.text.split()) for letter in letters) <= 70


def test_quality_is_what_the_utility_sees() -> None:
    rng = random.Random(0)
    prompt = corpus.prompts("train")[0]
    by_quality = [
        statistics.mean(utility(prompt.text, corpus.write_letter(prompt, rng, quality=q)) for _ in range(400))
        for q in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert by_quality == sorted(by_quality)
    assert by_quality[-1] - by_quality[0] > 3


def test_answers_to_a_prompt_differ_and_do_not_depend_on_how_many_are_drawn() -> None:
    prompt = corpus.prompts("eval")[5]
    four = corpus.answers(prompt, 4)
    assert len(set(four)) == 4
    assert corpus.answers(prompt, 2) == four[:2]


def test_a_prompt_of_the_world_is_read_whoever_wrote_it() -> None:
    for prompt in (*corpus.prompts("train"), *corpus.prompts("eval")):
        read = corpus.read_prompt(prompt.text)
        assert read is not None
        assert (read.kind, read.name, read.thing) == (prompt.kind, prompt.name, prompt.thing)
    new = corpus.read_prompt("Write to Omar that you are sorry about the noise.")
    assert new is not None
    assert (new.kind, new.name, new.thing) == ("apology", "Omar", "the noise")
    assert corpus.read_prompt("Write to Omar.") is None
    assert corpus.read_prompt("Thank Winston for the flowers.") is None  # nobody of this world
    assert corpus.read_prompt("Thank Omar for the spaceship.") is None


@pytest.mark.slow
def test_records_keep_gold_for_eval_and_the_judges_verdicts_for_train() -> None:
    world = LettersWorld(seed=0)
    records = list(world.records(n_pairs=2))
    assert len(records) == 1024 + 192
    for record in records:
        assert parse_line(write_record(record)) == record
        if record.split == "eval":
            assert record.gold
            assert not record.verdicts
        else:
            assert not record.gold
            assert {verdict.judge for verdict in record.verdicts} == {WORLD_JUDGE}


def test_gold_of_a_record_follows_the_utility() -> None:
    world = LettersWorld(seed=0)
    for record in world.records(split="eval"):
        for gold in record.gold:
            a, b = (utility(str(record.prompt), record.completions[i].text) for i in gold.pair)
            assert gold.choice == (0 if a > b else 1 if b > a else "tie")


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "low", "high"), [(0.0, 1.0, 1.0), (0.5, 0.85, 0.97), (100.0, 0.45, 0.55)])
def test_noise_says_how_often_the_world_judge_is_right(noise: float, low: float, high: float) -> None:
    world = LettersWorld(seed=0)
    right = []
    for record in world.records(split="train", noise=noise):
        for verdict in record.verdicts:
            a, b = (utility(str(record.prompt), record.completions[i].text) for i in verdict.pair)
            if a != b:
                right.append(verdict.choice == (0 if a > b else 1))
    assert low <= statistics.mean(right) <= high
