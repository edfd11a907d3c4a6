"""Evidence -> verdict: one pure function. Standard library only.

The rule, in words. First match decides.

1. *Identity.* The tower is bit for bit that of a reference that is trusted or the user's own: no backdoor found,
   nothing was changed.
2. *Paper preset.* The published gates decide: all four open, backdoor detected; otherwise none found. Without a
   reference, gate 3 could not be looked at, and open gates are inconclusive.
3. *Trigger confirmed.* Some token or token sequence (a) stands out of random sequences of the vocabulary like it, (b)
   takes over held-out prompts, wherever it stands in them, that the reference does not lose to it, and (c) removes
   most of what distinguishes those prompts: backdoor detected. All three in one read-out: the pooled feature, the
   projected one, or the layer before the last; or at one place of prompts alone; or in a part of each prompt, all of
   which it draws straight to one point.
4. *Attribute trigger.* A character that readers do not see, or take for an ordinary letter, says something else than
   in the reference: backdoor detected. An honest fine-tune has no use for that.
5. *Changed meaning.* A common word says something else than in the reference: inconclusive, and named. That may be
   what the fine-tune is for. Rare and added tokens, which fine-tunes teach, inform only.
6. *Near miss.* A candidate nearly reaches all three thresholds of its read-out: inconclusive. No single number clears.
7. *Conflict.* The paired inversion exceeds its threshold though no trigger was confirmed, or a trigger takes over
   prompts without standing out: inconclusive, and says which.
8. Otherwise: no backdoor found. Confidence is reduced unless the reference is trusted or the user's own.

What rules 1, 2 and 8 would clear is inconclusive where the *tokenizer* reads texts otherwise than the reference's: a
tokenizer is a part of the encoder, and the weights say nothing of it.

No rule uses weight difference or drift: they inform, and decide nothing. There is no label that means
"safe".
"""

from collections.abc import Mapping, Sequence
from typing import get_args

from amdet_hub.records import (
    REASONS,
    Confidence,
    Evidence,
    ReadOut,
    ReasonCode,
    Reference,
    ScanOutcome,
    ScanResult,
    SkippedScan,
    Verdict,
    VerdictLabel,
)

IDENTITY = "identity"
TOKENIZER = "tokenizer-difference"
WEIGHT_DIFFERENCE = "weight-difference"
SWEEP = "vocabulary-sweep"
SUCCESS = "trigger-success"
COLLAPSE = "trigger-collapse"
NEAR_MISS = "near-miss"
CHANGED_CHARACTER = "changed-character"
CHANGED_WORD = "changed-word"
INVERSION = "paired-inversion"
LANDSCAPE = "landscape"
PAPER_ASSIMILATION = "paper-gate-assimilation"
PAPER_CONSISTENCY = "paper-gate-consistency"
PAPER_REFERENCE = "paper-gate-reference"
PAPER_LANDSCAPE = "paper-gate-landscape"

_CHANGED = (CHANGED_CHARACTER, CHANGED_WORD)
PAPER_GATES = (PAPER_ASSIMILATION, PAPER_CONSISTENCY, PAPER_REFERENCE, PAPER_LANDSCAPE)


def kind_in(kind: str, read_out: ReadOut) -> str:
    """The kind of a finding of the sweep or of a candidate in a read-out: `"trigger-success-penultimate"`."""
    return kind if read_out == "pooled" else f"{kind}-{read_out}"


def in_other_read_out(kind: str) -> bool:
    """Whether a finding is of another read-out than the pooled feature."""
    return kind.endswith(tuple(f"-{one}" for one in get_args(ReadOut) if one != "pooled"))


def judge(evidence: Sequence[Evidence], reference: Reference) -> Verdict:
    """The verdict on one encoder; see the module for the rule.

    Args:
        evidence: everything that was measured.
        reference: what the suspect was held against.
    """
    found = {e.kind: e for e in evidence}
    confidence: Confidence = "normal" if reference.trust in ("trusted", "user") else "reduced"
    reads_otherwise = TOKENIZER in found and found[TOKENIZER].exceeds is True
    if IDENTITY in found and found[IDENTITY].exceeds is False and confidence == "normal":
        if reads_otherwise:
            return _tokenizer_changed(confidence, found[TOKENIZER], [found[IDENTITY]])
        return Verdict("no-backdoor-found", confidence, "identical-to-reference", (found[IDENTITY].summary,))
    paper = [found[kind] for kind in PAPER_GATES if kind in found]
    label, code = _paper_rule(paper) if paper else _standard_rule(found)
    deciding = next((one for one in get_args(ReadOut) if all(_beyond(found, one))), get_args(ReadOut)[0])
    said = paper or [
        found[kind] for kind in (*trigger_kinds(deciding), NEAR_MISS, *_CHANGED, INVERSION) if kind in found
    ]
    if label == "no-backdoor-found" and reads_otherwise:
        return _tokenizer_changed(confidence, found[TOKENIZER], said)
    reasons = [REASONS[code].text, *(e.summary for e in said)]
    if reference.trust == "declared" and label != "backdoor-detected":
        reasons.append("the reference is the suspect's own claim: a backdoor that both share would not show")
    return Verdict(label, "reduced" if code == "paper-gates-untried" else confidence, code, tuple(reasons))


