"""The quick profile of the pickle fuzzer: the same files every time, some seconds."""

from __future__ import annotations

import pytest

from amdet_hub.encoders import pickle_table
from tests.hostile import fuzz_pickles
from tests.hostile.fuzz import MOST_GROWTH_BYTES, peak_bytes
from tests.hostile.pickles import EVENTS

STREAMS = 2000


def test_damage_is_refused_or_read_as_torch_reads_it() -> None:
    before = peak_bytes()
    ends, failures = fuzz_pickles.run(STREAMS, seed=7)
    assert failures == []
    assert ends.total() == STREAMS
    assert ends["refused"] > STREAMS // 2
    assert ends["read, torch agrees (weights only) and agrees (whole pickle)"] > STREAMS // 50
    assert peak_bytes() - before < MOST_GROWTH_BYTES


@pytest.mark.parametrize("base", range(len(fuzz_pickles.bases())))
def test_undamaged_files_are_read(base: int) -> None:
    end = fuzz_pickles.probe(fuzz_pickles.bases()[base])
    assert end.startswith("read")
    assert end.endswith("agrees (whole pickle)")


def test_a_difference_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe itself: a table that is not torch's, and an event of the interpreter, get out."""
    read = pickle_table.read_pickle_table
    monkeypatch.setattr(pickle_table, "read_pickle_table", lambda *args: dict(list(read(*args).items())[1:]))
    with pytest.raises(AssertionError):
        fuzz_pickles.probe(fuzz_pickles.bases()[0])
    with pytest.raises(AssertionError), EVENTS.none():
        compile("1", "a", "eval")


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz_pickles.main(["--streams", "40", "--seed", "3"]) == 0
    assert capsys.readouterr().out.startswith("40 files")
