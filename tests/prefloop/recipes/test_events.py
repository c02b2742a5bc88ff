from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefloop.recipes.events import (
    EventsError,
    EventWriter,
    InboxMessage,
    drop_superseded,
    read_events,
    read_inbox,
    write_inbox,
)


def written(path: Path, *steps: int) -> None:
    writer = EventWriter(path, now=lambda: 12.5)
    for step in steps:
        writer.write("metric", step=step, values={"loss": 0.5 + step})
    writer.close()


def test_an_event_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written(tmp_path / "e", 3)
    (event,), offset = read_events(tmp_path / "e")
    assert (event.type, event.at, event.step, event.data["values"]) == ("metric", 12.5, 3, {"loss": 3.5})
    assert offset == (tmp_path / "e").stat().st_size


def test_a_missing_file_has_no_events_yet(tmp_path: Path) -> None:
    assert read_events(tmp_path / "none") == ([], 0)
    assert read_inbox(tmp_path / "none") == ([], 0)


@pytest.mark.slow
@given(cut=st.integers(0, 10_000))
def test_a_reader_takes_whole_lines_only_and_goes_on_where_it_was(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("events")
    written(folder / "whole", 1, 2, 3, 4)
    content = (folder / "whole").read_bytes()
    (folder / "growing").write_bytes(content[: cut % (len(content) + 1)])
    first, offset = read_events(folder / "growing")
    (folder / "growing").write_bytes(content)
    rest, end = read_events(folder / "growing", offset)
    assert [event.step for event in first + rest] == [1, 2, 3, 4]
    assert end == len(content)


def test_a_writer_cuts_off_the_line_that_its_predecessor_left_torn(tmp_path: Path) -> None:
    written(tmp_path / "e", 1)
    whole = (tmp_path / "e").read_bytes()
    (tmp_path / "e").write_bytes(whole + b'{"type": "met')
    _, offset = read_events(tmp_path / "e")
    written(tmp_path / "e", 2)
    rest, _ = read_events(tmp_path / "e", offset)
    assert [event.step for event in rest] == [2]
    assert (tmp_path / "e").read_bytes().startswith(whole)


def test_what_lies_past_the_step_that_a_resume_goes_back_to_is_superseded(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "e")
    for step in (1, 2, 3):
        writer.write("metric", step=step, values={"loss": 1.0})
    writer.write("log", level="warning", message="kept")
    writer.write("resume", step=1, checkpoint="step-000001")
    for step in (2, 3):
        writer.write("metric", step=step, values={"loss": 2.0})
    writer.close()
    events = drop_superseded(read_events(tmp_path / "e")[0])
    metrics = [(event.step, event.data["values"]["loss"]) for event in events if event.type == "metric"]
    assert metrics == [(1, 1.0), (2, 2.0), (3, 2.0)]
    assert [event.type for event in events].count("log") == 1


def test_a_whole_line_that_is_no_event_is_refused(tmp_path: Path) -> None:
    for line in (b"nonsense\n", b"[]\n", b'{"type":"party","at":1}\n'):
        (tmp_path / "e").write_bytes(line)
        with pytest.raises(EventsError):
            read_events(tmp_path / "e")


def test_the_inbox_takes_what_a_run_can_be_told_and_nothing_else(tmp_path: Path) -> None:
    said = [InboxMessage("override", {"pair": f"c{at}", "p_first": None}) for at in range(2)]
    write_inbox(tmp_path / "i", said[0].type, **said[0].data)
    told, offset = read_inbox(tmp_path / "i")
    write_inbox(tmp_path / "i", said[1].type, **said[1].data)
    later, end = read_inbox(tmp_path / "i", offset)
    assert [*told, *later] == said
    assert read_inbox(tmp_path / "i", 0, offset) == (told, offset)
    assert read_inbox(tmp_path / "i", end) == ([], end)
    with pytest.raises(EventsError, match="can be told override, not 'dance'"):
        write_inbox(tmp_path / "i", "dance")  # type: ignore[arg-type]
    (tmp_path / "i").write_bytes(b'{"type":"dance"}\n')
    with pytest.raises(EventsError, match="not 'dance'"):
        read_inbox(tmp_path / "i")
