"""Stage kinds: one file each; `base.Stage` says what a kind can decide, `base.register` makes it known."""
