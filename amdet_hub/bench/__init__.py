"""Labelled backdoored and benign encoders, made to measure the detector with."""
