"""The reference of a suspect, over the real protocol, and the immediate answer when the two are the same."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load

from amdet_hub import families
from amdet_hub import verdict as kinds
from amdet_hub.encoders.discovery import find_encoders
from amdet_hub.errors import ConfigError, HubError, RepoNotFound
from amdet_hub.families import TowerShape, TrustedReference
from amdet_hub.hub import HubSettings, open_source, parse_target
from amdet_hub.records import Lineage, Monitor, ScanReport
from amdet_hub.testing import LocalHub
from amdet_hub.testing.local_hub.faults import _Rule
from amdet_hub.testing.local_hub.messages import HubResponse
from amdet_hub.testing.models import tiny_clip, tiny_pipeline
from amdet_hub.testing.models.layouts import openclip_tensors, tiny_openclip
from tests.encoders.folder_source import saved
from tests.scanner.conftest import Scan


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_clip(folder / "clip", hidden_size=16, layers=1)
    tiny_clip(folder / "changed", hidden_size=16, layers=1, seed=1)
    tiny_clip(folder / "first", hidden_size=16, layers=2)
    tiny_clip(folder / "wide", hidden_size=32, layers=1)
    tiny_pipeline(folder / "pipe", kind="sdxl", hidden_size=16, heads=2)
    return folder


@pytest.fixture
def hub(models: Path) -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add_model("org/base", models / "clip")
        hub.add_model("org/wide", models / "wide")
        hub.add_model("org/first", models / "first")
        hub.add_model("org/pipe", models / "pipe")
        hub.add_model("org/words", {"README.md": b"# Words\n"})
        yield hub


@pytest.fixture
def online(hub: LocalHub, tmp_path: Path) -> HubSettings:
    return HubSettings(endpoint=hub.endpoint, cache_dir=tmp_path / "hub-cache", max_retries=0)


def claiming(hub: LocalHub, models: Path, base: str, model: str = "clip") -> str:
    """A copy of org/base, or another model of its shape, whose card says where it comes from."""
    files = {path.name: path.read_bytes() for path in (models / model).iterdir()}
    hub.add_model("org/copy", {**files, "README.md": f"---\nbase_model: {base}\n---\n# Copy\n".encode()})
    return "org/copy"


def trusted_row(
    hub: LocalHub,
    settings: HubSettings,
    sha256: str | None = None,
    repo_id: str = "org/base",
    path: str = "model.safetensors",
) -> TrustedReference:
    """The row that our table would hold for a repository of this Hub."""
    source = open_source(parse_target(repo_id), settings)
    (encoder,) = find_encoders(source).encoders
    data = hub.read(repo_id, path)
    return TrustedReference(
        repo_id=repo_id,
        revision=hub.head(repo_id, "main"),
        path=path,
        sha256=sha256 or hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        component=encoder.component,
        shape=TowerShape.of(encoder.config),
        projection_dim=encoder.config.projection_dim,
        dtype="F32",
        confidence=3,
        source="made for this test",
    )


def immediate(report: ScanReport) -> bool:
    """Whether the one encoder was answered by identity, without a detector."""
    (result,) = report.results
    return (
        [e.kind for e in result.evidence if e.kind != kinds.TOKENIZER] == [kinds.IDENTITY]
        and set(result.timings_s) == {"load"}
        and not result.batch_sizes
    )


def test_a_reference_named_by_the_user(scan: Scan, hub: LocalHub, online: HubSettings, models: Path) -> None:
    report = scan(claiming(hub, models, "org/none"), reference="org/base", settings=online)
    (result,) = report.results
    assert immediate(report)
    assert (result.reference.trust, result.reference.repo_id) == ("user", "org/base")
    assert result.reference.commit_sha == hub.head("org/base", "main")
    assert result.reference.tower_digest == result.tower_digest
    assert (report.verdict.label, report.verdict.confidence) == ("no-backdoor-found", "normal")
    assert hub.writes == []


def test_a_trusted_reference(
    scan: Scan, hub: LocalHub, online: HubSettings, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "_ROWS", (trusted_row(hub, online),))
    report = scan(claiming(hub, models, "org/wide"), settings=online)
    assert immediate(report)
    assert (report.results[0].reference.trust, report.results[0].reference.repo_id) == ("trusted", "org/base")
    assert (report.verdict.label, report.verdict.confidence) == ("no-backdoor-found", "normal")


def test_a_trusted_file_is_held_against_itself_and_not_against_another_of_its_shape(
    scan: Scan, hub: LocalHub, online: HubSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_clip(tmp_path / "sibling", hidden_size=16, layers=1, seed=1)
    hub.add_model("org/sibling", tmp_path / "sibling")
    row = trusted_row(hub, online)
    monkeypatch.setattr(families, "_ROWS", (row, trusted_row(hub, online, repo_id="org/sibling")))
    report = scan("org/sibling", settings=online)
    assert report.results[0].reference.repo_id == "org/sibling"
    assert immediate(report)
    assert scan("org/base", settings=online).results[0].reference.repo_id == "org/base"


@pytest.fixture
def pickled_base(
    hub: LocalHub, online: HubSettings, models: Path, monkeypatch: pytest.MonkeyPatch
) -> TrustedReference:
    """The row of a repository that holds a pickle only, as OpenAI's ViT-B/32 does; another tower has its shape."""
    files = {path.name: path.read_bytes() for path in (models / "clip").iterdir()}
    weights = saved(dict(sorted(load(files.pop("model.safetensors")).items())))
    hub.add_model("org/pickled", {**files, "pytorch_model.bin": weights})
    row = trusted_row(hub, online, repo_id="org/pickled", path="pytorch_model.bin")
    apart = trusted_row(hub, online, repo_id="org/base")
    rows = (
        dataclasses.replace(apart, sha256="0" * 64, by_name_only=True),
        dataclasses.replace(row, by_name_only=True),
    )
    monkeypatch.setattr(families, "_ROWS", rows)
    return row


