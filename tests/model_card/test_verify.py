"""fresh, stale, forged, missing: told from listings alone."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from amdet_hub.model_card.edit import body_digest, find_section, splice
from amdet_hub.model_card.render import SECTION_VERSION, card_files, render_section
from amdet_hub.model_card.verify import SectionStatus, check_section, stated_commit
from amdet_hub.records import RepoFile, RepoSnapshot, ScanReport, SkippedScan
from amdet_hub.report import as_json
from amdet_hub.report.error_rates import MeasuredRates
from tests.report.examples import COMMIT, backdoored, clean, inconclusive, small, weight

LATER = "a" * 40
REPORT = backdoored()
THEN = REPORT.snapshot
FILES = card_files(REPORT, b"# card\n")
CARD, JSON = FILES["README.md"], FILES["amdet-hub.json"]


def now(*extra: RepoFile, without: str = "", changed: str = "") -> RepoSnapshot:
    """The listing after the section was merged, with changes."""
    files = [f for f in THEN.files if f.path != without]
    files = [
        dataclasses.replace(f, sha256="e" * 64 if f.sha256 else None, blob_id="f" * 40) if f.path == changed else f
        for f in files
    ]
    return dataclasses.replace(THEN, commit_sha=LATER, files=(*files, *extra))


def check(
    card: bytes | None = CARD, report: bytes | None = JSON, present: RepoSnapshot | None = None, **kwargs: Any
) -> SectionStatus:
    then = kwargs.pop("then", THEN)
    return check_section(card, report, present or now(), then, **kwargs)


def test_fresh_says_what_it_means() -> None:
    status = check()
    assert status.state == "fresh"
    assert f"amdet-hub scan org/dreamy-xl@{COMMIT}" in status.reasons[-1]


def test_fresh_after_a_readme_only_push_and_with_crlf() -> None:
    assert check(present=now(changed="README.md")).state == "fresh"
    assert check(present=now(small("docs/notes.md"), small("notes.json"), weight("x.png"))).state == "fresh"
    assert check(card_files(REPORT, b"# card\r\n\r\ntext\r\n")["README.md"]).state == "fresh"


@pytest.mark.parametrize("target", ["hf://org/dreamy-xl/text_encoder", "hf://org/dreamy-xl@main/text_encoder/x.bin"])
def test_a_part_of_a_repository_is_not_what_its_card_speaks_of(target: str) -> None:
    report = dataclasses.replace(REPORT, target=target)
    files = card_files(report, b"# card\n")
    status = check(files["README.md"], files["amdet-hub.json"])
    assert status.state == "stale"
    assert "'text_encoder" in status.reasons[0]


@pytest.mark.parametrize("target", ["org/dreamy-xl@main", "hf://org/dreamy-xl", "https://hub.example/org/dreamy-xl"])
def test_the_whole_repository_may_be_named_in_any_way(target: str) -> None:
    files = card_files(dataclasses.replace(REPORT, target=target), b"# card\n")
    assert check(files["README.md"], files["amdet-hub.json"]).state == "fresh"


def test_fresh_under_another_name_says_so() -> None:
    status = check(present=dataclasses.replace(now(), repo_id="org/renamed"))
    assert status.state == "fresh"
    assert any("org/dreamy-xl" in reason and "called" in reason for reason in status.reasons)


@pytest.mark.parametrize("component", ["other/xl.safetensors", "other/xl.safetensors:conditioner.embedders.0"])
def test_a_copy_that_was_not_scanned_itself_must_stay_what_it_was(component: str) -> None:
    copy = weight("other/xl.safetensors")
    then = dataclasses.replace(THEN, files=(*THEN.files, copy))
    skip = SkippedScan(THEN.repo_id, component, "duplicate", "the same tower as 'text_encoder'", False)
    report = dataclasses.replace(REPORT, snapshot=then, outcomes=(*REPORT.outcomes, skip))
    files = card_files(report, b"# card\n")
    later = dataclasses.replace(then, commit_sha=LATER)
    card, told = files["README.md"], files["amdet-hub.json"]
    assert check_section(card, told, later, then).state == "fresh"
    replaced = tuple(dataclasses.replace(f, sha256="e" * 64) if f.path == copy.path else f for f in then.files)
    status = check_section(card, told, dataclasses.replace(later, files=replaced), then)
    assert (status.state, status.reasons[0]) == ("stale", "'other/xl.safetensors' has changed")


@pytest.mark.parametrize("card", [None, b"", b"# card\n", b"# caf\xe9\n"])
def test_missing(card: bytes | None) -> None:
    assert check(card).state == "missing"


@pytest.mark.parametrize(
    ("present", "words"),
    [
        (now(changed="text_encoder/model.safetensors"), "'text_encoder/model.safetensors' has changed"),
        (now(without="text_encoder_2/model.safetensors"), "'text_encoder_2/model.safetensors' is gone"),
        (now(weight("text_encoder/model.fp16.safetensors")), "'text_encoder/model.fp16.safetensors' is new"),
        (now(weight("text_encoder/pytorch_model.bin")), "'text_encoder/pytorch_model.bin' is new"),
        (now(weight("text_encoder/model-00001-of-00002.safetensors")), "is new"),
        (now(weight("text_encoder_4/model.safetensors")), "'text_encoder_4/model.safetensors' is new"),
        (now(small("text_encoder/adapter_config.json")), "'text_encoder/adapter_config.json' is new"),
        (now(small("text_encoder/tokenizer.json")), "'text_encoder/tokenizer.json' is new"),
        (now(small("tokenizer_2/added_tokens.json")), "'tokenizer_2/added_tokens.json' is new"),
        (now(small("tokenizer/tokenizer.4.50.0.json")), "'tokenizer/tokenizer.4.50.0.json' is new"),
        (now(changed="text_encoder/config.json"), "'text_encoder/config.json' has changed"),
        (now(changed="model_index.json"), "'model_index.json' has changed"),
        (now(weight("unet/model.safetensors")), "'unet/model.safetensors' is new"),  # it may hold a tower
        (now(weight("clip_l.safetensors")), "'clip_l.safetensors' is new"),
        (now(weight("old/clip.pt")), "'old/clip.pt' is new"),
        (now(weight("0_CLIPModel/pytorch_model.bin")), "'0_CLIPModel/pytorch_model.bin' is new"),
        (now(weight("clip-l.gguf")), "'clip-l.gguf' is new"),
        (now(weight("onnx/text_model.onnx", 1000)), "'onnx/text_model.onnx' is new"),
        (now(weight("weights", 1 << 20)), "'weights' is new"),  # no ending, and large enough to be some
        (now(small("config.json")), "'config.json' is new"),
        (now(small("modules.json")), "'modules.json' is new"),
        (now(small("modular_model_index.json")), "'modular_model_index.json' is new"),
        (now(small("style/adapter_config.json")), "'style/adapter_config.json' is new"),
        (now(small("clip/pytorch_model.bin.index.json")), "'clip/pytorch_model.bin.index.json' is new"),
    ],
)
def test_stale(present: RepoSnapshot, words: str) -> None:
    status = check(present=present)
    assert status.state == "stale"
    assert words in status.reasons[0]
    assert "scan again" in status.reasons[-1]


def test_many_changes_are_counted_not_listed() -> None:
    status = check(present=now(*(weight(f"text_encoder/model-{i}.safetensors") for i in range(30))))
    assert status.state == "stale"
    assert "and 22 more" in status.reasons
    assert len(status.reasons) == 10


def test_variant_at_the_root_of_a_plain_model() -> None:
    report = clean()
    files = card_files(report, None)
    variant = dataclasses.replace(
        report.snapshot, commit_sha=LATER, files=(*report.snapshot.files, weight("model.fp16.safetensors"))
    )
    status = check_section(files["README.md"], files["amdet-hub.json"], variant, report.snapshot)
    assert status.state == "stale"
    assert "'model.fp16.safetensors' is new" in status.reasons[0]


def rewritten(card: bytes, before: str, after: str) -> bytes:
    """The card with its text changed and the marker's body digest made to match: what a careful forger does."""
    section = find_section(card)
    assert section is not None
    assert before in section.body
    body = section.body.replace(before, after)
    return card.replace(section.body.encode(), body.encode()).replace(
        section.attributes["body"].encode(), body_digest(body).encode()
    )


