"""Opening one graph in ONNX Runtime or OpenVINO, set so that it stays the model that was tested."""

import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaloraqat.errors import BundleError, refused_as
from adaloraqat.extras import install
from adaloraqat.files import cache_root

CPU = "cpu"
PROVIDERS = {
    CPU: "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
"""ONNX Runtime's execution providers by device."""
OPENVINO_DEVICES = {CPU: "CPU", "gpu": "GPU"}
"""OpenVINO's devices."""
KEPT_MODELS = 8
"""Models that OpenVINO compiled and that are kept; the one used longest ago goes first."""

# While it reads or writes what it compiled, OpenVINO sets the locale of the whole process to "C", and then
# back to what it found: of two threads that do so at once one would leave "C" behind, and texts were ASCII.
_OPENING = threading.Lock()
_FATAL_ONLY = 4  # a failure reaches the user as a BundleError; the runtime's own lines would only repeat it


def onnxruntime_session(
    path: Path,
    threads: int | None = None,
    names: tuple[tuple[str, ...], tuple[str, ...]] | None = None,
    profile_prefix: str | None = None,
    device: str = CPU,
    integers_are_stored: bool = False,
) -> Any:
    """Open one ONNX file in ONNX Runtime on `device` (of `PROVIDERS`), quietly.

    `names` are the inputs and outputs it must have. With `profile_prefix` the session records what it
    executes, in a file of that prefix. `integers_are_stored`: no product is one of integers, so that weights
    stored as such become floats once, here, and not in every run.

    Raises:
        BundleError: the runtime refuses the file, lacks the device, or inputs or outputs are others.
    """
    import onnxruntime

    found_providers = onnxruntime.get_available_providers()
    _check_device("onnxruntime", device, PROVIDERS, found_providers)
    onnxruntime.set_default_logger_severity(_FATAL_ONLY)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    # by default its threads wait in busy loops between layers and after the answer, which slows down whatever
    # runs next to it (another engine, a second worker) and on two cores answers no sooner
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if integers_are_stored:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    with refused_as(_refused(path, "ONNX Runtime")):  # it raises its own classes, which share no base
        # what a device cannot compute the CPU does
        providers = list(dict.fromkeys((PROVIDERS[device], PROVIDERS[CPU])))
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    # a provider that is listed and cannot start, for want of a driver, is left out in silence
    _check_device("onnxruntime", device, PROVIDERS, session.get_providers())
    found = ({i.name for i in session.get_inputs()}, {o.name for o in session.get_outputs()})
    _check_names(path, found, names)
    return session


def openvino_package() -> Any:
    """Return OpenVINO's Python package.

    Raises:
        BundleError: it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise BundleError(
            f"OpenVINO is not installed: run {install('openvino')}, or use onnxruntime."
        ) from error
    return openvino


def openvino_model(
    path: Path,
    threads: int | None = None,
    names: tuple[tuple[str, ...], tuple[str, ...]] | None = None,
    cache: Path | None = None,
    device: str = CPU,
    given: str | None = None,
    one_image: bool = False,
) -> Any:
    """Compile one ONNX or IR file in OpenVINO for `device` (of `OPENVINO_DEVICES`), for latency.

    `names` as in `onnxruntime_session`. In the folder `cache` the compiled model is kept for the next time.
    `given` names an optional input that will be given; OpenVINO takes one for the constant in its place.
    `one_image`: the first axis of the only input will always be 1, for which it computes a tenth faster than
    for any number.

    Raises:
        BundleError: OpenVINO is not installed, lacks the device, refuses the file, or its inputs or outputs
            are others.
    """
    core = openvino_package().Core()
    # several GPUs are called GPU.0, GPU.1
    _check_device("openvino", device, OPENVINO_DEVICES, [one.split(".")[0] for one in core.available_devices])
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        # the defaults would quietly round float layers to bfloat16 where the CPU has it, and quantise float
        # activations on the fly wherever weights are int8: neither is the model that was tested
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    if threads is not None and device == CPU:
        config["INFERENCE_NUM_THREADS"] = threads
    if cache is not None:
        config["CACHE_DIR"] = str(cache)
    with _OPENING, refused_as(_refused(path, "OpenVINO")):
        source = core.read_model(str(path))
        if given is not None:
            _add_input(source, given)
        if one_image:
            source.reshape([1, *list(source.inputs[0].partial_shape)[1:]])
        model = core.compile_model(source, OPENVINO_DEVICES[device], config)
    found = (set().union(*(i.names for i in model.inputs)), set().union(*(o.names for o in model.outputs)))
    _check_names(path, found, names)
    return model


def _add_input(model: Any, name: str) -> None:
    """Put an input of any size (a, b) in place of the constant `name` of OpenVINO's `model`."""
    openvino = openvino_package()
    constant = next(node for node in model.get_ops() if node.get_friendly_name() == name)
    parameter = openvino.op.Parameter(constant.get_output_element_type(0), openvino.PartialShape([-1, -1]))
    constant.output(0).replace(parameter.output(0))
    parameter.output(0).set_names({name})
    model.add_parameters([parameter])
    model.validate_nodes_and_infer_types()


def openvino_cache(key: str) -> Path | None:
    """Return a writable folder for the compiled form of one model, made where missing; None: no cache.

    OpenVINO compiles for seconds, and reads what it compiled much faster. It notes its version, the CPU and
    the settings there itself. The folder lies in `ADALORAQAT_CACHE` where that is set ("off": no cache), else
    in the user's cache. All of it may be deleted at any time.

    Args:
        key: the SHA-256 of the model's file, so that nothing stale is ever read.
    """
    try:
        root = cache_root()
        if root is None:
            return None
        models = root / "openvino"
        folder = models / key[:32]
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        _forget_oldest(models)
    except (OSError, RuntimeError):  # no home, or nowhere to write: a cache is only a convenience
        return None
    return folder if os.access(folder, os.W_OK) else None


def _forget_oldest(models: Path) -> None:
    by_use = sorted(models.iterdir(), key=lambda folder: folder.stat().st_mtime)
    for folder in by_use[:-KEPT_MODELS]:
        shutil.rmtree(folder, ignore_errors=True)


def _check_device(runtime: str, device: str, known: Mapping[str, str], found: Sequence[str]) -> None:
    """Refuse a device that is not among the `found`, with those that are; the CPU always is."""
    if device == CPU or known[device] in found:
        return
    available = ", ".join(f"{runtime}:{name}" for name, own in known.items() if own in found and name != CPU)
    raise BundleError(
        f"{runtime} finds no {device} on this computer: use {available or runtime}, or install the build of "
        f"{runtime} and the driver that {device} needs."
    )


def _check_names(
    path: Path, found: tuple[set[str], set[str]], names: tuple[tuple[str, ...], tuple[str, ...]] | None
) -> None:
    if names is None:
        return
    if not set(names[0]) == found[0] or not set(names[1]) <= found[1]:
        raise BundleError(
            f"{path.name} in the bundle {_bundle_of(path)!r} does not have the inputs and outputs of a "
            "bundle: "
            f"export it again with `adaloraqat export`."
        )


def _refused(path: Path, engine: str) -> BundleError:
    return BundleError(
        f"{engine} cannot open {path.name} of the bundle {_bundle_of(path)!r}: update {engine}, "
        f"or export the bundle again."
    )


def _bundle_of(graph: Path) -> str:
    return graph.parents[1 if graph.suffix == ".xml" else 0].name
