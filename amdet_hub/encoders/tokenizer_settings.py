"""How a tokenizer's files have text processed: which of their settings differ from a reference's or a family's.

Settings are compared as JSON, and none is ever run. A setting is the same where the reference has it too, where it is
one of the forms in which the family's own tokenizers are published, or where it changes no id. Every other one is
named, one that is unknown here among them.

Sources: transformers 5.23 and 4.57 `CLIPConverter`, `CLIPTokenizer`, `Siglip2Tokenizer`; the keys that
`save_pretrained` of both writes into `tokenizer_config.json`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from amdet_hub.encoders.strict_json import read_json_object
from amdet_hub.encoders.tokenizer import CLIP_SPLIT, END_OF_TEXT, END_OF_WORD, START_OF_TEXT, SpecialIds
from amdet_hub.encoders.tokenizer_files import CONFIG, EXTRA_TOKENS, ROLES, TokenizerFacts, VocabularyForm, content_of
from amdet_hub.encoders.weight_files import join
from amdet_hub.records import Family, RepoSource, TowerConfig

# They say where a token lies in the text, or how text is made of ids.
_INFORMING = ("trim_offsets", "use_regex")
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False}
_OPTIONAL_SPECIALS = f"{START_OF_TEXT}|{END_OF_TEXT}|".replace("|>", r"\|>").replace("<|", r"<\|")
_SPLITS = (CLIP_SPLIT, CLIP_SPLIT.removeprefix(_OPTIONAL_SPECIALS))
_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_KNOWN_SETTINGS: Mapping[Family, Mapping[str, tuple[Any, ...]]] = {
    "clip": {
        "normalizer": (
            {
                "type": "Sequence",
                "normalizers": [
                    {"type": "NFC"},
                    {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
                    {"type": "Lowercase"},
                ],
            },
        ),
        "pre_tokenizer": tuple(
            {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": split}, "behavior": "Removed", "invert": True},
                    _BYTE_LEVEL,
                ],
            }
            for split in _SPLITS
        ),
    },
    "siglip": {
        "normalizer": (_SPACES, {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, _SPACES]}),
        "pre_tokenizer": (
            {
                "type": "Split",
                "pattern": {"String": " "},
                "behavior": "MergedWithPrevious",
                "invert": False,
            },
        ),
    },
}
_KNOWN_MODEL: Mapping[Family, Mapping[str, tuple[Any, ...]]] = {
    "clip": {
        "unk_token": (END_OF_TEXT, None),
        "end_of_word_suffix": (END_OF_WORD,),
        "continuing_subword_prefix": ("", None),
        "byte_fallback": (False, None),
    },
    "siglip": {"unk_token": ("<unk>",), "fuse_unk": (True,), "byte_fallback": (True,)},
}
_ANY_MODEL: Mapping[str, tuple[Any, ...]] = {
    "dropout": (None, 0, 0.0),
    "fuse_unk": (False, None),
    "ignore_merges": (False, None),
}
_VOCABULARY = ("vocab", "merges", "type")
# Settings that are looked at where a file leaves them out, too; and parts of the file that are none.
_ALWAYS = ("normalizer", "pre_tokenizer", "post_processor")
_NO_SETTINGS = ("version", "added_tokens", "decoder")
# Keys of `tokenizer_config.json` that no id depends on, or that are read with the tokens.
_INERT_OPTIONS = (
    "added_tokens_decoder",
    *EXTRA_TOKENS,
    *("backend", "chat_template", "clean_up_tokenization_spaces", "errors", "from_slow", "is_local", "legacy"),
    *("local_files_only", "model_input_names", "name_or_path", "pad_to_multiple_of", "pad_token_type_id"),
    *("padding_side", "processor_class", "spaces_between_special_tokens", "special_tokens_map_file", "use_fast"),
    *("truncation_strategy", "tokenizer_file", "return_token_type_ids", "use_default_system_prompt"),
)
_KNOWN_OPTIONS: Mapping[str, tuple[Any, ...]] = {
    "add_prefix_space": (False,),
    "do_lower_case": (True,),
    "sp_model_kwargs": ({},),
    "split_special_tokens": (False,),
    "stride": (0,),
    "truncation_side": ("right",),
}
_KNOWN_CLASSES: Mapping[Family, tuple[str, ...]] = {
    "clip": ("CLIPTokenizer", "CLIPTokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"),
    "siglip": (
        "SiglipTokenizer",
        "Siglip2Tokenizer",
        "GemmaTokenizer",
        "GemmaTokenizerFast",
        "T5Tokenizer",
        "T5TokenizerFast",
    ),
}
# The padding of SDXL's second tokenizer and of Stable Diffusion 2's is "!", id 0, as OpenCLIP pads.
_KNOWN_ROLES: Mapping[Family, Mapping[str, tuple[str, ...]]] = {
    "clip": {
        "bos_token": (START_OF_TEXT,),
        "eos_token": (END_OF_TEXT,),
        "unk_token": (END_OF_TEXT,),
        "pad_token": (END_OF_TEXT, "!"),
    },
    "siglip": {
        "bos_token": ("<bos>",),
        "eos_token": ("</s>", "<eos>"),
        "unk_token": ("<unk>",),
        "pad_token": ("</s>", "<pad>"),
        "mask_token": ("<mask>",),
    },
}
_OPENCLIP_PADDING = 0
_TEXT = "text"


def differing_settings(
    form: VocabularyForm, reference: VocabularyForm | None, config: TowerConfig, special: SpecialIds
) -> Iterator[str]:
    """The names of the settings of a `tokenizer.json` that are neither the reference's nor harmless."""
    if not form.settings:
        return
    theirs: Mapping[str, Any] = reference.settings if reference is not None else {}
    for key in dict.fromkeys((*_ALWAYS, *form.settings)):
        value = _plain(form.settings.get(key))
        same = bool(theirs) and value == _plain(theirs.get(key))
        if key == "post_processor" and theirs:
            same = _frame(value) is not None and _frame(value) == _frame(_plain(theirs.get(key)))
        if key not in _NO_SETTINGS and not same and not _harmless(key, value, config, special):
            yield key
    options = reference.model if reference is not None else {}
    known = {**_ANY_MODEL, **_KNOWN_MODEL[config.family]}
    for key, value in form.model.items():
        if key in _VOCABULARY or (key in options and options[key] == value):
            continue
        if not any(value is one or (value == one and type(value) is type(one)) for one in known.get(key, ())):
            yield f"model.{key}"


