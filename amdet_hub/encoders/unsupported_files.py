"""The content of a weight file without a text tower that can be scanned, by its tensor names or its own name alone.

Standard library only.

A textual inversion is vectors of new words for a text encoder that lies elsewhere. Such a word acts where somebody
types it and changes nothing else, so it is no hidden trigger of the encoder. Its author trained it to change prompts:
a word may rightly take a prompt over. Telling a poisoned word from a strong one needs thresholds set on many real
ones, which have not been set; therefore it is named and not scanned.

Source: the key prefixes of diffusers 0.42 `loaders/single_file_utils.py`, kohya's and PEFT's LoRA names, open_clip
3.3; diffusers 0.42 `loaders/textual_inversion.py` (one key, or `string_to_param`), AUTOMATIC1111's `emb_params`,
SDXL's `clip_l` and `clip_g`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from amdet_hub.records import TensorInfo

# Vectors of one word; real ones have 1 to 75, what fits a prompt.
MAX_VECTORS = 256
MAX_WORDS = 16

_INVERSION = re.compile(r"emb_params|clip_l|clip_g|t5xxl|string_to_param(?:\.\*)?|\*|<.*>", re.DOTALL)
# Pattern at the start of a tensor name, and what it shows. The first that fits decides.
_TEXT_PARTS = {
    r"lora_te\d?_|(?:.*\.)?text_(?:encoder|model).*lora": "LoRA weights for a text encoder",
    r"(?:cond_stage_model|conditioner\.embedders|text_encoders)\."
    r"(?!(?:u?m?t5|llama|qwen|gemma|mistral)[^.]*\.|.*logit_scale)": ("a text encoder in a single-file checkpoint"),
    r"(?:text\.|.*\.)?token_embedding\.weight|positional_embedding": "a text tower in OpenCLIP layout",
    r".*text_model\.": "a text tower under an unknown prefix",
    r".*(?:text_projection|token_embedding)": "parts of a text tower",
    r"(?:.*\.)?text_encoder\.(?:embedding_layer|transformer)\.": "a text tower in MobileCLIP's own layout",
}
# Beside a text tower, what looks like the parts of a second one, after anything: transformers strips a model's prefix
# with the character behind it, whatever that is, and diffusers and open_clip strip a prefix wherever it stands.
# Source: transformers 5.23 `rename_source_key`; diffusers 0.42 `convert_ldm_clip_checkpoint`; open_clip 3.3
# `convert_mobile_clip_state_dict`. Image towers and video encoders are built alike.
_LIKE_A_TOWER = re.compile(
    r".*(?:encoder\.layers\.\d+\.(?:self_attn|mlp|layer_norm\d)\.|resblocks\.\d+\."
    r"|embeddings\.(?:token|position|word)_embedding|embedding_layer\.|token_embedding|positional_embedding"
    r"|text_projection|final_layer_norm\.|ln_final\.).*"
    r"|.*((?:cond_stage_model|conditioner\.embedders\.0|text_encoders\.clip_[lg])\.transformer\.|text_encoder\.).*\1.*"
)
# A place that a loader tells from every other one of its kind.
_OWN_PLACE = re.compile(r"(conditioner\.embedders|text_encoders)\.[^.]+\.")
_NO_TEXT_TOWER = re.compile(r"(?:.*\.)?(?:vision_model|visual|vision|image\w*|mit|prompts_generator|\w*t5\w*)\..*")


def describe_text_parts(names: Iterable[str]) -> str:
    """Which part of a text encoder the tensor names of a file show, "" where none; it may hide a backdoored one."""
    names = list(names)
    kinds = (kind for pattern, kind in _TEXT_PARTS.items() if any(re.match(pattern, name) for name in names))
    return next((f"{kind}, not supported" for kind in kinds), "")


def left_over(names: Iterable[str]) -> str:
    """The first of these names that looks like a part of a text tower, "" where none does."""
    return next((n for n in names if _LIKE_A_TOWER.fullmatch(n) and not _NO_TEXT_TOWER.fullmatch(n)), "")


def mixed_places(prefixes: Sequence[str], names: Iterable[str]) -> str:
    """Why a loader mixes the text towers of a file, whose prefixes these are, "" where none does.

    Only the numbered places of Stable Diffusion XL and the named ones of 3 hold several. diffusers, transformers,
    open_clip and ComfyUI rename other towers to the same names, in which the later tensor or the earlier one wins.
    """
    places = [_OWN_PLACE.match(prefix) for prefix in prefixes]
    own = {place[0]: place[1] for place in places if place is not None}
    if len(prefixes) > 1 and (len(own) < len(prefixes) or len(set(own.values())) > 1):
        return f"text towers under '{prefixes[0][:60]}' and '{prefixes[1][:60]}', which loaders mix"
    cut = [name for name in names if not name.startswith("module.")]
    if cut and any(prefix.startswith("module") for prefix in prefixes):
        return f"'{cut[0][:120]}' beside 'module.', of which open_clip cuts seven characters each"
    return ""


def describe_inversion(tensors: Mapping[str, TensorInfo]) -> str | None:
    """The words that a textual inversion file adds, as a phrase; None where the file is something else."""
    known = len(tensors) == 1 or all(_INVERSION.fullmatch(name) for name in tensors)
    if not known or not 1 <= len(tensors) <= MAX_WORDS:
        return None
    shapes = {name: (1, *info.shape) if len(info.shape) == 1 else info.shape for name, info in tensors.items()}
    if not all(len(s) == 2 and 1 <= s[0] <= MAX_VECTORS and 16 <= s[1] <= 16_384 for s in shapes.values()):
        return None
    words = (
        f"'{name[:40]}' ({n} vector{'s' if n > 1 else ''} of width {width})" for name, (n, width) in shapes.items()
    )
    return (
        f"a textual inversion embedding, {', '.join(words)}: it adds a word to a text encoder that lies elsewhere and"
        " changes no weights; how strong such a word may be has not been calibrated, so it is not scanned"
    )
