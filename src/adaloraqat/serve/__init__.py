"""The HTTP server: films in, masks out, from processes that may die; needs the extra `serve`."""
