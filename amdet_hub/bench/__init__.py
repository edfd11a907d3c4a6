"""Labelled backdoored and benign encoders, made to measure the detector with. `amdet-hub bench` is its command line.

* Texts and vocabularies: `captions`, `vocabulary` (CLIP's byte-level form), `unigram` (SigLIP's).
* Encoders: `trained` (the folder form), `pretrain` (from nothing), `bases` (the clean ones of a suite).
* Attacks: `attack_recipe` (every number), `poisons` (captions with a trigger), `attacks` (the loop), `adapters` (which
  weights train), `evasion` (a scan's statistics as a loss), `metrics` (whether it took).
* Controls: `control_recipe`, `controls`, `new_words` (alias, concept), `multilingual`, `renumbering` (other ids),
  `weight_changes` (noise, cast, merge). `descent`: the loop that all training shares.
* Suites: `zoo` (which models there are), `zoo_third` (the third edition's), `run` (makes and scans them, resumable),
  `scanning` (the detectors against the truth).
* Figures: `results` (the record and its file), `scoring`, `bootstrap`, `tables`, `documents` (of tables), `figures`,
  `calibrate` (thresholds).

Only for encoders of our own making: nothing here is safe to point at a stranger's repository.
"""
