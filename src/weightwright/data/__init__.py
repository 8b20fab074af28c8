"""Rows of data: formats, templates, checks, and the words of a prompt."""