def _harmless(key: str, value: Any, config: TowerConfig, special: SpecialIds) -> bool:
    if key == "post_processor":
        return _frame(value) == special[:2]
    if key == "truncation":
        return value is None or (
            isinstance(value, dict)
            and _long_enough(value.get("max_length"), config)
            and value.get("direction", "Right") == "Right"
        )
    if key == "padding":
        pads = (special[2], _OPENCLIP_PADDING) if config.family == "clip" else special[2:]
        return value is None or (isinstance(value, dict) and value.get("pad_id") in pads)
    return value in _KNOWN_SETTINGS[config.family].get(key, ())


def differing_options(facts: TokenizerFacts, reference: TokenizerFacts | None, config: TowerConfig) -> Iterator[str]:
    """The keys of the small files beside a vocabulary whose values are neither the reference's nor harmless."""
    theirs: Mapping[str, tuple[Any, ...]] = reference.options if reference is not None else {}
    for key, values in facts.options.items():
        if key in _INERT_OPTIONS:
            continue
        same = [content_of(value) for value in theirs.get(key, ())]
        if any(content_of(v) not in same and not _harmless_option(key, v, facts, config) for v in values):
            yield f"{CONFIG}: {key}"


def _harmless_option(key: str, value: Any, facts: TokenizerFacts, config: TowerConfig) -> bool:
    if key in ROLES:
        return value is None or content_of(value) in _KNOWN_ROLES[config.family].get(key, ())
    if key in ("model_max_length", "max_length"):
        return value is None or _long_enough(value, config)
    if key == "tokenizer_class":
        return value in _KNOWN_CLASSES[config.family]
    if key == "fast_tokenizer_files":  # a loader picks one by its version: each that is listed here is compared
        return isinstance(value, list) and all(name in facts.names for name in value)
    return value is None or value in _KNOWN_OPTIONS.get(key, ())


