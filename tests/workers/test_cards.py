"""Workers own cards: nobody else takes them, and what they start sees no others. No card is needed to see that."""

from __future__ import annotations

import os

import pytest

from apps.jobs import services
from apps.jobs.wants import OWNED
from workers import cards
from workers.cards import CardsRefused
from workers.management.commands.up import workers_of


@pytest.fixture
def owning(settings, tmp_path, monkeypatch):
    """Cards are locked in a directory of this test, and given up by the end of it."""
    settings.VAR_DIR = tmp_path
    monkeypatch.setattr(cards, "RELEASED_SECONDS", 0.0)
    monkeypatch.setattr(cards, "_held", [])
    for name in (cards.VISIBLE, "CUDA_DEVICE_ORDER", OWNED):
        monkeypatch.setenv(name, "of before")
        monkeypatch.delenv(name)
    yield cards
    for lock in cards._held:
        lock.close()


def test_a_card_has_one_owner_and_its_children_see_it_alone(owning, monkeypatch):
    assert owning.own(["2", "3"]) == ["2", "3"]
    assert (os.environ[cards.VISIBLE], os.environ["CUDA_DEVICE_ORDER"], os.environ[OWNED]) == ("2,3", "PCI_BUS_ID", "2")
    with pytest.raises(CardsRefused, match=f"card 3 is owned by the worker {os.getpid()} of this machine"):
        owning.own(["3"])
    # one started by hand without a word takes what is visible, or all: never what another has
    monkeypatch.setenv(cards.VISIBLE, "0, 3")
    with pytest.raises(CardsRefused, match="card 3"):
        owning.own(None)
    monkeypatch.delenv(cards.VISIBLE)
    monkeypatch.setattr(cards, "_all", lambda: ["0", "1", "2"])
    with pytest.raises(CardsRefused, match="card 2"):
        owning.own(None)
    assert cards.VISIBLE not in os.environ
    for lock in owning._held:
        lock.close()
    assert owning.own(None) == ["0", "1", "2"]


def test_a_machine_without_cards_owns_none(owning, monkeypatch):
    monkeypatch.setattr(cards, "_all", list)
    assert owning.own(None) == []
    assert (cards.VISIBLE in os.environ, OWNED in os.environ) == (False, False)


@pytest.mark.parametrize("text", ["", "0,0", "a", "0;1", "-1", "0,../1"])
def test_what_names_no_cards_is_refused(text):
    with pytest.raises(CardsRefused, match="--gpus must name each card once"):
        cards.parse(text)


def test_up_starts_a_worker_for_the_cards_of_each_run(settings):
    assert [name for name, _ in workers_of(None)] == ["cpu worker", "gpu worker"]
    assert workers_of("0,1")[1:] == [
        ("gpu worker on card 0", ["--queue", "gpu", "--gpus", "0"]),
        ("gpu worker on card 1", ["--queue", "gpu", "--gpus", "1"]),
    ]
    settings.TRAINING_PROCESSES = 2
    assert [more[-1] for _, more in workers_of("0,1,GPU-8932f937,3")[1:]] == ["0,1", "GPU-8932f937,3"]
    with pytest.raises(CardsRefused, match="3 cards, which PREFLOOP_PROCESSES=2 does not divide"):
        workers_of("0,1,2")


@pytest.mark.django_db
def test_a_job_goes_to_a_worker_that_owns_as_many_cards_as_it_wants(project, settings, monkeypatch):
    group = services.group_create(
        project=project, name="g", jobs=[services.JobSpec(kind="t.two", queue="gpu", cards=2, memory=5)]
    )
    job = group.jobs.get()
    assert (job.cards, job.memory) == (2, 5)

    def claims(owned, executor="local"):
        settings.EXECUTOR = executor
        monkeypatch.setenv(OWNED, owned) if owned else monkeypatch.delenv(OWNED, raising=False)
        found = services.job_claim(queues=["gpu"], worker="w")
        if found is not None:
            services.job_interrupt(job_id=found.pk, token=found.token)
        return found == job

    assert [claims("1"), claims("2"), claims(""), claims("1", "slurm")] == [False, True, True, True]
