"""Readings become words to people."""
