"""The paper's method and what we added, on tensors. No Hub, no files, no printing."""
