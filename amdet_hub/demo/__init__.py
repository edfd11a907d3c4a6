"""The offline demonstration: three tiny encoders, a Hub on this machine, two scans and one pull request.

`run.run_demo` is the show. `WEIGHTS` holds the encoders `base`, `finetuned` and `backdoored`, made by
`amdet_hub.demo.make`; each has a `provenance.json` with its recipe, seed, measurements and sha256. Importing this room
imports no torch.
"""

from pathlib import Path

# Folder of the three encoders.
WEIGHTS = Path(__file__).parent / "weights"
