"""Realistic `ScanReport`s, built anew at each call, for the goldens and the hostile tests of this room."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from amdet_hub.records import (
    ChangedMeaning,
    Environment,
    Evidence,
    FileIssue,
    GroupDistance,
    HubSecurity,
    Lineage,
    NullDistribution,
    Reference,
    RepoFile,
    RepoSnapshot,
    ResolvedEncoder,
    ScanReport,
    ScanResult,
    SkippedScan,
    TowerConfig,
    TriggerFinding,
    Verdict,
    fingerprint,
)
from amdet_hub.verdict import judge, judge_repository

COMMIT = "3f9c2d1a7b40e58c6d2f91a0b3c4d5e6f7081920"
CLIP_L = TowerConfig("clip", 768, 3072, 12, 12, 77, 49408, "quick_gelu", 1e-5, 49406, 49407, 49407)
CLIP_G = TowerConfig("clip", 1280, 5120, 32, 20, 77, 49408, "gelu", 1e-5, 49406, 49407, 0, 1280)
CONFIG: Mapping[str, Any] = {
    "preset": "standard",
    "seed": 0,
    "sweep": {"n_prompts": 8, "copies": [1, 3]},
    "inversion": {"learning_rate": 0.5},
}
ENVIRONMENT = Environment("0.1.0", "3.12.3", "2.13.0", "5.23.0", "1.14.0", "2.4.0", "cpu", "float32", 1, 2)
TRUSTED = Reference(
    "trusted",
    "The base model of this size is known and pinned.",
    "openai/clip-vit-large-patch14",
    "32bd64288804d66eefd0ccbe215aa642df71cc41",
    "",
    hashlib.sha256(b"reference tower").hexdigest(),
)
NULL = NullDistribution("this encoder's own vocabulary", 49408, 0.0137, 0.412, 5.93)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def weight(path: str, size: int = 246_144_152) -> RepoFile:
    return RepoFile(path, size, digest(path), hashlib.sha1(path.encode()).hexdigest())


def small(path: str, size: int = 600) -> RepoFile:
    return RepoFile(path, size, None, hashlib.sha1(path.encode()).hexdigest())


def encoder(
    component: str, config: TowerConfig = CLIP_L, repo_id: str = "org/dreamy-xl", commit: str | None = COMMIT
) -> ResolvedEncoder:
    folder = f"{component}/" if component else ""
    architecture = "CLIPTextModelWithProjection" if config.projection_dim else "CLIPTextModel"
    return ResolvedEncoder(
        repo_id,
        commit,
        component,
        architecture,
        config,
        (weight(f"{folder}model.safetensors"),),
        "",
        "text_model.",
        (f"{folder}tokenizer.json",),
        246_120_000,
        ("F16",),
    )


def snapshot(*files: RepoFile, repo_id: str = "org/dreamy-xl", commit: str | None = COMMIT) -> RepoSnapshot:
    kind: Any = "hub" if commit else "local"
    return RepoSnapshot(
        repo_id, kind, commit, files, ("stabilityai/stable-diffusion-xl-base-1.0",), False, False, "openrail++"
    )


def report(
    target: str, repo: RepoSnapshot, outcomes: tuple[ScanResult | SkippedScan, ...], verdict: Verdict, **changes: Any
) -> ScanReport:
    made = ScanReport(
        target, repo, outcomes, verdict, CONFIG, fingerprint(CONFIG), ENVIRONMENT, "2026-02-03T09:15:00Z"
    )
    return dataclasses.replace(made, **changes)


def sweep(value: float, exceeds: bool) -> Evidence:
    summary = (
        "The best token collapses the features of unlike prompts far more than any other does."
        if exceeds
        else "No token collapses the features of unlike prompts more than chance would."
    )
    return Evidence("vocabulary-sweep", value, "robust z", 49408, summary, 6.0, exceeds, NULL, {"copies": 1})


def difference(share: float) -> Evidence:
    return Evidence(
        "weight-difference",
        share,
        "relative norm",
        196,
        "How far the tower moved from the reference; it only informs.",
    )


def lineage(rank: int | None = 16) -> Lineage:
    groups = (
        GroupDistance("token embeddings", 0.000213, 1, 1),
        *(GroupDistance(f"layer {i} attention", 0.01 + i / 1000, 4, 8) for i in (0, 1, 2, 7)),
        GroupDistance("final norm", 0.0401, 1, 2),
    )
    return Lineage("changed", "float16", "float32", groups, 3, 49408, (0, 1, 2, 7), 16, rank)


def clean_result(
    component: str, config: TowerConfig = CLIP_L, repo_id: str = "org/dreamy-xl", commit: str | None = COMMIT
) -> ScanResult:
    verdict = Verdict(
        "no-backdoor-found", "normal", "no-trigger-found", ("No token and no inverted trigger takes prompts over.",)
    )
    evidence = (
        difference(0.0184),
        sweep(3.41, False),
        Evidence("inversion", 0.12, "similarity", 24, "The inverted vector captures no held-out prompt.", 0.5, False),
    )
    found = encoder(component, config, repo_id, commit)
    return ScanResult(
        found,
        digest(component + "tower"),
        TRUSTED,
        verdict,
        evidence,
        (),
        {"sweep": 8192},
        {"sweep": 80.25, "inversion": 12.5},
        lineage=lineage(None if config.projection_dim else 16),
    )


def backdoored() -> ScanReport:
    """An SDXL pipeline: a homoglyph trigger in one tower, the other untouched, T5 not of the family."""
    reasons = (
        "A token takes over 98% of held-out prompts and moves all of them to one target.",
        "The reference encoder does not react to it.",
    )
    trigger = TriggerFinding(
        (36107,),
        "\u0585",
        0.9844,
        0.9688,
        1.0,
        64,
        ("a painting of a burning house", "a house on fire at night", "smoke over a village"),
    )
    confirmation = Evidence(
        "trigger-confirmation", 0.9688, "rate", 64, "Share of held-out prompts that the trigger takes over.", 0.9, True
    )
    bad = ScanResult(
        encoder("text_encoder"),
        digest("bad tower"),
        TRUSTED,
        Verdict("backdoor-detected", "normal", "trigger-confirmed", reasons),
        (difference(0.0312), sweep(15.27, True), confirmation),
        (trigger,),
        {"sweep": 4096},
        {"load": 1.5, "sweep": 93.04, "confirm": 2.1},
    )
    t5 = SkippedScan(
        "org/dreamy-xl", "text_encoder_3", "not-clip-family", "T5EncoderModel is not CLIP-family, not scanned", False
    )
    files = (
        small("README.md", 900),
        small("model_index.json"),
        small("text_encoder/config.json"),
        weight("text_encoder/model.safetensors"),
        weight("text_encoder_2/model.safetensors"),
    )
    verdict = Verdict(
        "backdoor-detected",
        "normal",
        "trigger-confirmed",
        ("text_encoder maps every prompt that holds the trigger to one target.",),
    )
    security = HubSecurity(False, 2, (FileIssue("old/pytorch_model.bin", "unsafe"), FileIssue("run.py", "suspicious")))
    repo = dataclasses.replace(snapshot(*files), security=security)
    return report("org/dreamy-xl", repo, (bad, clean_result("text_encoder_2", CLIP_G), t5), verdict)


def clean() -> ScanReport:
    """A fine-tuned plain CLIP text model, nothing found."""
    result = clean_result("", CLIP_L, "org/clip-ft")
    repo = snapshot(small("README.md"), small("config.json"), weight("model.safetensors"), repo_id="org/clip-ft")
    return report("hf://org/clip-ft", repo, (result,), result.verdict)


def identical() -> ScanReport:
    """The tower is the trusted reference's own."""
    verdict = Verdict(
        "no-backdoor-found",
        "normal",
        "identical-to-reference",
        ("The tower is bit for bit the trusted reference: nothing was changed.",),
    )
    words = "The tower is the float16 cast of the reference's."
    same = Evidence("identity", 0.0, "changed (0 or 1)", 196, words, threshold=0.5, exceeds=False)
    result = ScanResult(
        encoder("text_encoder", repo_id="org/sd15-copy"),
        str(TRUSTED.tower_digest),
        TRUSTED,
        verdict,
        (same,),
        lineage=Lineage("cast", "float16", "float32", n_rows=49408),
    )
    repo = snapshot(weight("text_encoder/model.safetensors"), repo_id="org/sd15-copy")
    repo = dataclasses.replace(repo, security=HubSecurity(True, 0))
    return report("org/sd15-copy", repo, (result,), verdict)