def foreign_classes(source: RepoSource, folder: str, family: Family) -> Iterator[str]:
    """The entries beside a tokenizer's folder by which a loader takes a class that is not the family's.

    Sources: transformers 5.23 `AutoTokenizer.from_pretrained` (`config.json`), diffusers 0.42 `model_index.json`.

    Raises: BadRepository; HubError.
    """
    known = _KNOWN_CLASSES[family]
    if source.snapshot.file(beside := join(folder, "config.json")) is not None:
        data = read_json_object(source, beside)
        if data.get("tokenizer_class") not in (None, *known):
            yield "config.json: tokenizer_class"
        if isinstance(data.get("auto_map"), dict) and "AutoTokenizer" in data["auto_map"]:
            yield "config.json: auto_map"
    root, _, component = folder.rpartition("/")
    if source.snapshot.file(index := join(root, "model_index.json")) is not None:
        entry = read_json_object(source, index).get(component)
        if component.startswith("tokenizer") and entry not in (None, *(["transformers", name] for name in known)):
            yield "model_index.json: tokenizer"


def literal_replacements(value: Any) -> Iterator[tuple[str, str]]:
    """(pattern, content) of each replacement that a normaliser or pre-tokeniser asks for."""
    if isinstance(value, dict):
        pattern, content = value.get("pattern"), value.get("content")
        if isinstance(pattern, dict) and isinstance(content, str):
            yield from ((str(text), content) for text in pattern.values())
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from literal_replacements(part)


def _frame(processor: Any) -> tuple[Any, Any] | None:
    """`(bos, eos)` that a post-processor puts around a text, None for no token; None where it cannot be told."""
    if processor is None:
        return None, None
    if not isinstance(processor, dict):
        return None
    if processor.get("type") in ("RobertaProcessing", "BertProcessing"):
        pairs = processor.get("cls"), processor.get("sep")
        bos, eos = (pair[1] if isinstance(pair, list) and len(pair) == 2 else -1 for pair in pairs)
        return bos, eos
    steps, table = processor.get("single"), processor.get("special_tokens")
    if processor.get("type") != "TemplateProcessing" or not isinstance(steps, list) or not isinstance(table, dict):
        return None
    around = [_template_step(step, table) for step in steps]
    if around.count(_TEXT) != 1 or len(around) > 3:
        return None
    before, after = around[: around.index(_TEXT)], around[around.index(_TEXT) + 1 :]
    return (before[0] if before else None, after[0] if after else None) if max(len(before), len(after)) < 2 else None


def _template_step(step: Any, table: Mapping[str, Any]) -> Any:
    """`_TEXT` for the text, or the id of a special token; -1 for anything else."""
    if not isinstance(step, dict) or "Sequence" in step:
        return _TEXT if isinstance(step, dict) else -1
    token = step.get("SpecialToken")
    entry = table.get(token["id"]) if isinstance(token, dict) and isinstance(token.get("id"), str) else None
    ids = entry.get("ids") if isinstance(entry, dict) else None
    return ids[0] if isinstance(ids, list) and len(ids) == 1 else -1


def _long_enough(length: Any, config: TowerConfig) -> bool:
    number = isinstance(length, int | float) and not isinstance(length, bool)
    return number and length >= config.max_position_embeddings


def _plain(value: Any) -> Any:
    """JSON without what says nothing: keys that are null, and those that inform only."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None and k not in _INFORMING}
    return [_plain(v) for v in value] if isinstance(value, list) else value
