"""Tables of a paper from one command: a table recipe, its rows trained, exported and scored, then written."""
