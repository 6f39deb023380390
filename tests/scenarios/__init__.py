"""Scenarios that read aloud: whole hubs in processes of their own, real servers, a clock moved by hand."""
