"""Words and types that several records share."""

from collections.abc import Callable, Mapping
from typing import Literal

# Version of the JSON report. The major number changes when a reader of the old form would misread the new one.
SCHEMA_VERSION = "1.1"

RepoKind = Literal["hub", "local"]
Family = Literal["clip", "siglip"]
ReferenceTrust = Literal["trusted", "user", "declared", "none"]
VerdictLabel = Literal["backdoor-detected", "no-backdoor-found", "inconclusive", "nothing-to-scan"]
Confidence = Literal["normal", "reduced"]
# What consumers read of a text tower: the last layer's feature at the pooled position, the same projected and of unit
# length, and the state before the last layer. The others are the pooled feature where a trigger works at one place
# alone, or gives its target a part of every prompt.
ReadOut = Literal["pooled", "projected", "penultimate", "start", "middle", "end", "residual"]
READ_OUT_WORDS: Mapping[ReadOut, str] = {
    "pooled": "the pooled feature",
    "projected": "the projected feature",
    "penultimate": "the layer before the last (SDXL, clip skip 2)",
    "start": "the start of a prompt only",
    "middle": "the middle of a prompt only",
    "end": "the end of a prompt only",
    "residual": "a part of every prompt",
}
# Of a token whose meaning changed: a character that is not seen, one that looks like an ordinary letter, a word that
# people write often, any other entry of the vocabulary, an entry that the reference's vocabulary does not have.
TokenClass = Literal["invisible", "confusable", "common-word", "rare-token", "added-token"]
KeyLayout = Literal["transformers", "openclip", "longclip"]
AdapterNaming = Literal["kohya", "diffusers", "peft"]
# Called as `progress(stage, done, total)`; `done` counts up to `total` in units of the stage's own work.
ProgressCallback = Callable[[str, int, int], None]

# Metadata of a field that came after version 1.0 of the report: a report without it reads as the default.
LATER: Mapping[str, bool] = {"later": True}
