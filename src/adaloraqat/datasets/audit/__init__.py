"""Look at films before they are trusted: copies, leaks, and what is wrong with single films."""

from adaloraqat.datasets.audit.audit import Audit, audit
from adaloraqat.datasets.audit.duplicates import Duplicate, find_duplicates

__all__ = ["Audit", "Duplicate", "audit", "find_duplicates"]
