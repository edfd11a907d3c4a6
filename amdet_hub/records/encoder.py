"""Text encoders of a repository, and the clean encoder that one is held against."""

from dataclasses import dataclass, field

from amdet_hub.records.repository import RepoFile
from amdet_hub.records.words import LATER, AdapterNaming, Family, KeyLayout, ReferenceTrust


@dataclass(frozen=True)
class TowerConfig:
    """The allow-listed, range-checked facts of a text tower's config; everything else in a `config.json` is ignored.

    `projection_dim` is None when the checkpoint stores no text projection. `eos_token_id` 2 is CLIP's legacy value and
    means "the position of the largest id" (Source: transformers `CLIPTextModel` pooling). SigLIP pools the last
    position.
    """

    family: Family
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    vocab_size: int
    hidden_act: str
    layer_norm_eps: float
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int
    projection_dim: int | None = None

    @property
    def causal(self) -> bool:
        """Whether a position sees only itself and earlier ones."""
        return self.family == "clip"

    @property
    def dims(self) -> str:
        """Short human form, e.g. `"12 x 768, 77 positions, 49,408 tokens"`."""
        return (
            f"{self.num_hidden_layers} x {self.hidden_size}, {self.max_position_embeddings} positions,"
            f" {self.vocab_size:,} tokens"
        )


@dataclass(frozen=True)
class Adapter:
    """A LoRA on a text tower: a matrix `W` becomes `W + scale * up @ down`, in float32.

    What is scanned is the merged tower.

    Attributes:
        naming: whose tensor names the file uses.
        prefix: what precedes the module names in the file (`"lora_te1_"`, `"text_encoder."`).
        rank: the largest rank of its matrices.
        n_matrices: how many matrices of the tower it changes.
        scale: what `adapter_config.json` multiplies with; None where each matrix has its own alpha in the file, or
            none (then 1).
        base_repo_id: repository or path of the tower it was merged onto.
        base_commit_sha: its commit, 40 hex digits; None for local folders.
        base_component: its component there.
    """

    naming: AdapterNaming
    prefix: str
    rank: int
    n_matrices: int
    scale: float | None
    base_repo_id: str
    base_commit_sha: str | None
    base_component: str = ""


@dataclass(frozen=True)
class ResolvedEncoder:
    """One text encoder of a pinned repository, located but not loaded.

    Attributes:
        repo_id: repository or local path.
        commit_sha: 40 hex digits, None for local folders.
        component: `""` for a plain model, else the pipeline component (`"text_encoder_2"`), the subfolder, or the file
            name.
        architecture: class name found (`"CLIPTextModelWithProjection"`), for people.
        config: the checked tower facts.
        weight_files: the safetensors files holding the tower, in shard order; all variants of a component are separate
            encoders.
        variant: `""` or e.g. `"fp16"`.
        prefix: what precedes the canonical tensor names in the files (`"text_model."`), `""` if nothing.
        tokenizer_files: paths of all files that a loader makes a tokenizer from; the vocabulary that is read first.
        tower_bytes: bytes of the tower's tensors as stored.
        dtypes: the stored dtypes of the tower, sorted, e.g. `("F16",)`.
        key_layout: how the files name and cut the tensors (`amdet_hub.encoders.key_layouts`).
        adapter: set when `weight_files` are a LoRA; config, prefix and key layout are then those of the base.
    """

    repo_id: str
    commit_sha: str | None
    component: str
    architecture: str
    config: TowerConfig
    weight_files: tuple[RepoFile, ...]
    variant: str = ""
    prefix: str = ""
    tokenizer_files: tuple[str, ...] = ()
    tower_bytes: int = 0
    dtypes: tuple[str, ...] = ()
    key_layout: KeyLayout = field(default="transformers", metadata=LATER)
    adapter: Adapter | None = field(default=None, metadata=LATER)

    @property
    def label(self) -> str:
        """How people call it: `"text_encoder_2 (fp16)"`, or `"text encoder"` for a plain model."""
        name = self.component or "text encoder"
        return f"{name} ({self.variant})" if self.variant else name


@dataclass(frozen=True)
class Reference:
    """The clean encoder the suspect is compared with (the paper's "anchor").

    `trust`: "trusted" = a row of `families.py`, pinned revision and sha256; "user" = `--reference`; "declared" = the
    suspect's own `base_model` metadata, which its author controls; "none" = no reference, lower confidence. `note`
    says why in one sentence.
    """

    trust: ReferenceTrust
    note: str
    repo_id: str | None = None
    commit_sha: str | None = None
    component: str = ""
    tower_digest: str | None = None
