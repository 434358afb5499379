"""Models for adaloraqat that may be used for non-commercial research only: one folder a model, no code.

`adaloraqat` finds this folder by the entry point `adaloraqat.models` and never imports it.
"""
