"""What the detectors measured, as `Evidence`: a value, its threshold, its null, and one sentence for people.

Knows the detectors' outcomes and the thresholds; refuses to know what follows from them (`amdet_hub.verdict`).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from amdet_hub import verdict as kinds
from amdet_hub.config_stages import Thresholds
from amdet_hub.detect.detector import Detection
from amdet_hub.detect.inversion.invert import Inversion
from amdet_hub.detect.search.held_out import Confirmation
from amdet_hub.detect.weights import WeightDifference
from amdet_hub.encoders.tokenizer_comparison import TokenizerDifference
from amdet_hub.records import READ_OUT_WORDS, Evidence, NullDistribution, ReadOut

_HISTOGRAM_BINS = 40  # of the null distribution's scores, for plots
_SHOWN_WORDS = 40  # words and settings of a tokenizer listed in its details
_QUOTED = 200  # characters of one
_SHOWN_TOKENS = 10  # best tokens listed in the sweep's details


def identity_evidence(*, identical: bool, trust: str, cast_to: str | None = None) -> Evidence:
    """Whether the tower's weights are the reference's, bit for bit or, with `cast_to`, rounded to that dtype."""
    what, beside = ("identical to", "") if cast_to is None else (f"the {cast_to} cast of", " else")
    same = f"the text tower is {what} the reference's ({trust}), bit for bit: nothing{beside} was changed"
    return Evidence(
        kinds.IDENTITY,
        0.0 if identical else 1.0,
        "changed (0 or 1)",
        1,
        same if identical else "the text tower differs from the reference's",
        threshold=0.5,
        exceeds=not identical,
    )


def tokenizer_evidence(difference: TokenizerDifference) -> Evidence:
    """What the tokenizer reads otherwise than the reference's; the words are hostile text, in `details` only."""
    words, settings, added = len(difference.exchanged), len(difference.settings), len(difference.added)
    found = [
        *([f"{words:,} word{'s read' if words > 1 else ' reads'} as something else"] if words else []),
        *([f"{settings} setting{'s differ' if settings > 1 else ' differs'}"] if settings else []),
    ]
    same = "the tokenizer reads every text as the reference's does"
    more = f"; {added:,} token{'s were' if added > 1 else ' was'} added, which no ordinary text holds" if added else ""
    return Evidence(
        kinds.TOKENIZER,
        float(words + settings),
        "differences",
        difference.n_compared,
        (f"in the tokenizer {' and '.join(found)}" if found else same) + more,
        threshold=0.5,
        exceeds=difference.differs,
        details={
            "exchanged": [list(pair) for pair in list(difference.exchanged.items())[:_SHOWN_WORDS]],
            "settings": [name[:_QUOTED] for name in difference.settings[:_SHOWN_WORDS]],
            "added": [token[:_QUOTED] for token in difference.added[:_SHOWN_WORDS]],
        },
    )


def weight_evidence(difference: WeightDifference) -> Evidence:
    """How far the weights moved. Informs only."""
    return Evidence(
        kinds.WEIGHT_DIFFERENCE,
        difference.relative_change,
        "relative Frobenius norm",
        difference.n_tensors,
        f"{difference.n_changed} of {difference.n_tensors} tensors changed, by {difference.relative_change:.2%} of"
        f" their norm in all; {difference.n_changed_rows} token embeddings moved",
        details={"largest": [{"tensor": name, "relative_change": change} for name, change in difference.largest]},
    )


