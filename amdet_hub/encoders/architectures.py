"""The model classes and `model_type`s of supported text encoders, and of CLIP relatives that cannot be read yet.

Data and one classification of a `config.json`. Standard library only. Source: the model list of transformers 5.23 and
the class names in the `model_index.json` files of diffusers 0.42 pipelines.
"""

from collections.abc import Mapping
from typing import Any

from amdet_hub.encoders.tower_config import FAMILY_OF_MODEL_TYPE
from amdet_hub.records import SkipReason

_CLASS_PREFIX = {
    "clip": "CLIP",
    "siglip": "Siglip",
    "siglip2": "Siglip2",
    "clipseg": "CLIPSeg",
    "xclip": "XCLIP",
    "owlvit": "OwlViT",
    "owlv2": "Owlv2",
}
_CLASS_OF_TYPE: Mapping[str, str] = {
    **{kind: f"{prefix}Model" for kind, prefix in _CLASS_PREFIX.items()},
    **{f"{kind}_text_model": f"{prefix}TextModel" for kind, prefix in _CLASS_PREFIX.items()},
}
# Classes whose text tower can be scanned -> the `model_type` of their configuration.
TYPE_OF_CLASS: Mapping[str, str] = {
    **{class_name: model_type for model_type, class_name in _CLASS_OF_TYPE.items()},
    "CLIPTextModelWithProjection": "clip_text_model",
    "CLIPSegForImageSegmentation": "clipseg",
    "OwlViTForObjectDetection": "owlvit",
    "Owlv2ForObjectDetection": "owlv2",
}
TEXT_CLASSES = tuple(TYPE_OF_CLASS)

_BERT_LIKE = "bidirectional and pooled at its first token, for which there is no detector here"
_UNSUPPORTED = {
    f"Chinese-CLIP, whose text tower is a BERT: {_BERT_LIKE}": (
        "ChineseCLIPModel ChineseCLIPTextModel chinese_clip chinese_clip_text_model"
    ),
    f"AltCLIP, whose text tower is an XLM-RoBERTa: {_BERT_LIKE}": (
        "AltCLIPModel AltCLIPTextModel altclip altclip_text_model"
    ),
    "MetaCLIP 2, which pools at the first token of id 2 and has XLM-V's vocabulary of 901,629 pieces, neither of which"
    " is read here": (
        "MetaClip2Model MetaClip2TextModel MetaClip2TextModelWithProjection metaclip_2 metaclip_2_text_model"
    ),
    "AltDiffusion's XLM-RoBERTa text tower": "RobertaSeriesModelWithTransformation",
    "Multilingual CLIP (an XLM-RoBERTa text tower)": "MultilingualCLIP",
    "BLIP-Diffusion's text tower": "ContextCLIPTextModel",
    "GroupViT": "GroupViTModel groupvit",
    "FLAVA": "FlavaModel flava",
    "ALIGN": "AlignModel align",
    "CLAP (audio)": "ClapModel clap",
    "BLIP": "BlipModel blip",
    "BLIP-2": "Blip2Model blip-2",
}
# Classes and `model_type`s of contrastive image-text relatives -> their kind. Their text tower may be backdoored and
# is not readable here, which keeps a repository from being cleared.
UNSUPPORTED: Mapping[str, str] = {name: kind for kind, names in _UNSUPPORTED.items() for name in names.split()}
_NO_TEXT = ("VisionModel", "VisionModelWithProjection", "ForImageClassification")
ADAPTER_WEIGHTS = "adapter_model."


def classify_config(data: Mapping[str, Any], declared_class: str | None) -> tuple[str, SkipReason | None, str]:
    """The text encoder that a `config.json` describes, by name.

    Args:
        data: the parsed file.
        declared_class: the class a pipeline's `model_index.json` names, which then decides how the file is loaded.

    Returns:
        A class name for people; None, or why it cannot be scanned: `unsupported-architecture`, or `not-clip-family`
        where it is no text encoder of this kind; and one phrase that says so.
    """
    model_type = _text(data.get("model_type"))
    listed = data.get("architectures")
    class_name = declared_class or (_text(listed[0]) if isinstance(listed, list) and listed else "")
    named = class_name or model_type
    known_type = model_type in FAMILY_OF_MODEL_TYPE
    if (why := UNSUPPORTED.get(class_name) or UNSUPPORTED.get(model_type)) is not None:
        return named, "unsupported-architecture", f"not supported: {why}"
    if class_name.endswith(_NO_TEXT):
        return named, "not-clip-family", f"{class_name} has no text encoder"
    if class_name not in TEXT_CLASSES and not known_type:
        return (
            named,
            "not-clip-family",
            f"{named} is not CLIP-family, not scanned" if named else "a config.json that names no model",
        )
    own_type = TYPE_OF_CLASS.get(class_name, model_type)  # a text class reads the configuration of both towers too
    if class_name not in ("", *TEXT_CLASSES) or model_type not in ("", own_type, own_type.removesuffix("_text_model")):
        return named, "unsupported-architecture", f"{named} with a {model_type} configuration, not supported"
    parts = (part for part in (data, data.get("text_config")) if isinstance(part, Mapping))
    if any(part.get("quantization_config") is not None for part in parts):
        return named, "unsupported-architecture", "weights are quantised (quantization_config), not supported"
    return class_name or _CLASS_OF_TYPE[model_type], None, ""


def _text(value: Any) -> str:
    return value[:80] if isinstance(value, str) else ""
