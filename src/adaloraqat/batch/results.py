"""results.jsonl: one line per film, written when its files are on the disk, and read again to go on.

The file is the only state of a batch. A line is appended whole and flushed to the disk after the film's mask
was; so whatever moment a process is killed at, a film either has its mask and its line, or is done again.
"""

import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

import adaloraqat
from adaloraqat.batch.film_entry import Failure, FilmEntry
from adaloraqat.batch.lock import RESULTS, FolderLock, refuse_results
from adaloraqat.batch.shape import fits
from adaloraqat.batch.stamps import BundleStamp, FilmStamp, apart
from adaloraqat.bundle.format import DOCUMENT, Bundle
from adaloraqat.errors import OutputError
from adaloraqat.files import atomic_path, sha256

SCHEMA = 1

_LEFT_BEHIND = re.compile(r"\..{0,20}\.\w{8}\.tmp(\.\w+)?")  # what `atomic_path` writes before it renames
_UNUSUAL = re.compile(r"^[/\\]|\.\.|:")  # in a name that may lead out of its folder; others need no `Path`


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
        document = asdict(self) | {"film": self.film.to_dict(), "entry": self.entry.to_dict()}
        return json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


class _Kept(NamedTuple):
    """A line in the file: where it begins, what decides whether its film is done, and what became of it."""

    offset: int
    seen: tuple[Any, ...]
    place: str | None
    failure: str | None
    answered: bool
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
        self._called: dict[str, str] = {}  # of films that this call names as their lines do not
        self._lock = FolderLock(out)
        try:
            self._open(resume)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, resume: bool) -> None:
        if not resume:
            refuse_results(self._out)
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
        return self.line_of(name) in self._kept

    def line_of(self, name: str) -> str:
        """Return the path in the line of a film, which may have been named in another way then."""
        return self._called.get(name, name)

    def call(self, line: str, name: str) -> None:
        """Take note that this call names the film of `line` so."""
        if name != line:
            self._called[name] = line

    def failure(self, name: str) -> str | None:
        """Return why a film has no result; None where it has one, or no line."""
        kept = self._kept.get(self.line_of(name))
        return kept.failure if kept else None

    def answered(self, name: str) -> bool:
        """Return whether the model saw a film, see `FilmEntry`; False where it has no line."""
        kept = self._kept.get(self.line_of(name))
        return kept is not None and kept.answered

    def files(self, name: str) -> tuple[str, ...]:
        """Return the files of a film, relative to the folder; none where it has no line."""
        kept = self._kept.get(name)
        return kept.files if kept else ()

    def writers(self) -> dict[str, str]:
        """Return {file: film} of all lines."""
        return {file: name for name, kept in self._kept.items() for file in kept.files}

    def is_of(self, line: str, stamp: FilmStamp) -> bool:
        """Whether there is this line and it is of this very file, perhaps named in another way."""
        kept = self._kept.get(line)
        if kept is None or kept.seen != _looks(stamp):
            return False
        if line == stamp.path:
            return not apart(kept.place, stamp.place)
        names = (os.path.basename(line), os.path.basename(stamp.path))
        return names[0] == names[1] and kept.place is not None and kept.place == stamp.place

    def is_done(self, stamp: FilmStamp, line: str | None = None) -> bool:
        """Whether this very file has a result, by default in the line of its name: it is not done again."""
        line = stamp.path if line is None else line
        if not self.is_of(line, stamp):
            return False
        kept = self._kept[line]
        return kept.failure in (None, "film") and all((self._out / name).is_file() for name in kept.files)

    def refuse_other(self, stamp: FilmStamp, name: str) -> None:
        """Refuse a film whose result would take the place of that of `name`, a film of another folder.

        Raises:
            OutputError: it would.
        """
        kept = self._kept.get(name)
        if kept is not None and apart(kept.place, stamp.place):
            raise OutputError(
                f"{self._where} holds the result of another {name}, of a folder elsewhere: choose another "
                f"--out; if it is the same film, moved, replace the old folder in {RESULTS} by the new one."
            )

    def forget(self, names: Iterable[str], same: Collection[str] = ()) -> None:
        """Take the lines of films that are to be done again out of the file, and their files away.

        A file goes before its line: whatever moment the process ends at, no old mask passes for a new one.
        The files of films that are the `same` as before stay until there are new ones.
        """
        known = {name for name in names if name in self._kept}
        for name in known:
            files = self._kept.pop(name).files
            for file in () if name in same else files:
                with suppress(OSError):
                    (self._out / file).unlink()
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

    def _read(self) -> tuple[dict[str, _Kept], bool]:
        """Return what is in the file by film, and whether something in it is torn or superseded."""
        found: dict[str, _Kept] = {}
        dropped = False
        if not self.path.is_file():
            return found, dropped
        versions = set()
        with open(self.path, "rb") as stream:
            offset = 0
            for number, raw in enumerate(stream, 1):
                document = _parsed(raw)
                if document is None:  # torn by the end of its process, or of the power
                    dropped = True
                else:
                    kept = self._checked(document, number, offset)
                    versions.add(str(document["version"]))
                    name = document["film"]["path"]
                    dropped |= name in found
                    found[name] = kept
                offset += len(raw)
        if versions - {adaloraqat.__version__}:
            self.warnings.append(f"{RESULTS} holds results of adaloraqat {', '.join(sorted(versions))}.")
        return found, dropped

    def _checked(self, document: Mapping[str, Any], number: int, offset: int) -> _Kept:
        """Return what is kept of a line; refuse one that this call would not have written."""
        where, schema = self._where, document.get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise OutputError(f"{where} holds results of a newer version: update adaloraqat.")
        kept = _kept(offset, document) if schema == SCHEMA and fits(ResultLine)(document) else None
        if kept is None or not all(map(_is_inside, kept.files)):
            raise OutputError(
                f"{where} holds a {RESULTS} from another program, or a damaged one (line {number}): choose "
                "another --out."
            )
        bundle, options = document["bundle"], document["options"]
        now = self._settings.options
        if bundle["sha256"] != self._settings.bundle.sha256:
            raise OutputError(
                f"{where} holds results of another model ({bundle['name']}, SHA-256 {bundle['sha256'][:12]}):"
                f" choose another --out for {self._settings.bundle.name}."
            )
        other = options != now and sorted(k for k in {*options, *now} if options.get(k) != now.get(k))
        if other:
            raise OutputError(
                f"{where} holds results made with other options ({', '.join(other)}): use the same ones, "
                "or choose another --out."
            )
        return kept

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
    known = {key: value for key, value in document["film"].items() if key in FilmStamp.__annotations__}
    film, entry = FilmStamp(**known), FilmEntry.from_dict(document["entry"])
    place = film.place
    place = place and sys.intern(place)
    return _Kept(offset, _looks(film), place, document["failure"], entry.answered, tuple(entry.files()))


def _is_inside(name: str) -> bool:
    """Return whether a file stays in the folder that its name is relative to: it may be removed."""
    if not _UNUSUAL.search(name):
        return True
    path = Path(name)
    return not path.is_absolute() and not path.drive and ".." not in path.parts


def _looks(film: FilmStamp) -> tuple[Any, ...]:
    """Return what changes with a film's file, or with the mask that is to be corrected."""
    return film.size, film.mtime_ns, film.mask and tuple(film.mask)


def _parsed(raw: bytes) -> dict[str, Any] | None:
    """Return a whole line's object, None for a torn or damaged one."""
    if not raw.endswith(b"\n"):
        return None
    try:
        document = json.loads(raw, parse_constant=_no_number)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _no_number(name: str) -> NoReturn:
    """Refuse NaN and infinity, which JSON has not, and Python reads."""
    raise ValueError(name)


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
