"""Faults while readings come: whatever happens, what was sent is stored, each once."""
