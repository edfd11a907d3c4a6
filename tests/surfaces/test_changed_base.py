"""A LoRA is judged together with its base, so that another base is another question."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from amdet_hub import BackdoorDetected, HubSettings, NotCleared, ScanConfig, Scanner, ScanOptions, guard
from amdet_hub.testing import LocalHub
from tests.surfaces.targets import BASE, declared_lora, encoder


def test_a_lora_whose_base_changed_is_not_answered_from_the_cache(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    with LocalHub() as hub:
        hub.add_model(BASE, encoder("base"))
        hub.add_model("org/style", declared_lora("backdoored")())
        settings = HubSettings(endpoint=hub.endpoint, cache_dir=tmp_path)

        def ask(*, allow_scan: bool) -> None:
            scanner = Scanner(ScanConfig.for_preset("quick"), settings, options=ScanOptions(device="cpu"))
            guard("org/style", scanner=scanner, allow_scan=allow_scan)

        for source in ("scan", "cache"):
            with pytest.raises(BackdoorDetected) as found:
                ask(allow_scan=source == "scan")
            assert found.value.source == source
        hub.commit(BASE, {"README.md": b"# The same tower\n"})
        with pytest.raises(BackdoorDetected):
            ask(allow_scan=False)
        hub.commit(BASE, {"model.safetensors": encoder("finetuned")["model.safetensors"]})
        with pytest.raises(NotCleared) as unknown:
            ask(allow_scan=False)
        assert unknown.value.report is None
