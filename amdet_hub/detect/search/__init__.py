"""The search for tokens and token sequences that behave as triggers, from the vocabulary sweep to ranked candidates."""
