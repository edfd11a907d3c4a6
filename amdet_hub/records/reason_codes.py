"""Every reason code, with its sentence and the next step. Prose is rendered from this table, never compared with.

A code is stable: reports, SARIF rules, error messages and the reference pages name it. A new reason is a new row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

# Why a part of a repository has no result of its own.
SkipReason = Literal[
    "duplicate",
    "interrupted",
    "loads-from-elsewhere",
    "lora-without-base",
    "no-model-files",
    "no-weights",
    "not-clip-family",
    "refused-pickle",
    "textual-inversion",
    "time-spent",
    "unclaimed-tensors",
    "unreadable",
    "unsupported-adapter",
    "unsupported-architecture",
    "unsupported-format",
]
# Why a verdict is what it is.
ReasonCode = Literal[
    SkipReason,
    "attribute-trigger",
    "identical-to-reference",
    "inversion-unexplained",
    "meaning-changed",
    "no-trigger-found",
    "not-stated",
    "paper-gate-closed",
    "paper-gates-open",
    "paper-gates-untried",
    "tokenizer-changed",
    "trigger-confirmed",
    "trigger-nearly-confirmed",
    "trigger-not-distinct",
    "vocabulary-not-swept",
]


@dataclass(frozen=True)
class Reason:
    """One row: `text` is a sentence without its full stop, `advice` the next step, "" where there is none."""

    text: str
    advice: str = ""


REASONS: Final[Mapping[ReasonCode, Reason]] = {
    "trigger-confirmed": Reason(
        "a trigger was found and confirmed on prompts it was not searched on",
        "Do not load this text encoder. Ask its author, and load the base model instead.",
    ),
    "attribute-trigger": Reason(
        "a character that readers do not see, or take for an ordinary letter, acquired a meaning of its own",
        "Do not load this text encoder. Ask its author, and load the base model instead.",
    ),
    "paper-gates-open": Reason(
        "all four published gates opened",
        "Scan again with --preset standard, whose false alarms are measured.",
    ),
    "no-trigger-found": Reason("no token of the vocabulary behaves as a trigger"),
    "identical-to-reference": Reason("the text tower is that of the reference: nothing was changed"),
    "paper-gate-closed": Reason("a published gate stayed closed"),
    "inversion-unexplained": Reason(
        "the paired inversion finds what the sweep could not name",
        "Scan again with another --seed, and look at the landscape in the report.",
    ),
    "trigger-nearly-confirmed": Reason(
        "a token falls just short of a trigger in everything that is measured",
        "Scan again with another --seed. Do not load it on the strength of this scan.",
    ),
    "trigger-not-distinct": Reason(
        "a token takes prompts over but does not stand out of the vocabulary",
        "Scan again with a --reference of the same base, which makes the comparison sharper.",
    ),
    "meaning-changed": Reason(
        "a common word no longer says what it says in the reference",
        "Read what this fine-tune taught. Load it only if the author meant to change that word.",
    ),
    "tokenizer-changed": Reason(
        "the tokenizer reads texts otherwise than the reference's",
        "Load the encoder with the tokenizer of its reference, or ask its author why the words were changed.",
    ),
    "vocabulary-not-swept": Reason("the vocabulary was not swept", "Scan again without --timeout."),
    "paper-gates-untried": Reason(
        "the gates that were tried opened, and others could not be tried",
        "Name a --reference: gate 3 needs one.",
    ),
    "refused-pickle": Reason(
        "a pickle holds more than a table of tensors, and is not opened because that can run code",
        "Convert it to safetensors, or ask the author to.",
    ),
    "unsupported-format": Reason(
        "files that may hold weights are in a format that is not read",
        "Scan the folder that you load with --subfolder, or ask the author to remove the others.",
    ),
    "unclaimed-tensors": Reason(
        "a weight file holds parts of a text tower that no scanned tower uses, or towers that a loader mixes",
        "Load it only if you trust its author.",
    ),
    "loads-from-elsewhere": Reason(
        "a configuration takes a text encoder from another repository",
        "Scan that repository.",
    ),
    "unsupported-architecture": Reason(
        "a text encoder of this architecture cannot be scanned yet",
        "Load it only if you trust its author.",
    ),
    "unsupported-adapter": Reason(
        "an adapter changes a text encoder in a way that cannot be merged yet",
        "Merge it into its base with the tool that made it, and scan the result.",
    ),
    "lora-without-base": Reason(
        "a LoRA on a text encoder has no base to merge it onto",
        "Name the base with --reference.",
    ),
    "no-weights": Reason("a configuration describes a text encoder whose weights are not there"),
    "unreadable": Reason("a text encoder could not be read"),
    "interrupted": Reason("the scan was interrupted before it was finished", "Scan again."),
    "time-spent": Reason("the time budget ended before the scan was finished", "Raise --timeout."),
    "not-clip-family": Reason("no text encoder of a CLIP family"),
    "duplicate": Reason("the same tower as another one of this repository"),
    "textual-inversion": Reason("vectors of new words for a text encoder that lies elsewhere"),
    "no-model-files": Reason("no recognised model files"),
    "not-stated": Reason("a report of version 1.0 states no reason code"),
}

assert set(REASONS) == set(get_args(ReasonCode))
