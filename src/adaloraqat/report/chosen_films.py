"""Which films of a manifest are scored; one that is missing stays among them, as a failed one."""

from collections.abc import Collection
from pathlib import Path

from adaloraqat.datasets.manifest import Entry, read_manifest, select
from adaloraqat.errors import ManifestError

ALL_SPLITS = "all"


def choose_scored(manifest: Path, split: str, sources: Collection[str] | None = None) -> list[Entry]:
    """Return the films of a split ("all": of every one) and of some sources (None: of all).

    Raises:
        ManifestError: the manifest is none, no film is chosen, or of those chosen not a single one is there.
    """
    entries = read_manifest(manifest, files_exist=False)
    in_split = entries if split == ALL_SPLITS else select(entries, split)
    chosen = [entry for entry in in_split if sources is None or entry.source in sources]
    if not chosen:
        raise ManifestError(
            f"The manifest has no film of split {split} and source {', '.join(sources or ())}: "
            "correct the split or the source."
        )
    if not any(entry.path_image.is_file() for entry in chosen):
        read_manifest(manifest)  # not a single film: the manifest is wrong, which this says
    return chosen