def standard_evidence(
    outcome: Detection,
    thresholds: Thresholds,
    pieces: Mapping[int, str],
    others: Mapping[ReadOut, Thresholds] | None = None,
) -> list[Evidence]:
    """Evidence of the standard detector.

    Args:
        outcome: what the stages found. The strongest confirmation, its first, is what is judged; what is named may be
            a plainer one (`best_trigger`).
        thresholds: what the evidence is held against.
        pieces: token id -> vocabulary entry, for those that are shown (hostile text; goes into `details` only).
        others: thresholds of the other read-outs.
    """
    found = _search_evidence(outcome, thresholds, pieces)
    if outcome.inversion is not None and outcome.swapped is not None:
        found.append(_inversion_evidence(outcome.inversion, outcome.swapped, thresholds.inversion_gain))
    if outcome.landscape is not None:
        found.append(
            Evidence(
                kinds.LANDSCAPE,
                outcome.landscape.positive_rate,
                "rate",
                outcome.landscape.n_eigenvalues,
                f"{outcome.landscape.positive_rate:.0%} of the curvatures around the inverted vector are positive (a"
                " smooth bowl has nearly all)",
                details={
                    "losses": [" ".join(f"{loss:.4f}" for loss in row) for row in outcome.landscape.losses.tolist()]
                },
            )
        )
    found += _near_miss(outcome, thresholds, others or {})
    for other in outcome.others:
        place = READ_OUT_WORDS[other.read_out]
        for one in _search_evidence(other, (others or {}).get(other.read_out, thresholds), pieces):
            kind, said = kinds.kind_in(one.kind, other.read_out), f"at {place}: {one.summary}"
            found.append(replace(one, kind=kind, summary=said))
    return found


def _near_miss(outcome: Detection, thresholds: Thresholds, others: Mapping[ReadOut, Thresholds]) -> list[Evidence]:
    """How near the strongest candidate of all read-outs comes to its three thresholds; none where one passes."""
    margins = [
        (one.margin(others.get(part.read_out, thresholds)), one)
        for part in (outcome, *outcome.others)
        for one in part.confirmations
    ]
    nearest, best = max(margins, key=lambda pair: pair[0], default=(1.0, None))
    if best is None or nearest >= 1:
        return []
    said = f"the candidate that comes nearest reaches {nearest:.0%} of each of its thresholds"
    return [
        Evidence(
            kinds.NEAR_MISS,
            nearest,
            "share of every threshold",
            len(margins),
            said,
            threshold=thresholds.near_miss,
            exceeds=nearest >= thresholds.near_miss,
            details={"token_ids": list(best.token_ids)},
        )
    ]


def _search_evidence(outcome: Detection, thresholds: Thresholds, pieces: Mapping[int, str]) -> list[Evidence]:
    """Of one read-out, under the kinds of the pooled feature."""
    strongest = outcome.confirmations[0] if outcome.confirmations else None
    found = [_sweep_evidence(outcome, strongest, thresholds.sweep_score, pieces)]
    if strongest is not None:
        found += _trigger_evidence(
            strongest, len(outcome.confirmations), thresholds, with_reference=outcome.with_reference
        )
    return found


def _sweep_evidence(
    outcome: Detection, best: Confirmation | None, threshold: float, pieces: Mapping[int, str]
) -> Evidence:
    """How far the best candidate stands out of random sequences like it; without one, the best single token."""
    sweep, null = outcome.sweep, outcome.sweep.null_score
    left_out = f"; this decides, so that {' and '.join(outcome.left_out)} were left out" if outcome.left_out else ""
    standing = best.standing if best is not None else None
    value = standing if standing is not None else float(sweep.score[: sweep.n_finalists].max())
    highest = float(sweep.score[: sweep.n_finalists].max())
    top = [
        {
            "token_id": int(sweep.token_ids[i]),
            "piece": pieces.get(int(sweep.token_ids[i])),
            "score": round(float(sweep.score[i]), 3),
            "collapse_z": round(float(sweep.collapse_z[i]), 3),
            "divergence_z": round(float(sweep.divergence_z[i]), 3),
            "copies": int(sweep.copies[i]),
        }
        for i in sweep.top(_SHOWN_TOKENS).tolist()
    ]
    return Evidence(
        kinds.SWEEP,
        value,
        "robust z",
        sweep.n_swept,
        f"of {sweep.n_swept:,} tokens swept, the best scores {highest:.1f}; the best candidate trigger made of them"
        f" stands out of random token sequences by {value:.1f} deviations{left_out}",
        threshold=threshold,
        exceeds=value >= threshold,
        null=NullDistribution(
            "random tokens of the same vocabulary",
            len(null),
            float(null.median()),
            float((null - null.median()).abs().median()),
            float(null.max()),
        ),
        details={"top_tokens": top, "null_histogram": _histogram(null), "left_out": list(outcome.left_out)},
    )


