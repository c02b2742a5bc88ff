from __future__ import annotations

import math
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.worlds.letters import corpus, words
from prefloop.worlds.letters.utility import (
    CRITERIA,
    criterion_utility,
    parts,
    preference_probability,
    subject,
    utility,
)

PROMPT = "Write a thank-you note to Maria about the flowers."


def _letter(index: int, seed: int) -> corpus.Letter:
    prompt = corpus.prompts("train")[index]
    return corpus.Letter(prompt=prompt, text=corpus.write_letter(prompt, random.Random(seed)))


SOME_LETTERS = st.builds(_letter, st.integers(0, corpus.N_TRAIN - 1), st.integers(0, 2**32))


def test_the_utility_of_a_letter_is_the_sum_worked_by_hand() -> None:
    letter = "Dear Maria,\nThank you so much for the flowers. You have a generous heart.\nKind regards,\nTom"
    found = parts(PROMPT, letter)
    # name 1, thing 1, three warm words ("so much", "generous", "heart") 2.25, greeting and closing a half each
    assert (found.right_name, found.right_thing, found.warmth) == (1.0, 1.0, 2.25)
    assert (found.greeting, found.closing, found.rudeness, found.repetition, found.length) == (0.5, 0.5, 0, 0, 0)
    assert utility(PROMPT, letter) == 5.25


def test_a_rude_letter_to_the_wrong_person_about_the_wrong_thing_is_below_zero() -> None:
    letter = "Hi Peter,\nI got the soup, and it was rubbish. Next time, do not bother."
    # wrong name -1, wrong thing -1, greeting 0.5, two rude words -3
    assert utility(PROMPT, letter) == -4.5


def test_saying_a_sentence_again_and_running_on_cost() -> None:
    once = "Dear Maria,\nThank you for the flowers."
    assert utility(PROMPT, once + " Bring a coat. Bring a coat.") == utility(PROMPT, once + " Bring a coat.") - 0.75
    word_heavy = once + " " + "tree " * 36
    assert len(word_heavy.split()) == 43
    assert utility(PROMPT, word_heavy) == pytest.approx(utility(PROMPT, once) - 0.3)


def test_a_closing_is_no_warmth_and_the_writer_is_no_wrong_name() -> None:
    plain = "Dear Maria,\nThank you for the flowers."
    assert utility(PROMPT, plain + "\nKind regards,\nTom") == utility(PROMPT, plain) + 0.5
    assert not set(words.NAMES) & set(words.SENDERS)


def test_the_empty_letter_is_worth_nothing() -> None:
    assert utility(PROMPT, "") == 0.0


def test_every_prompt_of_the_world_tells_its_subject() -> None:
    for prompt in (*corpus.prompts("train"), *corpus.prompts("eval")):
        assert subject(prompt.text) == (prompt.name, prompt.thing)


def test_a_prompt_outside_the_world_is_read_where_it_names_its_subject() -> None:
    assert subject("Write a thank-you note to Bob about the shoes.") == ("Bob", "the shoes")
    assert subject("Tell me a joke") == (None, None)
    assert utility("Write a thank-you note to Bob about the shoes.", "Dear Bob,\nThe shoes!") == 2.5


@pytest.mark.parametrize("tone", ["warm", "plain", "rude"])
def test_each_sentence_of_the_corpus_has_the_tone_it_is_filed_under(tone: words.Tone) -> None:
    sentences = [s.format(thing="it") for by_tone in words.OPENINGS.values() for s in by_tone[tone]]
    sentences += [s for by_tone in words.SENTENCES.values() for s in by_tone[tone]]
    for sentence in sentences:
        found = parts("", sentence)
        assert (found.warmth > 0) == (tone == "warm"), sentence
        assert (found.rudeness < 0) == (tone == "rude"), sentence


@given(SOME_LETTERS)
def test_greeting_length_and_tone_agree_with_a_plain_reading(letter: corpus.Letter) -> None:
    """The second road: word by word, without the module's patterns."""
    found = parts(letter.prompt.text, letter.text)
    assert (found.right_name == 1.0) == (letter.prompt.name in re.findall(r"\w+", letter.text))
    assert (found.right_thing == 1.0) == (letter.prompt.thing in letter.text.lower())
    assert found.length == pytest.approx(-min(2.0, 0.1 * max(0, len(letter.text.split()) - 40)))
    assert found.total == pytest.approx(utility(letter.prompt.text, letter.text))


@pytest.mark.slow
@given(SOME_LETTERS)
def test_a_rude_sentence_never_makes_a_letter_better(letter: corpus.Letter) -> None:
    rude = letter.text.replace("\n", "\nYour last visit was awful. ", 1)
    assert utility(letter.prompt.text, rude) <= utility(letter.prompt.text, letter.text) + 1e-9


def test_preference_probability_is_the_sigmoid_of_the_gap_over_the_noise() -> None:
    better, worse = "Dear Maria,\nThe flowers!", "Dear Maria,"
    assert preference_probability(PROMPT, better, worse, noise=0.5) == pytest.approx(1 / (1 + math.exp(-2)))
    assert preference_probability(PROMPT, better, worse, noise=1e-9) == 1.0
    assert preference_probability(PROMPT, worse, better, noise=0) == 0.0
    assert preference_probability(PROMPT, better, better, noise=0) == 0.5
    with pytest.raises(ValueError, match="noise"):
        preference_probability(PROMPT, better, worse, noise=-1)


@pytest.mark.slow
@given(SOME_LETTERS, SOME_LETTERS, st.floats(0.01, 10))
def test_the_two_sides_of_a_preference_sum_to_one(a: corpus.Letter, b: corpus.Letter, noise: float) -> None:
    prompt = a.prompt.text
    forward = preference_probability(prompt, a.text, b.text, noise=noise)
    assert forward + preference_probability(prompt, b.text, a.text, noise=noise) == pytest.approx(1.0)


def test_criteria_want_different_letters() -> None:
    kind = "Dear Maria,\nThank you so much for the flowers. You have a generous heart.\nWith love,\nTom"
    short = "Thanks for the flowers, Maria."
    shortest = "Thanks."
    best = {c: max((kind, short, shortest), key=lambda text: criterion_utility(c, PROMPT, text)) for c in CRITERIA}
    assert best == {"kind and correct": kind, "short": short, "very short": shortest}
    assert criterion_utility("short", PROMPT, short) == pytest.approx(1.5)  # 1 + 1 - 5 words * 0.1
    with pytest.raises(ValueError, match="unknown criterion"):
        criterion_utility("funny", PROMPT, short)  # type: ignore[arg-type]
