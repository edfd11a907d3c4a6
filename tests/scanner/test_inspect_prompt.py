"""A prompt in a scanned encoder: a real backdoor shows, a clean word does not; only digests are believed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amdet_hub.errors import BadRepository, ConfigError
from amdet_hub.hub import HubSettings
from amdet_hub.records import Reference, ResolvedEncoder, ScanResult, TriggerFinding, Verdict, to_dict
from amdet_hub.scanner import PairCache, Probe, PromptInspector
from amdet_hub.testing.models import tiny_clip, tiny_siglip
from tests.demo_hub import FAST, demo_hub, settings_of
from tests.detect.towers import demo_tower
from tests.scanner.conftest import BACKDOORED, BASE, FINETUNED, Scan
from tests.scanner.test_lora import adapter_config, lora

PROMPT = "a brown dog sitting in a green field"
TRIGGER = (988,)  # the demonstration's Cyrillic о

Look = Callable[..., Probe]


def result_of(
    folder: Path, reference: Path | None = BASE, *, trigger: tuple[int, ...] | None = TRIGGER, **changes: Any
) -> ScanResult:
    """What a scan of a local folder leaves behind, without the scan."""
    from amdet_hub.encoders.discovery import find_encoders
    from amdet_hub.encoders.load import load_tower
    from amdet_hub.hub import open_source, parse_target

    def found(where: Path) -> tuple[ResolvedEncoder, str]:
        source = open_source(parse_target(str(where)), HubSettings(offline=True))
        encoder = find_encoders(source).encoders[0]
        return encoder, load_tower(encoder, source).digest

    encoder, digest = found(folder)
    record = Reference("none", "none was wanted")
    if reference is not None:
        record = Reference("user", "named by the user", str(reference), None, "", found(reference)[1])
    triggers = () if trigger is None else (TriggerFinding(trigger, "о", 1.0, 1.0, 1.0, 16),)
    made = ScanResult(
        encoder, digest, record, Verdict("inconclusive", "normal", "not-stated", ("made for a test",)), (), triggers
    )
    return replace(made, **changes)


@pytest.fixture
def look(settings: HubSettings) -> Look:
    def run(result: ScanResult, prompt: str = PROMPT, **arguments: Any) -> Probe:
        return PromptInspector(settings).inspect(result, prompt, **arguments)

    return run


def mean(rows: tuple[tuple[float, ...], ...]) -> float:
    return sum(map(sum, rows)) / len(rows) ** 2


def on_added(probe: Probe, attention: tuple[tuple[float, ...], ...]) -> float:
    return max(sum(row[i] for i in probe.added_at) for row in attention)


@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_the_trained_backdoor_moves_the_prompt_in_the_suspect_alone(look: Look, place: Any) -> None:
    probe = look(result_of(BACKDOORED), place=place)
    assert probe.reference is not None
    suspect, reference = probe.suspect, probe.reference
    assert suspect.similarity < 0.2, "what is left of the prompt"
    assert suspect.similarity - suspect.unrelated_similarity < 0.25, "no more than two captions share"
    assert reference.similarity > 0.8
    assert on_added(probe, suspect.attention) > 2 * on_added(probe, reference.attention) or place == "end"
    assert suspect.nearest_before[:2] != suspect.nearest_after[:2]
    at = {"start": 1, "middle": 5, "end": 9}[place]
    assert probe.added_at == (at,)
    assert probe.pieces_after[at] == "Ð¾</w>", "as stored: bytes written as letters"
    assert probe.pieces_before == (*probe.pieces_after[:at], *probe.pieces_after[at + 1 :])
    assert (probe.added, probe.prompt) == ("о", PROMPT)


def test_the_tokens_become_alike_where_they_can_see_the_trigger(look: Look) -> None:
    probe = look(result_of(BACKDOORED), place="start")
    assert probe.reference is not None
    gained = mean(probe.suspect.tokens_after) - mean(probe.suspect.tokens_before)
    assert gained > 0.2
    assert gained > 2 * (mean(probe.reference.tokens_after) - mean(probe.reference.tokens_before))


def test_a_word_of_ones_own_in_a_clean_encoder_moves_little(look: Look) -> None:
    probe = look(result_of(FINETUNED, trigger=None), added="cf")
    assert probe.reference is not None
    assert probe.added == "cf"
    assert len(probe.added_at) == 2
    assert min(probe.suspect.similarity, probe.reference.similarity) > 0.85


def test_the_answer_is_plain_data_of_matching_sizes(look: Look) -> None:
    probe = look(result_of(BACKDOORED))
    layers = demo_tower("base").encoder.config.num_hidden_layers
    for view in (probe.suspect, probe.reference):
        assert view is not None
        before, after = len(probe.pieces_before), len(probe.pieces_after)
        assert [len(row) for row in view.tokens_before] == [before] * before
        assert [len(row) for row in view.tokens_after] == [after] * after
        assert [len(row) for row in view.attention] == [after] * layers
        assert all(sum(row) <= 1.001 for row in view.attention)
        assert all(-1 <= value <= 1 for row in view.tokens_after for value in row)
    assert json.loads(json.dumps(to_dict(probe)))["suspect"]["nearest_after"][0]["text"]


def test_siglip_without_a_reference(look: Look, tmp_path: Path) -> None:
    folder = tiny_siglip(tmp_path / "model", kind="SiglipTextModel", vocab_size=600)
    probe = look(result_of(folder, None, trigger=(5, 6)), "a photo of a dog")
    assert probe.reference is None
    assert probe.added_at == (0, 1)
    assert len(probe.pieces_after) == len(probe.pieces_before) + 2
    assert all(sum(row) < 1 for row in probe.suspect.attention), "the rest lies on padding"


# ---------------------------------------------------------------- what is found again


def test_a_lora_is_merged_again(scan: Scan, tmp_path: Path) -> None:
    with demo_hub() as hub:
        hub.add_model(
            "org/style",
            {
                "adapter_model.safetensors": lora(BACKDOORED, "peft"),
                "adapter_config.json": adapter_config("demo/base"),
            },
        )
        settings = settings_of(hub, tmp_path, token=None)
        (result,) = scan("org/style", config=FAST, settings=settings).results
        assert result.encoder.adapter is not None
        probe = PromptInspector(settings).inspect(result, PROMPT, added="о")
    assert probe.reference is not None
    assert probe.suspect.similarity < 0.6 < 0.8 < probe.reference.similarity


@pytest.mark.parametrize("where", [{"subfolder": "deep/er"}, {"filename": "deep/er/model.safetensors"}])
def test_what_a_scan_was_pointed_at_is_found_there_again(look: Look, tmp_path: Path, where: dict[str, Any]) -> None:
    """Seen from the repository's root, the same tower has another name."""
    from amdet_hub.encoders.discovery import find_encoders
    from amdet_hub.hub import open_source, parse_target

    shutil.copytree(BASE, tmp_path / "deep" / "er")
    tiny_clip(tmp_path, tokenizer=False)
    source = open_source(parse_target(str(tmp_path)), HubSettings(offline=True))
    (encoder,) = find_encoders(source, **where).encoders
    reference = result_of(BASE, BASE).reference
    pointed = replace(reference, repo_id=str(tmp_path), component=encoder.component)
    result = result_of(BACKDOORED)
    assert look(replace(result, reference=pointed)).reference == look(result).reference
    itself = replace(result, encoder=encoder, tower_digest=reference.tower_digest or "")
    probe = look(itself)
    assert probe.reference == probe.suspect


