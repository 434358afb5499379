"""The page of adaloraqat: a folder `site` with the files that a browser loads, no code for Python.

`adaloraqat` finds this folder by the entry point `adaloraqat.page` and never imports it. In a checkout
`make page` builds it from `web/`.
"""
