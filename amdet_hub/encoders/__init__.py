"""The only room that knows transformers' and checkpoints' insides."""
