"""Which tokens and token sequences behave as triggers: swept, grown, measured on held-out prompts, held against a null distribution."""
