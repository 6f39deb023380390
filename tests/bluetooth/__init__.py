"""The Bluetooth path over each radio that stands in for the air."""
