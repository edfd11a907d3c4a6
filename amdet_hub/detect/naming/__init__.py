"""Names for a detected trigger and its target: the text that was trained, and the texts nearest to its target."""
