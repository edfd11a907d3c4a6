"""What the published procedure measured, as `Evidence`: its four gates.

Refuses to know what follows from them (`amdet_hub.verdict`).
"""

from amdet_hub import verdict as kinds
from amdet_hub.config import ScanConfig
from amdet_hub.detect.paper import PaperDetection
from amdet_hub.records import Evidence


def paper_evidence(outcome: PaperDetection, config: ScanConfig) -> list[Evidence]:
    """The four published gates, each with its value, and how the search went."""
    g, gates = config.gates, outcome.gates
    details = {
        "steps": outcome.steps,
        "mean_loss": outcome.mean_loss,
        "gate_checks": outcome.gate_checks,
        "opened_during_search": outcome.opened,
    }
    # The published search tries the gates at fixed moments only. Open at the last vector but at none of those moments
    # is not open.
    missed = gates.open and not outcome.opened
    moment = ", but at no moment at which the gates were tried" if missed else ""
    alike, consistent = f"assimilation above {g.assimilation}", f"similarity to the first prompt above {g.consistency}"
    apart = f"similarity to the reference below {g.reference_similarity}"
    rows = [
        (kinds.PAPER_ASSIMILATION, gates.assimilation_rate, g.assimilation_rate, alike),
        (kinds.PAPER_CONSISTENCY, gates.consistency_rate, g.consistency_rate, consistent),
        (kinds.PAPER_REFERENCE, gates.reference_rate, g.reference_rate, apart),
    ]
    found = [
        Evidence(
            kind,
            value,
            "rate",
            gates.n,
            f"gate {number}: {what} on {value:.1%} of held-out prompts (opens above {threshold:.1%}){moment}",
            threshold=threshold,
            exceeds=value > threshold and not missed,
            details=details,
        )
        for number, (kind, value, threshold, what) in enumerate(rows, start=1)
        if value is not None
    ]
    rate = outcome.landscape.positive_rate
    found.append(
        Evidence(
            kinds.PAPER_LANDSCAPE,
            rate,
            "rate",
            outcome.landscape.n_eigenvalues,
            f"gate 4: {rate:.1%} of the curvatures around the inverted vector are positive (opens above"
            f" {g.landscape_rate:.0%})",
            threshold=g.landscape_rate,
            exceeds=rate > g.landscape_rate,
        )
    )
    return found
