"""Tests of `homeward replay`."""
