"""Tests, by the room they test. Helpers live beside the conftest."""
