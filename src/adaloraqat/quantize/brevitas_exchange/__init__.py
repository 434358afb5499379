"""Exchange with Brevitas: models of ours in its layers, and its layers in ours.

An extra (`pip install 'adaloraqat[brevitas]'`) that nothing else here imports: training, conversion and files
use the numerics of `numerics.py`. No file is read or written; a state_dict goes through one by torch.save and
`torch.load(path, weights_only=True)`.

Raises:
    RecipeError: on import, where Brevitas is not installed.
"""

from importlib.util import find_spec

from adaloraqat.errors import RecipeError

if find_spec("brevitas") is None:
    raise RecipeError("Brevitas is not installed: run pip install 'adaloraqat[brevitas]'.")

from adaloraqat.quantize.brevitas_exchange.incoming import from_brevitas
from adaloraqat.quantize.brevitas_exchange.outgoing import BrevitasProduct, BrevitasUpscale, to_brevitas

__all__ = ["BrevitasProduct", "BrevitasUpscale", "from_brevitas", "to_brevitas"]