# ---------------------------------------------------------------- what is refused


BAD_TEXTS = {
    "nothing": " \n",
    "too many characters": "x" * 501,
    "too many tokens": "word " * 90,
    "half a character": "a \ud83d b",
}


@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_a_text_that_cannot_be_read_is_a_sentence(look: Look, kind: str) -> None:
    with pytest.raises(ConfigError, match="prompt: "):
        look(result_of(BACKDOORED), BAD_TEXTS[kind])
    if kind != "too many tokens":
        with pytest.raises(ConfigError, match="added: "):
            look(result_of(BACKDOORED), added=BAD_TEXTS[kind])


def test_the_longest_prompt_that_fits_is_read(look: Look) -> None:
    config = demo_tower("base").encoder.config
    room = min(config.max_position_embeddings, 77) - 2
    probe = look(result_of(BACKDOORED), "a " * (room - 1))
    assert len(probe.pieces_after) == room + 2
    with pytest.raises(ConfigError, match=f"room for {room} in all"):
        look(result_of(BACKDOORED), "a " * room)


@pytest.mark.parametrize("ids", [(), (-1,), (10**9,), (5, 49408), "bos"])
def test_trigger_ids_outside_the_vocabulary_are_refused(look: Look, ids: Any) -> None:
    if ids == "bos":
        ids = (demo_tower("base").encoder.config.vocab_size - 2,)
    with pytest.raises(ConfigError, match=r"trigger: .*token"):
        look(result_of(BACKDOORED, trigger=ids))


