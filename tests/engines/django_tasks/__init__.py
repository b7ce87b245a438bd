"""Tests of Django Tasks as an engine."""
