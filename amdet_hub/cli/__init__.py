"""Words in, words out: the only room that prints and that knows exit codes."""
