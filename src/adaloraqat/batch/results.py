"""results.jsonl: one line per film, written when its files are on the disk, and read again to go on.

The file is the only state of a batch. A line is appended whole and flushed to the disk after the film's mask
was; so whatever moment a process is killed at, a film either has its mask and its line, or is done again.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import adaloraqat
from adaloraqat.batch.film_entry import Failure, FilmEntry
from adaloraqat.batch.lock import FolderLock
from adaloraqat.bundle.format import DOCUMENT, Bundle
from adaloraqat.errors import OutputError
from adaloraqat.files import atomic_path, sha256

SCHEMA = 1
RESULTS = "results.jsonl"

_LEFT_BEHIND = re.compile(r"\..{0,20}\.\w{8}\.tmp(\.\w+)?")  # what `atomic_path` writes before it renames


@dataclass(frozen=True)
class BundleStamp:
    """The model that gave a result.

    Attributes:
        name: of the bundle.
        sha256: of its bundle.json, which holds the SHA-256 of every other file.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class FilmStamp:
    """A film's file as it was before it was read.

    Attributes:
        path: relative to the folder that was given, or as given.
        size: bytes.
        mtime_ns: time of its last change, nanoseconds since 1970.
    """

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, name: str, source: Path) -> Self:
        """Return the stamp of the file `source`, called `name`; its size is -1 where it cannot be seen."""
        try:
            found = source.stat()
        except OSError:
            return cls(name, -1, 0)
        return cls(name, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Settings:
    """What must be the same for all films of one results file.

    Attributes:
        bundle: the model.
        options: of the call that change results, as JSON has them.
    """

    bundle: BundleStamp
    options: Mapping[str, Any]

    @classmethod
    def of(cls, bundle: Bundle, options: Mapping[str, Any]) -> Self:
        """Return the settings of a call with `bundle` and `options`."""
        document = json.loads(json.dumps(dict(options)))  # tuples as JSON gives them back
        return cls(BundleStamp(bundle.name, sha256(bundle.folder / DOCUMENT)), document)


@dataclass(frozen=True)
class ResultLine:
    """One line of results.jsonl.

    Attributes:
        schema: version of this format.
        version: of the program that wrote the line.
        bundle: the model.
        film: the film's file.
        options: of the call that change results.
        failure: why there is no result, null where there is one: film (it cannot be used), output (a file
            cannot be written), memory, or crash (its process died twice).
        entry: what `segment --json` reports of the film; mask and overlay relative to the folder of this
            file.
    """

    schema: int
    version: str
    bundle: BundleStamp
    film: FilmStamp
    options: dict[str, Any]
    failure: Failure | None
    entry: FilmEntry

    def to_json(self) -> str:
        """Return the line, without its end."""
        document = asdict(self) | {"entry": self.entry.to_dict()}
        return json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


class _Kept(NamedTuple):
    """A line in the file: where it begins, and what decides whether its film is done."""

    offset: int
    size: int
    mtime_ns: int
    failure: str | None
    files: tuple[str, ...]


class ResultsFile:
    """The results of one output folder, held by one process at a time. A context manager.

    Args:
        out: the output folder; made where missing.
        settings: of this call.
        resume: whether results that are there may be continued.

    Attributes:
        warnings: sentences on what was found in the file.

    Raises:
        OutputError: another process holds the folder; there are results and `resume` is False, or they are of
            another model, of other options or of a newer version; the folder cannot be written.
    """

    def __init__(self, out: Path, settings: Settings, resume: bool = False) -> None:
        self.path = out / RESULTS
        self.warnings: list[str] = []
        self._out = out
        self._where = out.absolute().name or str(out)
        self._settings = settings
        self._lock = FolderLock(out)
        try:
            self._open(resume)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, resume: bool) -> None:
        if not resume and self._holds_results():
            raise OutputError(
                f"{self._where} holds results of an earlier call: continue it with --resume, or choose "
                "another --out."
            )
        self._kept, dropped = self._read()
        if resume:
            _sweep(self._out)
        if dropped:
            self._rewrite()
        try:
            self._stream = open(self.path, "ab")  # noqa: SIM115
        except OSError as error:
            raise _unwritable(error) from error
        self._end = self._stream.seek(0, os.SEEK_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let go of the folder."""
        with suppress(OSError):
            self._stream.close()
        self._lock.release()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def failure(self, name: str) -> str | None:
        """Return why a film has no result; None where it has one, or no line."""
        kept = self._kept.get(name)
        return kept.failure if kept else None

    def is_done(self, stamp: FilmStamp) -> bool:
        """Whether this very file has its result here and need not be tried again."""
        kept = self._kept.get(stamp.path)
        if kept is None or (kept.size, kept.mtime_ns) != (stamp.size, stamp.mtime_ns):
            return False
        return kept.failure in (None, "film") and all((self._out / name).is_file() for name in kept.files)

    def forget(self, names: Iterable[str]) -> None:
        """Take the lines of films that are to be done again out of the file."""
        known = [name for name in names if name in self._kept]
        for name in known:
            del self._kept[name]
        if known:
            self._stream.close()
            self._rewrite()
            self._stream = open(self.path, "ab")  # noqa: SIM115
            self._end = self._stream.seek(0, os.SEEK_END)

    def append(self, film: FilmStamp, entry: FilmEntry, failure: Failure | None = None) -> None:
        """Write a film's line, and return when it is on the disk; its mask must be there already.

        Raises:
            OutputError: the line cannot be written; the file stays as it was.
        """
        line = ResultLine(
            SCHEMA,
            adaloraqat.__version__,
            self._settings.bundle,
            film,
            dict(self._settings.options),
            failure,
            entry,
        )
        raw = line.to_json().encode() + b"\n"
        try:
            self._stream.write(raw)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            with suppress(OSError):
                os.truncate(self.path, self._end)
            raise _unwritable(error) from error
        self._kept[film.path] = _kept(self._end, json.loads(raw))
        self._end += len(raw)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Give all lines, sorted by the films' paths, one in memory at a time."""
        with open(self.path, "rb") as stream:
            for _, kept in sorted(self._kept.items()):
                stream.seek(kept.offset)
                yield json.loads(stream.readline())

    def _holds_results(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size > 0

    def _read(self) -> tuple[dict[str, _Kept], bool]:
        """Return what is in the file by film, and whether something in it is torn or superseded."""
        found: dict[str, _Kept] = {}
        dropped = False
        if not self._holds_results():
            return found, dropped
        versions = set()
        with open(self.path, "rb") as stream:
            offset = 0
            for raw in stream:
                document = _parsed(raw)
                if document is None:  # torn by the end of its process, or of the power
                    dropped = True
                else:
                    self._check(document)
                    versions.add(str(document["version"]))
                    name = document["film"]["path"]
                    dropped |= name in found
                    found[name] = _kept(offset, document)
                offset += len(raw)
        if versions - {adaloraqat.__version__}:
            self.warnings.append(f"{RESULTS} holds results of adaloraqat {', '.join(sorted(versions))}.")
        return found, dropped

    def _check(self, document: Mapping[str, Any]) -> None:
        """Refuse a line that this call would not have written."""
        where = self._where
        if not {"schema", "version", "bundle", "film", "options", "failure", "entry"} <= set(document):
            raise OutputError(f"{where} holds a {RESULTS} from another program: choose another --out.")
        if document["schema"] > SCHEMA:
            raise OutputError(f"{where} holds results of a newer version: update adaloraqat.")
        bundle, options = document["bundle"], document["options"]
        if bundle["sha256"] != self._settings.bundle.sha256:
            raise OutputError(
                f"{where} holds results of another model ({bundle['name']}, SHA-256 {bundle['sha256'][:12]}):"
                f" choose another --out for {self._settings.bundle.name}."
            )
        now = self._settings.options
        other = sorted(key for key in {*options, *now} if options.get(key) != now.get(key))
        if other:
            raise OutputError(
                f"{where} holds results made with other options ({', '.join(other)}): use the same ones, "
                "or choose another --out."
            )

    def _rewrite(self) -> None:
        """Write the file again with the lines that are kept, in their order."""
        moved: dict[str, _Kept] = {}
        with atomic_path(self.path) as temporary, open(self.path, "rb") as old, open(temporary, "wb") as new:
            for name, kept in sorted(self._kept.items(), key=lambda item: item[1].offset):
                old.seek(kept.offset)
                moved[name] = kept._replace(offset=new.tell())
                new.write(old.readline())
        self._kept = moved


def _kept(offset: int, document: Mapping[str, Any]) -> _Kept:
    film, entry = document["film"], document["entry"]
    files = [
        *(entry.get(key) for key in ("mask", "overlay", "labels")),
        *(entry.get("dicom") or {}).values(),
    ]
    names = tuple(name for name in files if name)
    return _Kept(offset, film["size"], film["mtime_ns"], document["failure"], names)


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """Return a whole line's object, None for a torn one."""
    if not raw.endswith(b"\n"):
        return None
    try:
        document = json.loads(raw)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _sweep(out: Path) -> None:
    """Remove what killed processes left behind: files that had not got their names yet."""
    for folder, _, names in os.walk(out):
        for name in names:
            if _LEFT_BEHIND.fullmatch(name):
                with suppress(OSError):
                    Path(folder, name).unlink()


def _unwritable(error: OSError) -> OutputError:
    return OutputError(
        f"{RESULTS} cannot be written ({error.strerror or error}): free some disk space, or choose another "
        "--out."
    )
