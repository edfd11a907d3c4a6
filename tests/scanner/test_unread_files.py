"""Files in formats that are not read: they block, unless a trusted reference has the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.records import Reference, ReferenceTrust
from amdet_hub.scanner.references import ChosenReference
from amdet_hub.scanner.resolve import EncoderPair, unchanged_files_pass
from amdet_hub.testing.models import tiny_clip
from tests.encoders.folder_source import FolderSource

UNREAD = ("flax_model.msgpack", "pytorch_model.bin", "tf_model.h5")


@pytest.mark.parametrize(("trust", "passes"), [("trusted", True), ("user", True), ("declared", False)])
def test_a_file_that_the_reference_has_too_does_not_block(tmp_path: Path, trust: ReferenceTrust, passes: bool) -> None:
    for name in ("base", "suspect"):
        tiny_clip(tmp_path / name)
        for file in UNREAD:
            (tmp_path / name / file).write_bytes(b"x" * 100)
    (tmp_path / "suspect" / "tf_model.h5").write_bytes(b"another one")
    source, base = (FolderSource(tmp_path / name, f"org/{name}") for name in ("suspect", "base"))
    found = find_encoders(source)
    assert {s.component for s in found.skipped if s.blocks_clearance} == set(UNREAD)
    chosen = ChosenReference(Reference(trust, "", "org/base"), find_encoders(base).encoders[0], base)
    skipped = unchanged_files_pass(found.skipped, source, [EncoderPair(found.encoders[0], source, chosen)])
    assert {s.component for s in skipped if s.blocks_clearance} == ({"tf_model.h5"} if passes else set(UNREAD))
    assert len(skipped) == len(UNREAD)
