"""The search for token sequences that behave as triggers, from the vocabulary sweep to ranked candidates."""
