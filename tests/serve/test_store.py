"""Jobs on the disk: what is taken, recorded once, resumed and deleted."""

import io
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adaloraqat.errors import AdaloraqatError, OutputError
from adaloraqat.serve.database import Database
from adaloraqat.serve.film import StoreFull
from adaloraqat.serve.job import KEPT_FOR, Limits, WaitingFilm, Wish
from adaloraqat.serve.store import KEPT_AFTER_FETCH, MOST_TRIES, SAME_FOR, Store

MASKS = Wish(outputs=frozenset({"json", "mask"}))
SECRET = "Musterfrau^Erika"
Open = Callable[..., Store]


def films(count: int, text: str = "film") -> list[tuple[str, io.BytesIO]]:
    return [(f"{n}.png", io.BytesIO(f"{text} {n}".encode())) for n in range(count)]


def take_all(store: Store) -> list[WaitingFilm]:
    return list(iter(store.take, None))


def on_disk(folder: Path) -> list[str]:
    return sorted(path.name for name in ("films", "results") for path in (folder / name).iterdir())


def test_a_film_is_taken_worked_on_and_deleted(open_store: Open, jobs_dir: Path) -> None:
    store = open_store()
    job = store.add(films(2), MASKS)
    first, second = take_all(store)
    assert (store.data(first), store.data(second)) == (b"film 0", b"film 1")
    assert (first.name, first.wish) == ("0.png", MASKS)
    assert store.record(first, {"path": "0.png", "area_px": 7}, {"mask": b"PNG"})
    assert store.fail(second, "It is no film.")
    state = store.state(job)
    assert state is not None
    assert (state.films, state.done, state.failed, state.finished) == (2, 1, 1, True)
    one, two = store.results(job)
    assert (one.number, one.failed, one.entry["area_px"], one.outputs) == (0, False, 7, ("mask",))
    assert (two.number, two.failed, two.entry["error"], two.outputs) == (1, True, "It is no film.", ())
    assert store.results(job, after=one.event) == [two]
    assert store.output(job, 0, "mask") == b"PNG"
    assert on_disk(jobs_dir) == [f"{job}-0-mask"]  # the films are gone


def test_only_this_user_can_read(open_store: Open, jobs_dir: Path) -> None:
    store = open_store()
    job = store.add(films(1), MASKS)
    store.record(take_all(store)[0], {}, {"mask": b"PNG"})
    store.add(films(1), MASKS)
    places = [jobs_dir, *jobs_dir.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in places if path.is_dir()} == {0o700}
    assert store.database.result(job, 0, "mask").stat().st_mode & 0o777 == 0o600


def test_jobs_take_turns(open_store: Open) -> None:
    store = open_store()
    long, short = store.add(films(3), MASKS), store.add(films(1), MASKS)
    order = [(film.job, film.number) for film in take_all(store)]
    assert order == [(long, 0), (short, 0), (long, 1), (long, 2)]


def test_what_was_in_work_is_worked_on_again(open_store: Open) -> None:
    store = open_store()
    job = store.add(films(3), MASKS)
    store.record(take_all(store)[1], {}, {})
    again = open_store()
    assert [film.number for film in take_all(again)] == [0, 2]
    assert [result.number for result in again.results(job)] == [1]


def test_a_film_that_ends_the_server_again_and_again_fails(open_store: Open) -> None:
    job = open_store().add(films(1), MASKS)
    for tries in range(MOST_TRIES + 1):
        store = open_store()
        assert (store.take() is None) == (tries == MOST_TRIES)
    [result] = store.results(job)
    assert result.failed
    assert f"ended {MOST_TRIES} times" in result.entry["error"]


def test_a_film_that_ends_the_server_holds_nobody_up(open_store: Open) -> None:
    open_store().add(films(3), MASKS)
    firsts = []
    for _ in range(6):
        taken = open_store().take()
        assert taken is not None
        firsts.append(taken.number)
    assert firsts == [0, 0, 0, 1, 1, 1]
    assert [film.number for film in take_all(open_store())] == [2, 0, 1]