def answering(content: bytes, *, status: int) -> Callable[[HubResponse], bool]:
    """A fault: whole files (200) or ranges (206) are those of another file."""

    def change(response: HubResponse) -> bool:
        response.body = content if response.status == status else response.body
        return response.status == status

    return change


def test_a_pickle_is_a_trusted_reference_and_is_fetched_whole(
    scan: Scan, hub: LocalHub, online: HubSettings, models: Path, pickled_base: TrustedReference
) -> None:
    report = scan(claiming(hub, models, "org/pickled"), settings=online)  # the same tower, as safetensors
    (result,) = report.results
    assert immediate(report)
    assert (result.reference.trust, result.reference.repo_id) == ("trusted", "org/pickled")
    assert result.reference.tower_digest == result.tower_digest
    assert [r for r in hub.requests if r.path.endswith("pytorch_model.bin") and r.method == "GET" and r.range is None]
    again = scan("org/pickled", settings=online)
    assert immediate(again)
    assert again.results[0].tower_digest == result.tower_digest


def test_what_was_made_of_a_trusted_pickle_is_scanned_against_it(
    scan: Scan, hub: LocalHub, online: HubSettings, models: Path, pickled_base: TrustedReference
) -> None:
    (changed,) = scan(claiming(hub, models, "org/pickled", "changed"), settings=online).results
    assert (changed.reference.trust, changed.reference.repo_id) == ("trusted", "org/pickled")
    assert kinds.SWEEP in {e.kind for e in changed.evidence}
    assert changed.verdict.confidence == "normal"


def test_a_shape_alone_does_not_choose_between_towers_that_were_trained_apart(
    scan: Scan, hub: LocalHub, online: HubSettings, models: Path, pickled_base: TrustedReference
) -> None:
    assert scan(models / "clip", settings=online).results[0].reference.trust == "none"


def test_a_pickle_that_is_not_the_pinned_one_is_no_trusted_reference(
    scan: Scan, hub: LocalHub, online: HubSettings, models: Path, pickled_base: TrustedReference
) -> None:
    """The ranges that its table is read by are right, and another file is sent where it is asked for whole."""
    other = saved(load((models / "changed" / "model.safetensors").read_bytes()))
    hub._add(_Rule("pytorch_model.bin", None, change=answering(other, status=200)))
    target = claiming(hub, models, "org/pickled", "changed")
    with pytest.raises(HubError, match="damaged"):
        scan(target, settings=online)


