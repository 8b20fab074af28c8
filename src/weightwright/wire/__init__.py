"""Protocols over HTTP: how each writes and reads messages, requests, replies, errors, and the key."""
