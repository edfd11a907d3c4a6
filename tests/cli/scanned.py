"""Reports of repositories on a LocalHub, made without scanning: the listing is real, the findings are an example's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from amdet_hub.hub import HubSettings, open_source, parse_target
from amdet_hub.records import RepoFile, ScanReport
from amdet_hub.testing import LocalHub
from tests.report import examples

TOKEN = "hf_alicealicealice"
WEIGHTS = b"the weights of one text encoder" * 40
README = b"---\nlicense: mit  # the owner's own words\n---\r\n# A model\r\n"
MODEL = {"config.json": b"{}", "model.safetensors": WEIGHTS, "README.md": README}


def settings_of(hub: LocalHub, cache: Path, token: str | None = TOKEN) -> HubSettings:
    return HubSettings(endpoint=hub.endpoint, token=token, cache_dir=cache)


def report_of(hub: LocalHub, cache: Path, repo_id: str = "org/m") -> ScanReport:
    """A finished report of the repository's present commit."""
    snapshot = open_source(parse_target(repo_id), settings_of(hub, cache)).snapshot
    weights = snapshot.file("model.safetensors")
    assert isinstance(weights, RepoFile)
    assert weights.sha256 is not None, "the Hub states the sha256 of LFS files"
    made = examples.clean()
    result = made.results[0]
    encoder = dataclasses.replace(
        result.encoder, repo_id=repo_id, commit_sha=snapshot.commit_sha, weight_files=(weights,), tokenizer_files=()
    )
    return dataclasses.replace(
        made, target=repo_id, snapshot=snapshot, outcomes=(dataclasses.replace(result, encoder=encoder),)
    )
