"""Segment Anything in any size: its config, its published weights, encode and decode."""
