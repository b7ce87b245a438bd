"""Forge: a small modular monolith whose contexts hear of each other through events alone."""
