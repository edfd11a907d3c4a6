"""A detected trigger and its target in words: which text was trained, and what it says."""