def test_the_table_of_a_pinned_pickle_is_read_from_the_file_that_was_checked(
    scan: Scan, hub: LocalHub, online: HubSettings, models: Path, pickled_base: TrustedReference
) -> None:
    """A Hub that answers ranges with another file, whose table exchanges two tensors, moves nothing."""
    tensors = sorted(load((models / "clip" / "model.safetensors").read_bytes()).items())
    at = "text_model.encoder.layers.0.self_attn"
    exchange = {f"{at}.q_proj.weight": f"{at}.k_proj.weight", f"{at}.k_proj.weight": f"{at}.q_proj.weight"}
    forged = saved({exchange.get(name, name): tensor for name, tensor in tensors})
    assert len(forged) == pickled_base.size_bytes

    hub._add(_Rule("pytorch_model.bin", None, change=answering(forged, status=206)))
    report = scan(claiming(hub, models, "org/pickled"), settings=online)
    assert immediate(report)


def test_an_openclip_repository_is_the_trusted_reference_of_a_tower_in_another_layout(
    scan: Scan, hub: LocalHub, online: HubSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_model("org/open", tiny_openclip(tmp_path / "open", hidden_size=16))
    hub.add_model("org/twin", tiny_clip(tmp_path / "twin", hidden_size=16, hidden_act="gelu", legacy_eos=True))
    row = trusted_row(hub, online, repo_id="org/open", path="open_clip_model.safetensors")
    monkeypatch.setattr(families, "_ROWS", (row,))
    report = scan("org/twin", settings=online)
    assert immediate(report)
    assert (report.results[0].reference.repo_id, report.results[0].reference.trust) == ("org/open", "trusted")


def test_a_trusted_file_with_another_sha256_is_not_trusted(
    scan: Scan, hub: LocalHub, online: HubSettings, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "_ROWS", (trusted_row(hub, online, sha256="0" * 64),))
    report = scan(claiming(hub, models, "org/base", "changed"), settings=online)
    assert report.results[0].reference.trust == "declared", "the claim is all that is left"
    assert report.verdict.confidence == "reduced"


def test_a_declared_reference_is_said_to_be_untrusted(
    scan: Scan, hub: LocalHub, online: HubSettings, models: Path
) -> None:
    report = scan(claiming(hub, models, "org/base", "changed"), settings=online)
    (result,) = report.results
    assert (result.reference.trust, result.reference.repo_id) == ("declared", "org/base")
    assert "untrusted" in result.reference.note
    assert result.verdict.confidence == report.verdict.confidence == "reduced"
    assert "a backdoor that both share would not show" in result.verdict.reasons[-1]


def test_a_declared_reference_that_is_the_suspect_again_clears_nothing(
    scan: Scan, hub: LocalHub, online: HubSettings, models: Path
) -> None:
    report = scan(claiming(hub, models, "org/base"), settings=online)
    (result,) = report.results
    assert result.reference.trust == "none"
    assert "org/base is this same tower" in result.reference.note
    assert kinds.SWEEP in {e.kind for e in result.evidence}, "it is scanned as without a reference"
    assert result.verdict.confidence == "reduced"


@pytest.mark.parametrize("claim", ["org/none", "org/wide", "org/words", "org/copy"])
def test_a_claim_that_leads_nowhere_is_no_reference(
    scan: Scan, hub: LocalHub, online: HubSettings, models: Path, claim: str
) -> None:
    report = scan(claiming(hub, models, claim), settings=online)
    (result,) = report.results
    assert result.reference.trust == "none"
    assert result.reference.repo_id is None
    assert "no usable base model" in result.reference.note
    assert kinds.SWEEP in {e.kind for e in result.evidence}, "it was scanned all the same"
    assert result.verdict.confidence == "reduced"


def test_no_reference_was_wanted(scan: Scan, hub: LocalHub, online: HubSettings, models: Path) -> None:
    report = scan(claiming(hub, models, "org/base"), settings=online, use_reference=False)
    assert report.results[0].reference.trust == "none"
    assert "--no-reference" in report.results[0].reference.note
    assert kinds.IDENTITY not in {e.kind for e in report.results[0].evidence}
    assert not [r for r in hub.requests if "org/base" in r.path], "it is not even looked at"


def test_a_reference_of_other_dimensions_is_a_wrong_setting(scan: Scan, online: HubSettings) -> None:
    with pytest.raises(ConfigError, match=r"'org/wide' holds no text encoder of 1 x 16, 77 positions") as caught:
        scan("org/base", reference="org/wide", settings=online)
    assert caught.value.name == "reference"


def test_a_reference_without_any_encoder_is_a_wrong_setting(scan: Scan, online: HubSettings) -> None:
    with pytest.raises(ConfigError) as caught:
        scan("org/base", reference="org/words", settings=online)
    assert caught.value.name == "reference"


def test_a_reference_that_does_not_exist(scan: Scan, online: HubSettings) -> None:
    with pytest.raises(RepoNotFound):
        scan("org/base", reference="org/none", settings=online)


def test_a_reference_that_fits_one_tower_of_two_is_refused_before_any_is_scanned(
    scan: Scan, hub: LocalHub, online: HubSettings
) -> None:
    stages: list[str] = []
    with pytest.raises(ConfigError, match="text_encoder_2"):
        scan(
            "org/pipe",
            reference="org/first",
            settings=online,
            monitor=Monitor(lambda stage, done, total: stages.append(stage)),
        )
    assert stages == []
    assert not [r for r in hub.requests if r.method == "GET" and r.path.endswith(".safetensors") and r.range is None]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_cast_of_the_reference_is_recognised_as_such(
    scan: Scan, hub: LocalHub, online: HubSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    tiny_clip(tmp_path / "half", hidden_size=16, layers=1, dtype=dtype)
    monkeypatch.setattr(families, "_ROWS", (trusted_row(hub, online),))
    report = scan(tmp_path / "half", settings=online)
    (result,) = report.results
    assert immediate(report)
    assert result.reference.trust == "trusted"
    assert report.verdict.label == "no-backdoor-found"
    assert result.verdict.reasons == (
        f"the text tower is the {dtype} cast of the reference's (trusted), bit for bit: nothing else was changed",
    )
    assert result.lineage == Lineage("cast", dtype, "float32", n_rows=600)
    assert result.reference.tower_digest != result.tower_digest


def test_longclips_two_tables_are_the_one_of_the_converted_file(scan: Scan, tmp_path: Path) -> None:
    options: dict[str, Any] = {"heads": 1, "hidden_act": "gelu", "legacy_eos": True}
    tiny_clip(tmp_path / "converted", hidden_size=64, layers=1, positions=248, tokenizer=False, **options)
    tensors = openclip_tensors(load((tmp_path / "converted" / "model.safetensors").read_bytes()))
    first, second = tensors["positional_embedding"].clone(), tensors["positional_embedding"].clone()
    first[20:], second[:20] = 0.5, 0.25  # the rows that LongCLIP's code does not take
    both = saved(tensors | {"positional_embedding": first, "positional_embedding_res": second})
    (tmp_path / "original").mkdir()
    (tmp_path / "original" / "longclip-L.pt").write_bytes(both)
    results = scan(tmp_path / "original", reference=tmp_path / "converted").results
    identical = {
        r.encoder.key_layout: r.verdict.code for r in results if r.lineage and r.lineage.relation == "identical"
    }
    assert len(results) == 2, "the first table alone is a tower too, which loaders take that know no second"
    assert list(identical) == ["longclip"]
    (converted,) = scan(tmp_path / "converted", reference=tmp_path / "converted").results
    assert identical["longclip"] == converted.verdict.code


def test_what_was_changed_is_in_the_report(scan: Scan, models: Path) -> None:
    same, changed = (scan(models / name, reference=models / "clip").results[0].lineage for name in ("clip", "changed"))
    assert same == Lineage("identical", "float32", "float32", n_rows=600)
    assert changed is not None
    assert (changed.relation, changed.n_rows_changed, changed.layers_changed) == ("changed", 600, (0,))
    assert "layer 0 attention" in {group.name for group in changed.groups}


def test_identity_ignores_what_lies_beside_the_tower(scan: Scan, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "clip", tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("# Another card\n")
    assert immediate(scan(tmp_path / "copy", reference=models / "clip"))


def test_the_record_of_a_reference_is_complete(scan: Scan, models: Path) -> None:
    reference = scan(models / "pipe", reference=models / "pipe").results[1].reference
    assert dataclasses.asdict(reference) | {"note": "", "tower_digest": ""} == {
        "trust": "user",
        "note": "",
        "repo_id": str(models / "pipe"),
        "commit_sha": None,
        "component": "text_encoder_2",
        "tower_digest": "",
    }