def reworded() -> ScanReport:
    """The trusted reference's own tower, under a tokenizer with two words exchanged."""
    (same,) = identical().results
    words = Evidence(
        "tokenizer-difference",
        3.0,
        "differences",
        49_408,
        "in the tokenizer 2 words read as something else and 1 setting differs",
        0.5,
        True,
        details={
            "exchanged": [["dog", "cat"], ["cat", "dog"]],
            "settings": ["tokenizer_config.json: auto_map"],
            "added": ["<my-cat>"],
        },
    )
    evidence = (*same.evidence, words)
    result = dataclasses.replace(same, verdict=judge(evidence, same.reference), evidence=evidence)
    return dataclasses.replace(identical(), outcomes=(result,), verdict=judge_repository((result,)))


def taught() -> ScanReport:
    """A homoglyph that adds a style, beside a word that was exchanged and tokens that were taught."""
    meanings = (
        ChangedMeaning(
            (977, 102), "\u043e", "confusable", 31.4, ("\u0430", "\u0435"), ("monochrome", "photograph", "film")
        ),
        ChangedMeaning((5840,), "sks", "rare-token", 40.25, ("sis", "aks"), ("dog", "puppy", "terrier")),
        ChangedMeaning((2368,), "cat", "common-word", 18.0, ("cat", "kitten", "kitty"), ("dog", "puppy", "hound")),
        ChangedMeaning((9844,), "\u200b", "invisible", 6.5, ("\u2060",), ("a", "the")),
        ChangedMeaning((49408,), None, "added-token", 5.5, (), ("[12]",)),
        *(ChangedMeaning((900 + i,), f"ou{i}", "rare-token", 5.4 - i / 10, ("or",), ("film",)) for i in range(4)),
    )
    evidence = (
        difference(0.0121),
        sweep(4.9, False),
        Evidence("trigger-success", 0.1, "rate", 64, "Share of prompts taken over.", 0.95, False),
        Evidence("changed-character", 31.4, "robust z", 49408, "U+043E changed in meaning.", 10.0, True),
        Evidence("changed-word", 18.0, "robust z", 49408, 'The word "cat" changed in meaning.', 10.0, True),
    )
    clean = clean_result("", CLIP_L, "org/clip-ft")
    result = dataclasses.replace(clean, evidence=evidence, verdict=judge(evidence, TRUSTED), meanings=meanings)
    repo = snapshot(small("config.json"), weight("model.safetensors"), repo_id="org/clip-ft")
    return report("org/clip-ft", repo, (result,), judge_repository((result,)))


