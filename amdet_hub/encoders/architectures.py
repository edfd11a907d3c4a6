"""Which model classes and `model_type`s are supported text encoders, which are CLIP relatives we cannot read yet, and which are neither.

Data and one judgement on a `config.json`. Standard library only. Source: the model list of transformers 5.23 and the
class names in the `model_index.json` files of diffusers 0.42 pipelines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from amdet_hub.encoders.tower_config import FAMILY_OF_MODEL_TYPE

TEXT_CLASSES = (
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "CLIPModel",
    "SiglipTextModel",
    "SiglipModel",
    "Siglip2TextModel",
    "Siglip2Model",
    "CLIPSegModel",
    "CLIPSegTextModel",
    "CLIPSegForImageSegmentation",
    "XCLIPModel",
    "XCLIPTextModel",
    "OwlViTModel",
    "OwlViTTextModel",
    "OwlViTForObjectDetection",
    "Owlv2Model",
    "Owlv2TextModel",
    "Owlv2ForObjectDetection",
)
"""Classes whose text tower can be scanned."""

CHINESE_CLIP = (
    "Chinese-CLIP, whose text tower is a BERT: bidirectional and pooled at its first token, for which there is no"
    " detector here"
)
ALT_CLIP = (
    "AltCLIP, whose text tower is an XLM-RoBERTa: bidirectional and pooled at its first token, for which there is no"
    " detector here"
)
METACLIP_2 = (
    "MetaCLIP 2, which pools at the first token of id 2 and has XLM-V's vocabulary of 901,629 pieces, neither of which"
    " is read here"
)

UNSUPPORTED_CLASSES: Mapping[str, str] = {
    "ChineseCLIPModel": CHINESE_CLIP,
    "ChineseCLIPTextModel": CHINESE_CLIP,
    "AltCLIPModel": ALT_CLIP,
    "AltCLIPTextModel": ALT_CLIP,
    "RobertaSeriesModelWithTransformation": "AltDiffusion's XLM-RoBERTa text tower",
    "MultilingualCLIP": "Multilingual CLIP (an XLM-RoBERTa text tower)",
    "ContextCLIPTextModel": "BLIP-Diffusion's text tower",
    "MetaClip2Model": METACLIP_2,
    "MetaClip2TextModel": METACLIP_2,
    "MetaClip2TextModelWithProjection": METACLIP_2,
    "GroupViTModel": "GroupViT",
    "FlavaModel": "FLAVA",
    "AlignModel": "ALIGN",
    "ClapModel": "CLAP (audio)",
    "BlipModel": "BLIP",
    "Blip2Model": "BLIP-2",
}
"""Contrastive image-text relatives whose text tower may be backdoored and is not readable here; they block an acquittal."""

_UNSUPPORTED_TYPES: Mapping[str, str] = {
    "chinese_clip": CHINESE_CLIP,
    "chinese_clip_text_model": CHINESE_CLIP,
    "altclip": ALT_CLIP,
    "altclip_text_model": ALT_CLIP,
    "metaclip_2": METACLIP_2,
    "metaclip_2_text_model": METACLIP_2,
    "groupvit": "GroupViT",
    "flava": "FLAVA",
    "align": "ALIGN",
    "clap": "CLAP (audio)",
    "blip": "BLIP",
    "blip-2": "BLIP-2",
}
_NO_TEXT = ("VisionModel", "VisionModelWithProjection", "ForImageClassification")
_CLASS_OF_TYPE = {
    "clip": "CLIPModel",
    "clip_text_model": "CLIPTextModel",
    "siglip": "SiglipModel",
    "siglip_text_model": "SiglipTextModel",
    "siglip2": "Siglip2Model",
    "siglip2_text_model": "Siglip2TextModel",
    "clipseg": "CLIPSegModel",
    "clipseg_text_model": "CLIPSegTextModel",
    "xclip": "XCLIPModel",
    "xclip_text_model": "XCLIPTextModel",
    "owlvit": "OwlViTModel",
    "owlvit_text_model": "OwlViTTextModel",
    "owlv2": "Owlv2Model",
    "owlv2_text_model": "Owlv2TextModel",
}
ADAPTER_WEIGHTS = "adapter_model."

Judgement = Literal["supported", "unsupported", "other"]


def judge_config(data: Mapping[str, Any], declared_class: str | None) -> tuple[str, Judgement, str]:
    """What a `config.json` describes.

    Args:
        data: the parsed file.
        declared_class: the class a pipeline's `model_index.json` names, which then decides how the file is loaded.

    Returns:
        A class name for people; the judgement; and, unless it is "supported", one phrase that says why.
    """
    model_type = _text(data.get("model_type"))
    listed = data.get("architectures")
    class_name = declared_class or (_text(listed[0]) if isinstance(listed, list) and listed else "")
    if (why := UNSUPPORTED_CLASSES.get(class_name) or _UNSUPPORTED_TYPES.get(model_type)) is not None:
        return class_name or model_type, "unsupported", f"not supported: {why}"
    if class_name.endswith(_NO_TEXT):
        return class_name, "other", f"{class_name} has no text encoder"
    if class_name not in TEXT_CLASSES and (class_name or model_type not in FAMILY_OF_MODEL_TYPE):
        named = class_name or model_type
        if model_type in FAMILY_OF_MODEL_TYPE:
            return named, "unsupported", f"{named} with a {model_type} configuration, not supported"
        return (
            named,
            "other",
            f"{named} is not CLIP-family, not scanned" if named else "a config.json that names no model",
        )
    if model_type and model_type not in FAMILY_OF_MODEL_TYPE:
        return class_name, "unsupported", f"{class_name} with a {model_type} configuration, not supported"
    if any(
        isinstance(part, Mapping) and part.get("quantization_config") is not None
        for part in (data, data.get("text_config"))
    ):
        return class_name or model_type, "unsupported", "weights are quantised (quantization_config), not supported"
    return class_name or _CLASS_OF_TYPE[model_type], "supported", ""


def _text(value: Any) -> str:
    return value[:80] if isinstance(value, str) else ""