def forged_json(**changes: Any) -> bytes:
    return as_json(dataclasses.replace(REPORT, **changes)).encode()


def with_files(report: ScanReport, **changes: Any) -> ScanReport:
    """The report with the first encoder's weight file changed."""
    first, rest = report.results[0], report.outcomes[1:]
    file = dataclasses.replace(first.encoder.weight_files[0], **changes)
    changed = dataclasses.replace(first, encoder=dataclasses.replace(first.encoder, weight_files=(file,)))
    return dataclasses.replace(report, outcomes=(changed, *rest))


def test_edited_text() -> None:
    status = check(CARD.replace(b"Backdoor detected", b"No backdoor found"))
    assert status.state == "forged"
    assert "changed after it was written" in status.reasons[0]


def test_edited_text_with_a_matching_digest() -> None:
    status = check(rewritten(CARD, "Backdoor detected", "No backdoor found"))
    assert status.state == "forged"
    assert "not what amdet-hub writes" in status.reasons[0]


def test_edited_report() -> None:
    assert check(report=forged_json(created="2030-01-01T00:00:00Z")).state == "forged"
    assert check(report=as_json(clean()).encode()).state == "forged"


@pytest.mark.parametrize("report", [None, b"", b"{}", b"\xff", b'{"schema_version": "9.0"}'])
def test_no_readable_report(report: bytes | None) -> None:
    status = check(report=report)
    assert status.state == "forged"
    assert "amdet-hub.json" in status.reasons[0]


