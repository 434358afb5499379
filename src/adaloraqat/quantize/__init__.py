"""Stage 2: precision policy, fake quantisation, calibration, and the integer model.

prepare -> calibrate -> (train) -> convert, with one description of the numerics (`numerics.py`) from training
to the file. Import each name from the file that defines it: a policy's name then costs no layers.
"""
