"""Segment Anything in any size: its measures, its published weights, encode and decode."""
