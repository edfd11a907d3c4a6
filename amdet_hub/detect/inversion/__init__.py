"""Gradient inversion of a pseudo-trigger, the loss landscape around it, and the published gates."""
