"""Bytes become readings, and readings are kept."""
