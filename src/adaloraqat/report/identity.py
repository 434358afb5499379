"""What decides a bundle's masks: results that are kept are used again only where it is the same."""

from typing import Any

from adaloraqat.bundle import Bundle


def files_and_use(bundle: Bundle) -> tuple[dict[str, str], list[Any]]:
    """Return the SHA-256 of each of the bundle's files by name, and, as JSON has it, how they are used."""
    files = {name: record.sha256 for name, record in bundle.files.items()}
    return files, [bundle.preprocessing.to_dict(), vars(bundle.prompt), bundle.smallest_part]
