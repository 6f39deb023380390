"""The house: configuration, clock, wiring, command line, API and pages."""
