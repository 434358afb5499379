"""Build the wheels, check them, and use them in empty environments of every Python that is here.

    python packages/check_wheels.py [--out dist] [--python 3.11 --python 3.12 ...]

Needs the extra `release`, and the page as `make page` builds it. Runs alike on Linux, macOS and Windows. The
last lines say which Pythons ran; one that is not on this machine is skipped and named. Ends with 1 where
anything is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
FIRST, SECOND, THIRD = "adaloraqat", "adaloraqat_weights", "adaloraqat_page"
PROJECTS = {FIRST: ROOT, SECOND: ROOT / "packages/weights", THIRD: ROOT / "packages/page"}
LIMITS = {FIRST: 20_000_000, SECOND: 50_000_000, THIRD: 25_000_000}
"""Bytes of a wheel."""


class Wrong(Exception):
    """What is wrong, in one sentence."""


def main() -> int:
    """Run all checks; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument(
        "--python", action="append", help="3.11, or the path of one; may be given several times."
    )
    options = parser.parse_args()
    try:
        if not (PROJECTS[THIRD] / "src" / THIRD / "site/licences.txt").is_file():
            raise Wrong("the page is not built: run `make page` first")
        wheels = {name: build(name, options.out) for name in PROJECTS}
        for name, wheel in wheels.items():
            check(name, wheel)
        say(check_versions(wheels))
        outcomes = {python: try_python(python, wheels) for python in options.python or PYTHONS}
    except Wrong as wrong:
        say(f"WRONG: {wrong}")
        return 1
    for python, outcome in outcomes.items():
        say(f"Python {python}: {outcome}")
    return 0 if any(outcome == RAN for outcome in outcomes.values()) else 1


RAN = "installed; segment, evaluate, recipes, completion and the page work"


def build(name: str, out: Path) -> Path:
    """Build the sdist, and the wheel from that sdist alone: what the sdist lacks, the wheel lacks too."""
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob(f"{name}-*.whl"), *out.glob(f"{name}-*.tar.gz")):
        old.unlink()
    run(sys.executable, "-m", "build", "--outdir", str(out), str(PROJECTS[name]))
    (wheel,) = out.glob(f"{name}-*.whl")
    return wheel


def check(name: str, wheel: Path) -> None:
    """Check one wheel and its sdist: size, content, metadata."""
    (sdist,) = wheel.parent.glob(f"{name}-*.tar.gz")
    size = wheel.stat().st_size
    say(f"{wheel.name}: {size / 1e6:.2f} MB; {sdist.name}: {sdist.stat().st_size / 1e6:.2f} MB")
    if size > LIMITS[name]:
        raise Wrong(f"{wheel.name} has {size:,} bytes, and {LIMITS[name]:,} are allowed")
    source = PROJECTS[name] / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    inside = {entry for entry in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in entry}
    if inside != wanted:
        raise Wrong(f"{wheel.name} and {source.name}/{name} differ in {sorted(inside ^ wanted)[:5]}")
    with tarfile.open(sdist) as archive:
        links = [member.name for member in archive.getmembers() if member.issym() or member.islnk()]
    if links:
        raise Wrong(f"{sdist.name} holds links, which not every platform has: {links[:5]}")
    run(sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist))
    # W004: a folder of a model has a name with a hyphen, and is no module
    run(sys.executable, "-m", "check_wheel_contents", "--toplevel", name, str(wheel))
    said = metadata(wheel)
    left = re.findall(r"\]\((?!https?:|#)[^)]*\)", str(said.get_payload()))
    if left:
        raise Wrong(
            f"the description of {wheel.name} has links that lead nowhere outside the repository: {left[:5]}"
        )
    for file in said.get_all("License-File", []):
        if f"/licenses/{file}" not in "".join(zipfile.ZipFile(wheel).namelist()):
            raise Wrong(f"{wheel.name} lacks its licence file {file}")
    say(f"  {said['License-Expression']}; twine and check-wheel-contents find nothing")


def check_versions(wheels: dict[str, Path]) -> str:
    """Compare the versions of the wheels, which have one place."""
    versions = {metadata(wheel)["Version"] for wheel in wheels.values()}
    if len(versions) != 1:
        raise Wrong(f"the wheels have versions {', '.join(sorted(versions))}")
    return f"all wheels are version {versions.pop()}"