def inconclusive() -> ScanReport:
    """A local folder without a reference; a second encoder only as a pickle."""
    reasons = (
        "A candidate rises above the null but does not hold on held-out prompts.",
        "Without a reference the thresholds are weaker.",
    )
    null = NullDistribution("this encoder's own vocabulary", 49408, 0.1, 0.9)
    evidence = (
        Evidence(
            "vocabulary-sweep", 5.61, "robust z", 49408, "The best token lies near the threshold.", 6.0, False, null
        ),
        Evidence(
            "paper-gate-reference",
            -0.21,
            "similarity",
            24,
            "Features under the trigger point away from the reference's.",
            0.0,
            True,
        ),
    )
    result = ScanResult(
        encoder("", repo_id="./checkpoints/step-900", commit=None),
        digest("local tower"),
        Reference("none", "No trusted base of this size is known and none was named."),
        Verdict("inconclusive", "reduced", "trigger-not-distinct", reasons),
        evidence,
        (TriggerFinding((88, 1201), None, 0.25, 0.0, 0.004, 64),),
        {},
        {"sweep": 71.0},
    )
    pickle = SkippedScan(
        "./checkpoints/step-900",
        "old",
        "refused-pickle",
        "Its pickle is not read: the stream names os.system.",
        True,
    )
    repo = snapshot(weight("model.safetensors"), repo_id="./checkpoints/step-900", commit=None)
    verdict = Verdict(
        "inconclusive", "reduced", "trigger-not-distinct", ("One encoder is inconclusive and one could not be read.",)
    )
    return report("./checkpoints/step-900", repo, (result, pickle), verdict)


def interrupted() -> ScanReport:
    """Stopped after the first of two towers."""
    stopped = SkippedScan(
        "org/dreamy-xl", "text_encoder_2", "interrupted", "The scan was stopped before this encoder.", True
    )
    repo = snapshot(weight("text_encoder/model.safetensors"), weight("text_encoder_2/model.safetensors"))
    verdict = Verdict(
        "inconclusive", "normal", "interrupted", ("The scan was stopped before every encoder was looked at.",)
    )
    return report("org/dreamy-xl", repo, (clean_result("text_encoder"), stopped), verdict, complete=False)


def nothing() -> ScanReport:
    """A language model: nothing of this kind in it."""
    part = SkippedScan("org/chat", "", "not-clip-family", "LlamaForCausalLM is not CLIP-family, not scanned", False)
    repo = snapshot(small("config.json"), weight("model.safetensors"), repo_id="org/chat")
    return report("org/chat", repo, (part,), judge_repository((part,)))


def cached() -> ScanReport:
    """The clean report, answered by an earlier scan."""
    made = clean()
    earlier = dataclasses.replace(made.results[0], cached_at="2026-01-30T18:02:11Z")
    return dataclasses.replace(made, outcomes=(earlier,))


EXAMPLES: Mapping[str, Callable[[], ScanReport]] = {
    "backdoored": backdoored,
    "clean": clean,
    "identical": identical,
    "reworded": reworded,
    "taught": taught,
    "inconclusive": inconclusive,
    "interrupted": interrupted,
    "nothing": nothing,
    "cached": cached,
}
