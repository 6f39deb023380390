"""Simulated bodies and devices that emit real bytes. Shares no code with the rooms it tests."""
