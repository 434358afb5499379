"""Look at films before they are trusted: copies, leaks, and what is wrong with single films."""
