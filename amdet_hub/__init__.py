"""amdet-hub: was the text encoder of this CLIP-family model backdoored by whoever fine-tuned it?

The map. Data flows downward, imports point downward, and no room imports its sibling:

* `amdet_hub.cli`: words in, words out; the only place that prints and that knows exit codes.
* `amdet_hub.demo`, `amdet_hub.bench`: the offline demonstration; labelled backdoored and benign encoders, made to measure us with.
* `amdet_hub.scan`: resolve -> load -> detect -> judge. Owns the `Accelerator`.
* `amdet_hub.hub`: the only room that talks to the Hugging Face Hub (or to a folder in its place).
* `amdet_hub.encoders`: the only room that knows transformers' and checkpoints' insides.
* `amdet_hub.report`: a `ScanReport` as text, JSON, Markdown, and as a section of a model card. Pure functions.
* `amdet_hub.detect`: the paper's method and ours, on tensors. No Hub, no files, no printing.
* `amdet_hub.verdict`: evidence -> verdict, one pure function.
* `amdet_hub.families`: supported families, their trusted references and calibrated thresholds, as data.
* `amdet_hub.records`, `amdet_hub.errors`: what crosses the walls, and what can go wrong.
* `amdet_hub.testing`: a local Hub and tiny encoders, for our tests and for yours.

Importing this package imports no torch. `amdet_hub.scan.scan_target` is the function behind `amdet-hub scan`.
"""

__version__ = "0.1.0"
