"""What `export --to huggingface` writes: float weights, and a README.md that tells who reads them."""

from __future__ import annotations

from pathlib import Path

from transformers import SamModel

from adaloraqat.errors import OutputError
from adaloraqat.files import check_folder, write_text
from adaloraqat.models.checkpoints import save_base
from adaloraqat.models.lite_medsam import LiteMedSam
from adaloraqat.radiograph.preprocess import Preprocessing

README = "README.md"

_SAM = (
    "transformers reads it by `SamModel.from_pretrained`",
    "from transformers import SamModel\n\nmodel = SamModel.from_pretrained({folder!r})",
)
_LITE_MEDSAM = (
    "transformers reads it by `AutoModel.from_pretrained` once `adaloraqat.models.lite_medsam` is imported, "
    "because no code travels with the weights",
    "import adaloraqat.models.lite_medsam  # which tells transformers of this kind of model\n"
    "from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained({folder!r})",
)


def refuse_filled(out: Path) -> None:
    """Refuse a folder that cannot be made, or that holds anything.

    Raises:
        OutputError: it does.
    """
    check_folder(out)
    if out.exists() and any(out.iterdir()):
        raise OutputError(
            f"{out.absolute().name} is not empty, and nothing in it is overwritten: choose a new --out."
        )


def write_float_weights(
    model: SamModel, folder: Path, half: bool = False, preprocessing: Preprocessing | None = None
) -> str:
    """Write the folder of `save_base`, and a README.md; return what a person has to know to read it.

    Raises:
        CheckpointError: as `save_base`.
        OutputError: the folder cannot be written.
    """
    save_base(model, folder, half, preprocessing)
    sentence, code = _LITE_MEDSAM if isinstance(model, LiteMedSam) else _SAM
    name = folder.absolute().name
    told = "" if preprocessing is None else ", with its preprocessing (in config.json)"
    write_text(
        folder / README,
        f"# {name}\n\nFloat weights by `adaloraqat export --to huggingface`: {sentence}.\n\n"
        f"```python\n{code.format(folder=name)}\n```\n\n"
        f"adaloraqat takes the folder as `base.weights` of a recipe{told}.\n\n"
        "Not a medical device.\n",
    )
    return sentence