def test_a_film_that_could_not_be_taken_waits(open_store: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when that it is in progress is written down."""
    store = open_store()
    store.add(films(1), MASKS)
    writing = store.database.writing

    @contextmanager
    def full() -> Iterator[sqlite3.Connection]:
        with writing() as rows:
            yield rows
            raise RuntimeError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(store.database, "writing", full)
        with pytest.raises(RuntimeError, match="disk is full"):
            store.take()
    taken = store.take()
    assert taken is not None
    with monkeypatch.context() as patched:
        patched.setattr(store.database, "writing", full)
        with pytest.raises(RuntimeError, match="disk is full"):
            store.give_back(taken)
    assert store.take() is not None


def test_an_orderly_end_counts_as_no_try(open_store: Open) -> None:
    open_store().add(films(1), MASKS)
    for _ in range(MOST_TRIES + 1):
        store = open_store()
        taken = store.take()
        assert taken is not None
        store.give_back(taken)


def test_no_result_for_a_deleted_job(open_store: Open, jobs_dir: Path) -> None:
    store = open_store()
    job = store.add(films(2), MASKS)
    taken = store.take()
    assert taken is not None
    assert store.delete(job)
    assert not store.record(taken, {}, {"mask": b"PNG"})
    assert not store.fail(taken, "late")
    assert (store.take(), store.state(job), store.delete(job)) == (None, None, False)
    assert on_disk(jobs_dir) == []


def test_a_second_result_changes_nothing(open_store: Open) -> None:
    store = open_store()
    job = store.add(films(1), MASKS)
    taken = store.take()
    assert taken is not None
    assert store.record(taken, {"area_px": 1}, {})
    assert not store.record(taken, {"area_px": 2}, {})
    assert [result.entry for result in store.results(job)] == [{"area_px": 1}]


def test_fetched_files_go_and_after_a_day_the_job(open_store: Open, jobs_dir: Path) -> None:
    store = open_store()
    job = store.add(films(2), MASKS)
    for film in take_all(store):
        store.record(film, {"path": SECRET}, {"mask": b"PNG"})
    store.fetched(job, 0, "mask")
    state = store.state(job)
    assert state is not None
    store.sweep(state.created + 1)
    assert len(on_disk(jobs_dir)) == 2
    store.sweep(state.created + KEPT_AFTER_FETCH + 60)
    assert on_disk(jobs_dir) == [f"{job}-1-mask"]
    with pytest.raises(AdaloraqatError, match="fetched"):
        store.output(job, 0, "mask")
    never = store.add(films(1), MASKS)
    store.sweep(state.created + KEPT_FOR - 1)
    assert store.state(job)
    store.sweep(state.created + KEPT_FOR + 60)
    assert store.state(job) is store.state(never) is None
    assert on_disk(jobs_dir) == []
    for path in jobs_dir.iterdir():  # not in free pages, nor in the log
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


def test_an_archives_film_is_known_again(open_store: Open) -> None:
    """By a hash of its bytes: a sender that did not hear of success sends it again."""
    wish = Wish(outputs=frozenset({"json", "seg"}), archived=True)
    store = open_store()
    assert store.receive("1.2.3", b"meta A", b"A", wish)
    assert store.receive("1.2.3", b"other meta A", b"A", wish) is None
    assert store.receive("1.2.3", b"meta B", b"B", wish)  # changed: another film
    one, two = take_all(store)
    store.record(one, {}, {"seg": b"SEG"})
    store.fail(two, "no film")
    assert store.receive("1.2.3", b"meta A", b"A", wish) is None
    store.sweep(time.time() + SAME_FOR + 60)
    assert store.receive("1.2.3", b"meta A", b"A", wish) is None  # its object still waits for the archive
    assert store.receive("1.2.3", b"meta B", b"B", wish)


@pytest.mark.parametrize("limits", [Limits(films=3, free_bytes=0), Limits(free_bytes=1 << 60)])
def test_full(open_store: Open, jobs_dir: Path, limits: Limits) -> None:
    store = open_store(limits)
    if limits.films == 3:
        store.add(films(2), MASKS)
    before = on_disk(jobs_dir)
    with pytest.raises(StoreFull, match="try again later"):
        store.add(films(2), MASKS)
    assert on_disk(jobs_dir) == before


FILL = """
import io, resource, signal, sys
from pathlib import Path
from adaloraqat.serve.database import Database
from adaloraqat.serve.film import StoreFull
from adaloraqat.serve.store import Limits, Store, Wish
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(Database(Path(sys.argv[1])), Limits(free_bytes=0))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
count = 0
for size in (1000, 300_000, 1000):
    try:
        store.add([("a", io.BytesIO(b"x")), ("b", io.BytesIO(bytes(size)))], Wish())
        count += 1
    except StoreFull as error:
        print(error)
print(count, len(list((Path(sys.argv[1]) / "films").iterdir())))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a process")
def test_a_disk_that_fills_up_takes_whole_jobs_or_nothing(jobs_dir: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", FILL, jobs_dir], capture_output=True, text=True)
    assert ended.stdout.splitlines()[1:] == ["2 4"], ended.stderr
    assert "no space" in ended.stdout


def test_files_without_a_row_are_removed_at_the_start(open_store: Open, jobs_dir: Path) -> None:
    store = open_store()
    job = store.add(films(1), MASKS)
    for name in ("films/" + "a" * 32 + "-0", "results/" + "a" * 32 + "-0-mask", f"results/{job}-0-mask"):
        (jobs_dir / name).write_bytes(b"left by a kill")
    (jobs_dir / "films" / "mine.png").write_bytes(b"not ours")
    open_store()
    assert on_disk(jobs_dir) == [f"{job}-0", "mine.png"]


def test_one_server_a_folder(open_store: Open, jobs_dir: Path) -> None:
    open_store()
    code = "import sys, pathlib, adaloraqat.serve.database as it; it.Database(pathlib.Path(sys.argv[1]))"
    ended = subprocess.run([sys.executable, "-c", code, jobs_dir], capture_output=True, text=True)
    assert "Another server keeps its jobs in jobs: stop it, or choose another --jobs-dir." in ended.stderr


def readable(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    os.chmod(folder, 0o755)


def of_others(folder: Path) -> None:
    (folder / "films").mkdir(mode=0o700, parents=True)
    os.chmod(folder, 0o700)


def a_file(folder: Path) -> None:
    folder.write_text("")


def damaged(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "jobs.sqlite3").write_bytes(b"no database" * 100)


def newer(folder: Path) -> None:
    Database(folder).close()
    connection = sqlite3.connect(folder / "jobs.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (readable, "can be read by other users: run chmod 700"),
        (of_others, "holds other things than jobs"),
        (a_file, "cannot hold jobs"),
        (damaged, "cannot be used .* move the folder away"),
        (newer, "is not of this version"),
    ],
)
def test_folders_that_are_refused(jobs_dir: Path, make: Callable[[Path], None], sentence: str) -> None:
    make(jobs_dir)
    with pytest.raises(OutputError, match=sentence):
        Database(jobs_dir)
