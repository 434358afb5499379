"""Whole experiments: tables that train their rows, the demo, and the analysis of a run's quantisation."""
