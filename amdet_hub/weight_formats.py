"""The format of a file's weights by its name, and which files make a tokenizer. Standard library only.

Loaders go by the ending, and so does this: two formats are read, documents hold no weights, and anything else of some
size may hold a tower that cannot be looked at.

Source: the file names that transformers 5.23, diffusers 0.42, open_clip 3.3, ComfyUI and AUTOMATIC1111's web UI load.
"""

import re
from typing import Literal

Format = Literal["safetensors", "pickle", "unknown", "document"]

SAFETENSORS = (".safetensors", ".sft")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# What says in which of several files each tensor lies.
INDEXES = (".safetensors.index.json", ".bin.index.json")
# Without an ending that tells, a file below this holds no text tower: the smallest published one has 40 MB.
SMALLEST_WEIGHTS_BYTES = 64 << 10

_WEIGHTS_OF_OTHERS = re.compile(
    r".*\.(?:gguf|ggml|onnx|onnx_data|msgpack|h5|hdf5|keras|npz|npy|tflite|mlmodel|pb|pdparams|params|engine|plan|ptl|pte)"
)
_DOCUMENT = re.compile(
    r"(?:.*\.(?:json|jsonl|txt|md|rst|py|pyi|sh|js|css|html|yaml|yml|toml|cfg|ini|csv|tsv|log|diff|ipynb|pdf|tex|bib"
    r"|jinja|model|spm|vocab|merges|lock|png|jpg|jpeg|gif|webp|bmp|svg|ico|tif|tiff|mp4|webm|mov|mp3|wav|flac|ogg|xml"
    r"|parquet|arrow|ttf|otf)|events\.out\.tfevents\..*)"
)
# What trainers write beside a checkpoint. Loaders that take any file of their format take these too, so that they are
# read where they can be.
_TRAINER_STATE = re.compile(
    r"(?:training_args|optimizer|scheduler|rng_state.*|scaler|trainer_state|random_states.*)\..*"
)

# All that loaders make a tokenizer from; see `amdet_hub.encoders.tokenizer_files`.
_TOKENIZER = re.compile(
    r"tokenizer(?:\..+)?\.json|vocab\.json|merges\.txt|(?:tokenizer_config|special_tokens_map|added_tokens)\.json"
    r"|(?:spiece|tokenizer|sentencepiece\.bpe)\.model"
)


def weight_format(path: str, size_bytes: int) -> Format:
    """The format in which loaders would read a file of this name, in any case of its letters.

    "unknown" is a format that is not read here, or none that is known in a file of 64 KiB and more; a "document" holds
    no weights.
    """
    name = path.rpartition("/")[2].lower()
    if name.endswith(SAFETENSORS):
        return "safetensors"
    if name.endswith(PICKLES):
        return "pickle"
    if _WEIGHTS_OF_OTHERS.fullmatch(name):
        return "unknown"
    return "document" if _DOCUMENT.fullmatch(name) or size_bytes < SMALLEST_WEIGHTS_BYTES else "unknown"


def is_read(path: str) -> bool:
    """Whether a file of this name is looked into: one that can be named as a target of its own."""
    return weight_format(path, 0) in ("safetensors", "pickle")


def is_trainer_state(path: str) -> bool:
    """Whether a file is named as trainers name the state of theirs (`training_args.bin`, `optimizer.pt`)."""
    return _TRAINER_STATE.fullmatch(path.rpartition("/")[2].lower()) is not None


def is_tokenizer_file(path: str) -> bool:
    """Whether a file of this name is one that loaders make a tokenizer from."""
    return _TOKENIZER.fullmatch(path.rpartition("/")[2]) is not None