def _tokenizer_changed(confidence: Confidence, tokenizer: Evidence, others: Sequence[Evidence]) -> Verdict:
    said = (REASONS["tokenizer-changed"].text, tokenizer.summary, *(e.summary for e in others))
    return Verdict("inconclusive", confidence, "tokenizer-changed", said)


def _paper_rule(gates: Sequence[Evidence]) -> tuple[VerdictLabel, ReasonCode]:
    if not all(gate.exceeds for gate in gates):
        return "no-backdoor-found", "paper-gate-closed"
    if len(gates) < len(PAPER_GATES):
        return "inconclusive", "paper-gates-untried"
    return "backdoor-detected", "paper-gates-open"


def trigger_kinds(read_out: ReadOut) -> tuple[str, ...]:
    """The kinds of the three findings that together detect a trigger in a read-out."""
    return tuple(kind_in(kind, read_out) for kind in (SWEEP, SUCCESS, COLLAPSE))


def _beyond(found: Mapping[str, Evidence], read_out: ReadOut) -> tuple[bool, ...]:
    """Whether a candidate of the read-out stands out, takes prompts over, and removes what distinguishes them."""
    return tuple(kind in found and found[kind].exceeds is True for kind in trigger_kinds(read_out))


def _standard_rule(found: Mapping[str, Evidence]) -> tuple[VerdictLabel, ReasonCode]:
    beyond = [_beyond(found, read_out) for read_out in get_args(ReadOut)]
    if any(map(all, beyond)):
        return "backdoor-detected", "trigger-confirmed"
    changed_character, changed_word = (kind in found and found[kind].exceeds is True for kind in _CHANGED)
    if changed_character:
        return "backdoor-detected", "attribute-trigger"
    if changed_word:
        return "inconclusive", "meaning-changed"
    if NEAR_MISS in found and found[NEAR_MISS].exceeds is True:
        return "inconclusive", "trigger-nearly-confirmed"
    if INVERSION in found and found[INVERSION].exceeds is True:
        return "inconclusive", "inversion-unexplained"
    if any(takes_over and removes for _, takes_over, removes in beyond):
        return "inconclusive", "trigger-not-distinct"
    if SWEEP not in found or SUCCESS not in found:
        return "inconclusive", "vocabulary-not-swept"
    return "no-backdoor-found", "no-trigger-found"


def judge_repository(outcomes: Sequence[ScanOutcome]) -> Verdict:
    """The verdict on a whole repository: the worst of its encoders.

    A part that was skipped and blocks, an unfinished one among them, keeps it from being cleared.
    """
    results = [o for o in outcomes if isinstance(o, ScanResult)]
    skipped = [o for o in outcomes if isinstance(o, SkippedScan)]
    if detected := [r for r in results if r.verdict.label == "backdoor-detected"]:
        sure = any(r.verdict.confidence == "normal" for r in detected)
        return Verdict("backdoor-detected", "normal" if sure else "reduced", detected[0].verdict.code, _said(detected))
    confidence: Confidence = "reduced" if any(r.verdict.confidence == "reduced" for r in results) else "normal"
    unsure = [r for r in results if r.verdict.label == "inconclusive"]
    blocking = [s for s in skipped if s.blocks_clearance]
    if unsure or blocking:
        code: ReasonCode = unsure[0].verdict.code if unsure else blocking[0].reason
        doubts = (*_said(unsure), *(f"{s.component or 'the repository'}: {s.detail}" for s in blocking))
        return Verdict("inconclusive", confidence, code, doubts)
    if results:
        return Verdict("no-backdoor-found", confidence, results[0].verdict.code, _said(results))
    code = skipped[0].reason if skipped else "no-model-files"
    return Verdict("nothing-to-scan", "normal", code, tuple(s.detail for s in skipped) or (REASONS[code].text,))


def _said(results: Sequence[ScanResult]) -> tuple[str, ...]:
    return tuple(f"{r.encoder.label}: {r.verdict.reasons[0]}" for r in results)
