"""Tests of readings becoming words to people."""
