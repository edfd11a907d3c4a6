from __future__ import annotations

from pathlib import Path

import torch

from amdet_hub.bench.captions import CaptionSet
from amdet_hub.bench.renumbering import renumber_vocabulary
from amdet_hub.bench.trained import TrainedEncoder, open_trained, save_trained


def test_other_ids_say_the_same(base: TrainedEncoder, captions: CaptionSet, tmp_path: Path) -> None:
    renumbered = renumber_vocabulary(base, seed=3)
    texts = captions.held_out_captions()
    assert renumbered.token_ids(texts[0]) != base.token_ids(texts[0])
    assert torch.equal(renumbered.embed(texts, 16), base.embed(texts, 16))
    save_trained(renumbered, tmp_path / "out", {})
    again = open_trained(tmp_path / "out")
    assert [again.token_ids(text) for text in texts] == [renumbered.token_ids(text) for text in texts]
    torch.testing.assert_close(again.embed(texts, 16), base.embed(texts, 16), atol=2e-3, rtol=0)
