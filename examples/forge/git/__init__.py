"""Receives pushes. It publishes, and hears nothing."""
