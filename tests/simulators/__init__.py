"""Tests of the simulated bodies and devices."""
