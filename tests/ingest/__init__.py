"""Tests of ingest: bytes become readings, and readings are kept."""
