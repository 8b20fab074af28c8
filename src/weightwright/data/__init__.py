"""Rows of data: formats, templates, checks, and the words of a prompt."""

__all__ = [
    "alike",
    "asked",
    "catalogue",
    "chat_templates",
    "checks",
    "folder",
    "formats",
    "grounded",
    "kinds",
    "language",
    "pack",
    "render",
    "rowstore",
    "sample",
    "settings",
    "show",
    "summary",
    "survey",
    "template",
    "turn_end",
]