def test_commit_of_another_repository() -> None:
    status = check(then=None)
    assert status.state == "forged"
    assert f"no commit '{COMMIT}'" in status.reasons[0]
    assert check(then=dataclasses.replace(THEN, commit_sha=LATER)).state == "forged"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "d" * 64}, "has another file"),
        ({"size_bytes": 5}, "has another file"),
        ({"sha256": None, "blob_id": None}, "has another file"),
        ({"path": "text_encoder/other.safetensors"}, "has no file 'text_encoder/other.safetensors'"),
        ({"path": "x\x1b[2J"}, "has no file 'x\\u{1b}[2J'"),
    ],
)
def test_claims_about_files_the_commit_does_not_hold(changes: dict[str, Any], words: str) -> None:
    files = card_files(with_files(REPORT, **changes), b"# card\n")
    status = check(files["README.md"], files["amdet-hub.json"])
    assert status.state == "forged"
    assert any(words in reason for reason in status.reasons)


def test_file_outside_lfs_is_compared_by_its_blob() -> None:
    blob = str(THEN.files[3].blob_id)
    files = card_files(with_files(REPORT, sha256=None, blob_id=blob), b"# card\n")
    assert check(files["README.md"], files["amdet-hub.json"]).state == "fresh"


def test_encoder_of_another_commit() -> None:
    first, rest = REPORT.results[0], REPORT.outcomes[1:]
    moved = dataclasses.replace(first, encoder=dataclasses.replace(first.encoder, commit_sha=LATER))
    files = card_files(dataclasses.replace(REPORT, outcomes=(moved, *rest)), b"")
    status = check(files["README.md"], files["amdet-hub.json"])
    assert status.state == "forged"
    assert "is of another commit" in status.reasons[0]


def test_local_report_belongs_to_no_repository() -> None:
    files = card_files(inconclusive(), b"")
    assert check(files["README.md"], files["amdet-hub.json"]).state == "forged"


def test_planted_markers() -> None:
    status = check(CARD + b"\n<!-- amdet-hub:end -->\n")
    assert status.state == "forged"
    assert "begin, end, end" in status.reasons[0]


@pytest.mark.parametrize("name", ["commit", "files", "body"])
def test_marker_without_an_attribute(name: str) -> None:
    assert check(re.sub(f" {name}=[0-9a-f]+".encode(), b"", CARD)).state == "forged"


@pytest.mark.parametrize("version", ["1", "3", "99"])
def test_another_form_of_the_section_is_not_judged(version: str) -> None:
    other = CARD.replace(f"begin v={SECTION_VERSION}".encode(), f"begin v={version}".encode())
    assert check(other).state == "stale"


def test_an_earlier_form_whose_text_was_changed_is_forged() -> None:
    first = CARD.replace(f"begin v={SECTION_VERSION}".encode(), b"begin v=1")
    assert check(first.replace(b"Backdoor detected", b"No backdoor found")).state == "forged"


def test_newer_writer_is_not_judged_but_never_fresh() -> None:
    newer = dataclasses.replace(REPORT, environment=dataclasses.replace(REPORT.environment, amdet_hub="99.0.0"))
    files = card_files(newer, b"# card\n")
    assert check(files["README.md"], files["amdet-hub.json"]).state == "fresh"
    status = check(rewritten(files["README.md"], "Backdoor detected", "No backdoor found"), files["amdet-hub.json"])
    assert status.state == "stale"
    assert "99.0.0" in status.reasons[0]


def test_measured_rates_must_be_known_ones() -> None:
    rates = MeasuredRates("standard", "clip", 0.01, 0.95, 100, 100, "bench")
    card = splice(b"# card\n", render_section(REPORT, measured=rates))
    assert check(card).state == "forged"
    assert check(card, measured=(rates,)).state == "fresh"
    rosy = dataclasses.replace(rates, false_positive_rate=0.0)
    assert check(card, measured=(rosy,)).state == "forged"


def test_stated_commit() -> None:
    assert stated_commit(CARD) == COMMIT
    for card in (None, b"", b"# card\n", CARD + CARD, CARD.replace(COMMIT.encode(), b"main"), b"\xff"):
        assert stated_commit(card) is None
