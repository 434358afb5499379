"""What the exported files hold of a model, read back from the files themselves."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx

_NO_PARAMETERS = ("_scale", "_zero_point", "running_mean", "running_var")


def stored_parameters(files: Iterable[Path], parts: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return {data type: {name: values}} of a model's parameters in ONNX files; `parts` are its children.

    Weights are int8, float16 or float32; biases of integer layers are int32. Scales, zero points and
    constants of the graph (the Fourier frequencies among them) are no parameters; equal tensors, as untrained
    models have them, are stored once. What a graph does not need is not in it: of a SAM the mask
    prompt's convolutions, the embeddings of points, and the heads of the second to fourth mask.
    """
    of_the_model = tuple(f"{part}." for part in parts)
    found: dict[str, dict[str, int]] = {}
    for file in files:
        for tensor in onnx.load(file).graph.initializer:
            if tensor.name.startswith(of_the_model) and not tensor.name.endswith(_NO_PARAMETERS):
                kind = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
                found.setdefault(kind, {})[tensor.name] = int(np.prod(tensor.dims))
    return found


def per_data_type(stored: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Return {data type: parameters} of what `stored_parameters` found."""
    return dict(Counter({kind: sum(sizes.values()) for kind, sizes in stored.items()}))


def is_stored(module: str, stored: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether a layer or a table of that name has a parameter in the files."""
    return any(name == module or name.startswith(f"{module}.") for names in stored.values() for name in names)
