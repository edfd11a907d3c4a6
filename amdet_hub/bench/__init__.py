"""Labelled backdoored and benign encoders, made to measure the detector with.

* `captions`: texts to train and measure on. `vocabulary`: a CLIP tokenizer learned from texts. `pretrain`: an encoder from nothing.
* `attacks`: known backdoors. `controls`: changes without one. `metrics`: whether an attack took.
* `trained`: the folder form of such an encoder. `python -m amdet_hub.bench` makes one.

Only for encoders of our own making: nothing here is safe to point at a stranger's repository.
"""
