"""Build the page from web/ into packages/page, with the licences of everything that it contains.

    python packages/build_page.py

Needs Node.js 20 or later with npm, which fetches the packages of web/package-lock.json, and the Python
package onnxruntime, whose notices hold for its build for browsers too. Ends with 1 where it cannot be built.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "web"
SITE = ROOT / "packages/page/src/adaloraqat_page/site"
LICENCES = "licences.txt"
OLDEST_NODE = 20

COMPILED = {
    "@cornerstonejs/codec-charls": "charls.txt",
    "@cornerstonejs/codec-libjpeg-turbo-8bit": "libjpeg-turbo.txt",
    "@cornerstonejs/codec-openjpeg": "openjpeg.txt",
}
"""C libraries inside npm packages, and their licences in web/licences."""

UNSTATED = {
    "@cornerstonejs/codec-libjpeg-turbo-8bit": "Copyright (c) 2020 Chris Hafey",
    "@cornerstonejs/codec-openjpeg": "Copyright (c) 2020 Chris Hafey",
    "onnxruntime-common": "Copyright (c) Microsoft Corporation",
    "onnxruntime-web": "Copyright (c) Microsoft Corporation",
}
"""Packages without a licence file: whose they are. Their repositories say: the MIT licence."""


class Wrong(Exception):
    """What is wrong, in one sentence."""


def main() -> int:
    """Build; return the exit code."""
    try:
        npm = find_npm()
        if not is_installed():
            run(npm, "ci", "--no-audit", "--no-fund")
        run(npm, "run", "build")
        contained = json.loads((WEB / "node_modules/.contained.json").read_text(encoding="utf-8"))
        (SITE / LICENCES).write_text(licences(contained), encoding="utf-8")
    except Wrong as wrong:
        print(f"WRONG: {wrong}", flush=True)
        return 1
    size = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file())
    print(f"The page is built: {size / 1e6:.1f} MB, {len(contained)} packages of others.", flush=True)
    return 0


def is_installed() -> bool:
    """Tell whether what the lock file names is installed already, as npm notes in node_modules."""
    lock, noted = WEB / "package-lock.json", WEB / "node_modules/.package-lock.json"
    return noted.is_file() and noted.stat().st_mtime >= lock.stat().st_mtime


def find_npm() -> str:
    """Return npm's path; Node.js must be recent enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Wrong(f"the page needs Node.js {OLDEST_NODE} or later with npm, and there is none: install it")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    number = re.match(r"v(\d+)", said)
    if number is None or int(number[1]) < OLDEST_NODE:
        raise Wrong(f"the page needs Node.js {OLDEST_NODE} or later, and this is {said or 'broken'}")
    return npm


def run(*command: str) -> None:
    """Run a command of npm in web/; what it says is shown only where it fails."""
    ended = subprocess.run(command, cwd=WEB, capture_output=True, text=True, check=False)
    if ended.returncode:
        shown = " ".join(["npm", *command[1:]])
        raise Wrong(f"{shown} ended with {ended.returncode}:\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}")


def licences(contained: list[str]) -> str:
    """Return the licences of npm packages as one text."""
    parts = [
        "What the page contains of others, each with its licence. The page itself is Apache-2.0 (LICENSE).\n"
    ]
    for name in contained:
        about = json.loads((WEB / "node_modules" / name / "package.json").read_text(encoding="utf-8"))
        parts.append(f"{'=' * 78}\n{name} {about['version']}: {about['license']}\n{'=' * 78}\n")
        parts.append(text_of(name))
        if name in COMPILED:
            parts.append((WEB / "licences" / COMPILED[name]).read_text(encoding="utf-8"))
    if "onnxruntime-web" in contained:
        parts.append(f"{'=' * 78}\nWhat ONNX Runtime contains of others\n{'=' * 78}\n")
        parts.append(runtime_notices())
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def text_of(name: str) -> str:
    """Return the licence text of an npm package."""
    folder = WEB / "node_modules" / name
    found = sorted(path for path in folder.iterdir() if re.match(r"(licen[cs]e|copying)", path.name, re.I))
    if found:
        return found[0].read_text(encoding="utf-8")
    if name in UNSTATED:
        return f"{UNSTATED[name]}\n\n{(WEB / 'licences/mit.txt').read_text(encoding='utf-8')}"
    raise Wrong(f"the npm package {name} has no licence file: find out its licence and add it to UNSTATED")


def runtime_notices() -> str:
    """Return the notices of ONNX Runtime, which its package for Python carries."""
    spec = importlib.util.find_spec("onnxruntime")
    notices = Path(spec.origin).parent / "ThirdPartyNotices.txt" if spec and spec.origin else None
    if notices is None or not notices.is_file():
        raise Wrong("the notices of ONNX Runtime are in its Python package: pip install onnxruntime")
    return notices.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