def _histogram(values: Tensor) -> dict[str, Any]:
    """Counts of values in equal bins between `low` and `high`, as one text, so that a report stays short."""
    low, high = float(values.min()), float(values.max())
    counts = torch.histc(values.float(), bins=_HISTOGRAM_BINS, min=low, max=high if high > low else low + 1.0)
    return {"low": round(low, 3), "high": round(high, 3), "counts": " ".join(str(int(count)) for count in counts)}


def _trigger_evidence(best: Confirmation, n_candidates: int, t: Thresholds, *, with_reference: bool) -> list[Evidence]:
    rates = zip(("start", "middle", "end"), best.success_rates, best.reference_rates, strict=True)
    share = {place: {"suspect": suspect, "reference": reference} for place, suspect, reference in rates}
    removed, n_tokens = 1 - math.exp(-max(best.collapse, 0.0)), len(best.token_ids)
    what = "it leaves alone in the reference" if with_reference else "the other candidates leave alone"
    if best.view == "residual":
        captures = f"removes {best.success:.0%} of what distinguishes held-out prompts, wherever it stands"
        removes = f"it draws them {best.relative_collapse:.1f} times as straight to one point as random sequences do"
        unit = "times that of random sequences"
    else:
        captures = f"captures {best.success:.0%} of the held-out prompts that {what}"
        removes = (
            f"it removes {removed:.0%} of what distinguishes held-out prompts, with {n_tokens}"
            f" token{'s' if n_tokens != 1 else ''}"
        )
        unit = f"log variance ratio{' beyond that elsewhere' if best.view else ''} / sqrt(tokens)"
    return [
        Evidence(
            kinds.SUCCESS,
            best.success,
            "rate",
            best.n_prompts,
            f"the strongest of {n_candidates} candidates {captures}",
            threshold=t.trigger_success,
            exceeds=best.success >= t.trigger_success,
            details={"token_ids": list(best.token_ids), "captured": share, "n_candidates": n_candidates},
        ),
        Evidence(
            kinds.COLLAPSE,
            best.relative_collapse,
            unit,
            best.n_prompts,
            removes,
            threshold=t.trigger_collapse,
            exceeds=best.relative_collapse >= t.trigger_collapse,
            details={"log_variance_ratio": round(best.collapse, 4), "n_tokens": n_tokens},
        ),
    ]


def _inversion_evidence(inversion: Inversion, swapped: Inversion, threshold: float) -> Evidence:
    gain = float(inversion.gain[inversion.best])
    null = swapped.gain
    value = gain - float(null.max())
    return Evidence(
        kinds.INVERSION,
        value,
        "similarity",
        len(inversion.gain),
        f"the best inverted token mixture assimilates {gain:.2f} more than in the reference; with the roles swapped"
        f" {float(null.max()):.2f}",
        threshold=threshold,
        exceeds=value >= threshold,
        null=NullDistribution(
            "the same inversion with suspect and reference swapped",
            len(null),
            float(null.median()),
            float((null - null.median()).abs().median()),
            float(null.max()),
        ),
        details={"gains": [round(float(g), 4) for g in inversion.gain]},
    )


def shown_ids(outcome: Detection) -> list[int]:
    """Token ids that the evidence or the triggers mention."""
    return [token for one in (outcome, *outcome.others) for token in one.sweep.best_ids(_SHOWN_TOKENS)]
