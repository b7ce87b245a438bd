"""Keeps one merge request for each branch but the default one."""
