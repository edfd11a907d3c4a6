"""Scanning without being asked."""
