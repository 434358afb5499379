"""Scores of saved masks: models × conditions × prompts in one loop, their summary and their comparison."""