def metadata(wheel: Path) -> email.message.Message:
    """Return what a wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [entry for entry in archive.namelist() if entry.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def try_python(version: str, wheels: dict[str, Path]) -> str:
    """Use the wheels in an empty environment of one Python; return what came of it."""
    python = find_python(version)
    if python is None:
        return "skipped: there is none on this machine"
    with tempfile.TemporaryDirectory(prefix="adaloraqat-") as folder:
        use(Environment(python, Path(folder)), wheels)
    return RAN


def find_python(version: str) -> str | None:
    """Return the interpreter of a version, or None where none of that name runs here."""
    launcher = [["py", f"-{version}"]] if os.name == "nt" else []
    here = [[sys.executable]] if version == ".".join(map(str, sys.version_info[:2])) else []
    named = [[version]] if os.sep in version else [[f"python{version}"]]
    pyenv = sorted(
        Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions").glob(f"{version}.*")
    )
    for command in [*here, *named, *launcher, *([str(place / "bin/python")] for place in pyenv)]:
        if shutil.which(command[0]) is None:
            continue
        told = subprocess.run(
            [*command, "-c", "import sys, venv; print(sys.executable)"], capture_output=True, text=True
        )
        if told.returncode == 0:
            return told.stdout.strip()
    return None


class Environment:
    """An empty environment with a folder to work in, away from every checkout."""

    def __init__(self, python: str, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        run(python, "-m", "venv", str(folder / "venv"))
        self.scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")

    def install(self, *what: str) -> None:
        """Install by pip, in the versions that were tested together."""
        pip = [str(self.scripts / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, "--no-compile", "--constraint", str(ROOT / "constraints.txt"), *what, cwd=self.folder)

    def call(self, *arguments: str, code: int = 0, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the command line; it must end with `code`."""
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        environment = {**kept, "ADALORAQAT_CACHE": "off", **settings}
        return run(str(self.scripts / "adaloraqat"), *arguments, code=code, cwd=self.folder, env=environment)

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start the command line and leave it running until the block ends."""
        command = [str(self.scripts / "adaloraqat"), *arguments]
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


def use(environment: Environment, wheels: dict[str, Path]) -> None:
    """Do with the installed wheels what a user does."""
    environment.install(f"{wheels[FIRST]}[evidence]")
    environment.call("data", "phantom", "--out", "films", "--count", "4")
    carried = {
        name.split("/")[2] for name in zipfile.ZipFile(wheels[FIRST]).namelist() if "/weights/" in name
    }
    alone = ["segment", "films/images", "--out", "alone", "--json"]
    if "lung-open" in carried:
        document = json.loads(environment.call(*alone).stdout)
        expect(
            document["model"] == "lung-open" and len(document["notices"]) == 1,
            "lung-open stands in, with a notice",
        )
    else:
        expect(
            "packages/weights" in environment.call(*alone, code=2).stderr,
            "no model: the sentence says what to do",
        )
    refused = environment.call("segment", "films/images", "--model", "lung-field", code=2).stderr
    expect(
        "adaloraqat-weights" in refused and "Traceback" not in refused,
        "lung-field is refused with its package",
    )

    environment.install(str(wheels[SECOND]))
    document = json.loads(environment.call("segment", "films/images", "--out", "masks", "--json").stdout)
    expect(document["model"] == "lung-field" and document["notices"] == [], "the default is lung-field")
    expect(len(list((environment.folder / "masks").glob("*_mask.png"))) == 4, "four masks")
    listed = json.loads(environment.call("weights", "list", "--json").stdout)["models"]
    for name in os.listdir(PROJECTS[SECOND] / "src" / SECOND):
        if (PROJECTS[SECOND] / "src" / SECOND / name).is_dir() and name != "__pycache__":
            expect(listed[name]["package"] == "adaloraqat-weights", f"{name} is told with its package")
    environment.call(
        "evaluate", "lung-field", "--data", "films/manifest.csv", "--split", "all", "--out", "scores"
    )
    scores = json.loads((environment.folder / "scores/evaluation.json").read_text(encoding="utf-8"))
    expect("lung-field" in scores["models"], "evaluation.json has the model")
    words = {
        "COMP_WORDS": "adaloraqat segment --mod",
        "COMP_CWORD": "2",
        "_ADALORAQAT_COMPLETE": "complete_bash",
    }
    expect(environment.call(**words).stdout.split() == ["--model"], "the shell completes --mod")
    missing = environment.call("page", code=2).stderr
    expect("adaloraqat_page-" in missing and missing.count("\n") == 1, "without the page: a sentence")
    environment.install(str(wheels[THIRD]))
    with environment.started("page", "--port", "0") as page:
        assert page.stdout is not None
        url = page.stdout.readline().strip()
        answer = urllib.request.urlopen(url, timeout=60)
        expect(b"<title>" in answer.read(), "the page answers")
        expect("'self'" in answer.headers["Content-Security-Policy"], "the page has its policy")
        served = json.load(urllib.request.urlopen(f"{url}models.json", timeout=60))
        expect(served["default"] == "lung-field-fast", "the page opens with the fast model")
    untrained = environment.call(
        "train", "recipes/adapt.yaml", "--data", "films/manifest.csv", "--out", "run", code=2
    )
    expect(".[train]" in untrained.stderr, "training names its extra")


def expect(holds: bool, what: str) -> None:
    """Raise `Wrong` unless it holds."""
    if not holds:
        raise Wrong(f"this does not hold: {what}")


def run(*command: str, code: int = 0, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command, quietly; it must end with `code`."""
    ended = subprocess.run(command, capture_output=True, text=True, **settings)  # type: ignore[call-overload]
    if ended.returncode != code:
        shown = " ".join([Path(command[0]).name, *command[1:]])
        raise Wrong(
            f"{shown} ended with {ended.returncode}, not {code}:\n"
            f"{ended.stdout[-2000:]}{ended.stderr[-2000:]}"
        )
    return ended


def say(line: str) -> None:
    """Print one line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
