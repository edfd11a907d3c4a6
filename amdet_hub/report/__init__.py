"""A `ScanReport` as text, JSON, Markdown, and as a section of a model card. Pure functions."""
