"""The quick profile: what transformers reads in 600 configurations is what is scanned, or the scan blocks."""

from __future__ import annotations

from tests.differential.configurations import make_case, run

QUICK = 600


def test_each_configuration_is_read_as_transformers_reads_it_or_blocks() -> None:
    differing: list[str] = []
    counts = run(QUICK, 1, differing.append)
    assert differing == []
    assert counts["configurations"] == QUICK
    assert counts["loaded by something"] >= 0.7 * QUICK
    assert counts["scanned"] >= 0.3 * QUICK  # the comparison is of something: not everything blocks


def test_a_seed_makes_the_same_configuration_again() -> None:
    assert [make_case(seed) for seed in range(50)] == [make_case(seed) for seed in range(50)]