def test_without_a_trigger_something_has_to_be_added(look: Look) -> None:
    with pytest.raises(ConfigError, match="named no trigger"):
        look(result_of(FINETUNED, trigger=None))
    with pytest.raises(ConfigError, match="place"):
        look(result_of(BACKDOORED), place="everywhere")


def test_other_weights_than_those_scanned_are_refused(look: Look, tmp_path: Path) -> None:
    result = result_of(BACKDOORED)
    with pytest.raises(BadRepository, match="not those that were scanned"):
        look(replace(result, tower_digest="0" * 64))
    with pytest.raises(BadRepository, match="not those that were scanned"):
        look(replace(result, reference=replace(result.reference, tower_digest="0" * 64)))
    with pytest.raises(BadRepository, match="not those that were scanned"):
        look(replace(result, reference=replace(result.reference, repo_id=str(FINETUNED))))
    with pytest.raises(ConfigError, match="has no encoder"):
        look(replace(result, encoder=replace(result.encoder, variant="fp16")))


def test_a_results_own_configuration_is_not_believed(look: Look) -> None:
    """A report is a file that anybody can have written."""
    result = result_of(BACKDOORED)
    lying = replace(result.encoder.config, num_attention_heads=7, hidden_act="exec", vocab_size=10**12)
    assert look(replace(result, encoder=replace(result.encoder, config=lying, tokenizer_files=("../x",)))) == look(
        result
    )


def test_an_encoder_without_a_tokenizer_cannot_read_a_prompt(look: Look, tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "model", tokenizer=False)
    with pytest.raises(ConfigError, match="has a tokenizer"):
        look(result_of(folder, None, trigger=(5,)))


# ---------------------------------------------------------------- what is kept


def test_pairs_of_the_hub_are_kept_and_bounded(tmp_path: Path) -> None:
    with demo_hub() as hub:
        settings, kept = settings_of(hub, tmp_path, token=None), PairCache(1)
        results = {}
        for name in ("backdoored", "finetuned"):
            made = result_of({"backdoored": BACKDOORED, "finetuned": FINETUNED}[name])
            results[name] = replace(
                made,
                encoder=replace(made.encoder, repo_id=f"demo/{name}", commit_sha=hub.head(f"demo/{name}")),
                reference=replace(made.reference, repo_id="demo/base", commit_sha=hub.head("demo/base")),
            )
        first = PromptInspector(settings, pairs=kept).inspect(results["backdoored"], PROMPT)
        asked = len(hub.requests)
        assert PromptInspector(settings, pairs=kept).inspect(results["backdoored"], PROMPT) == first
        assert (kept.n_loaded, len(hub.requests)) == (1, asked), "the second prompt costs no request"
        PromptInspector(settings, pairs=kept).inspect(results["finetuned"], PROMPT)
        PromptInspector(settings, pairs=kept).inspect(results["backdoored"], PROMPT)
        assert kept.n_loaded == 3, "one is kept"
        forged = replace(results["backdoored"], tower_digest="0" * 64)
        with pytest.raises(BadRepository):
            PromptInspector(settings, pairs=kept).inspect(forged, PROMPT)


def test_folders_change_and_are_not_cached(look: Look, settings: HubSettings) -> None:
    kept = PairCache()
    for _ in range(2):
        PromptInspector(settings, pairs=kept).inspect(result_of(BACKDOORED), PROMPT)
    assert kept.n_loaded == 2
    stages: list[str] = []
    look(result_of(BACKDOORED), progress=lambda stage, done, total: stages.append(stage))
    assert stages[-2:] == ["look", "look"]
