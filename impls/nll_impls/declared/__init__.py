"""Declarations, a module for each origin; nothing here imports torch."""
