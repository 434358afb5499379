"""The page that outlines films in a browser: its files, and the server that hands them to this computer."""

from adaloraqat.page.server import PageServer
from adaloraqat.page.site import Site, open_site

__all__ = ["PageServer", "Site", "open_site"]
