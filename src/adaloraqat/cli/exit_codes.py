"""What a command's end means to a shell; 0 is done."""

SOME_FAILED = 1
"""Some inputs failed, the others are done and the failures are listed; or what was looked for was found."""

NOTHING_DONE = 2
"""Nothing could be done: bad arguments, no such file, a damaged model."""

INTERRUPTED = 130
"""Stopped by Ctrl-C; what was finished stays."""
