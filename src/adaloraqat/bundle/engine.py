"""The runtimes and devices that execute a bundle's two graphs, and where their compiled forms are kept.

An engine is named `runtime` or `runtime:device` ("onnxruntime", "onnxruntime:cuda", "openvino:gpu"); here is
the one place where it is chosen. Only the CPU is what parity was measured on.
"""

import functools
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.format import DECODER, ENCODER, MASK_PROMPT, STRUCTURES, Bundle
from adaloraqat.errors import BundleError, refused_as
from adaloraqat.extras import install
from adaloraqat.files import cache_root

FloatArray = NDArray[np.float32]

ENCODER_NAMES = (("image",), ("embedding",))
DECODER_NAMES = (("embedding", "boxes"), ("logits", "quality"))
MASK_PROMPT_NAMES = (("mask",), ("dense",))
STRUCTURES_NAMES = (("embedding",), ("structures", "mirrored"))
LABELS = "labels"
"""The decoder's optional input, in bundles that accept points."""
DEFAULT_ENGINE = "onnxruntime"
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

_FATAL_ONLY = 4  # a failure reaches the user as a BundleError; the runtime's own lines would only repeat it


class Engine(Protocol):
    """A bundle made ready to run."""

    name: str
    accepts_points: bool
    """Whether `decode` takes labels, and `embed_mask` can be called."""

    def encode(self, image: FloatArray) -> FloatArray:
        """Return the embedding (1, D, g, g) of a preprocessed image (C, S, S)."""
        ...

    def decode(
        self, embedding: FloatArray, boxes: FloatArray, labels: NDArray[np.int64] | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return logits (N, 4g, 4g) and raw quality (N,) for boxes (N, 4) in model pixels.

        With `labels` (N, T) `boxes` are the x, y (N, 2T) of points, then of a box's corners (`BOX_LABELS`),
        or of SAM's empty point (`NO_POINT`) without one; T is 0 where a mask alone is the prompt.
        """
        ...

    def embed_mask(self, logits: FloatArray) -> FloatArray:
        """Return (1, D, g, g), what a mask prompt of logits (4g, 4g) adds to the embedding."""
        ...

    def structures(self, embedding: FloatArray) -> tuple[FloatArray, float]:
        """Return logits (3, n, n) of both lungs and the heart, and one of the film being mirrored."""
        ...


def load_engine(bundle: Bundle, engine: str = DEFAULT_ENGINE, threads: int | None = None) -> Engine:
    """Make a bundle ready to run in `engine` (`runtime` or `runtime:device`), on `threads` CPU threads.

    `threads=None` leaves the number to the runtime.

    Raises:
        BundleError: the engine is unknown, not installed, or lacks the device, or it refuses the graphs.
    """
    runtime, _, device = engine.partition(":")
    if runtime not in ENGINES:
        raise BundleError(f"There is no engine called {runtime!r}: choose one of {', '.join(ENGINES)}.")
    known = ENGINES[runtime].devices
    if device and device not in known:
        raise BundleError(f"{runtime} has no device {device!r}: choose one of {', '.join(known)}.")
    if threads is not None and threads < 1:
        raise BundleError(f"{threads} threads cannot run a model: give 1 or more.")
    return ENGINES[runtime](bundle, threads, device or CPU)


class _TwoGraphs(ABC):
    """What the runtimes share: an encoder and a decoder graph, and the names that go in and out."""

    runtime: ClassVar[str]
    devices: ClassVar[Mapping[str, str]]
    _encoder: Any
    _decoder: Any
    _any_prompt: Any  # the decoder with its input `labels`
    _mask_prompt: Any  # the graph of mask prompts, opened when it is first asked for
    _structures: Any  # that of structures, likewise

    def __init__(self, bundle: Bundle, threads: int | None, device: str) -> None:
        self._bundle, self._threads, self._device = bundle, threads, device
        self.accepts_points = bundle.accepts_points
        self.name = self.runtime if device == CPU else f"{self.runtime}:{device}"
        self.settings = (self.name, threads)
        """What `load_engine` takes to make the same engine of the same bundle."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, threads={self.settings[1]})"

    def encode(self, image: FloatArray) -> FloatArray:
        """See `Engine.encode`."""
        return self._run(self._encoder, ENCODER_NAMES[1], {"image": image[None]})[0]

    def decode(
        self, embedding: FloatArray, boxes: FloatArray, labels: NDArray[np.int64] | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """See `Engine.decode`."""
        inputs: dict[str, NDArray[Any]] = {"embedding": embedding, "boxes": boxes}
        graph = self._decoder
        if labels is not None:
            inputs[LABELS], graph = labels, self._any_prompt
        logits, quality = self._run(graph, DECODER_NAMES[1], inputs)
        return logits, quality

    def embed_mask(self, logits: FloatArray) -> FloatArray:
        """See `Engine.embed_mask`."""
        return self._run(self._mask_prompt, MASK_PROMPT_NAMES[1], {"mask": logits[None, None]})[0]

    def structures(self, embedding: FloatArray) -> tuple[FloatArray, float]:
        """See `Engine.structures`."""
        logits, mirrored = self._run(self._structures, STRUCTURES_NAMES[1], {"embedding": embedding})
        return logits[0], float(mirrored[0])

    @abstractmethod
    def _run(self, graph: Any, outputs: tuple[str, ...], inputs: dict[str, NDArray[Any]]) -> list[FloatArray]:
        """Execute one graph; raises BundleError where it does not fit its inputs."""


class OnnxRuntimeEngine(_TwoGraphs):
    """ONNX Runtime: the base engine, on every platform."""

    runtime = "onnxruntime"
    devices = PROVIDERS

    def __init__(self, bundle: Bundle, threads: int | None = None, device: str = CPU) -> None:
        super().__init__(bundle, threads, device)
        self._encoder = self._open(bundle.encoder, ENCODER_NAMES)
        self._decoder = self._open(bundle.decoder, DECODER_NAMES)
        sides = self._encoder.get_inputs()[0].shape  # one that varies has a name in place of a number
        _check_image(bundle, [side if isinstance(side, int) else None for side in sides])

    @property
    def _any_prompt(self) -> Any:
        return self._decoder  # an input that has a value in the file may be given

    @functools.cached_property
    def _mask_prompt(self) -> Any:
        return self._open(self._bundle.mask_prompt, MASK_PROMPT_NAMES)

    @functools.cached_property
    def _structures(self) -> Any:
        return self._open(self._bundle.structures_graph, STRUCTURES_NAMES)

    def _open(self, path: Path, names: tuple[tuple[str, ...], tuple[str, ...]]) -> Any:
        stored = self._bundle.precision.weight_range == "none"
        return onnxruntime_session(
            path, self._threads, names, device=self._device, integers_are_stored=stored
        )

    def _run(self, graph: Any, outputs: tuple[str, ...], inputs: dict[str, NDArray[Any]]) -> list[FloatArray]:
        with refused_as(_cannot_run(self._bundle.name, "ONNX Runtime")):
            return graph.run(list(outputs), inputs)


class OpenVinoEngine(_TwoGraphs):
    """OpenVINO; only where the `openvino` extra is installed."""

    runtime = "openvino"
    devices = OPENVINO_DEVICES

    def __init__(self, bundle: Bundle, threads: int | None = None, device: str = CPU) -> None:
        super().__init__(bundle, threads, device)
        self._encoder = self._compiled(ENCODER, ENCODER_NAMES)
        self._decoder = self._compiled(DECODER, DECODER_NAMES)
        sides = self._encoder.inputs[0].partial_shape
        _check_image(bundle, [side.get_length() if side.is_static else None for side in sides])

    @functools.cached_property
    def _any_prompt(self) -> Any:
        names = ((*DECODER_NAMES[0], LABELS), DECODER_NAMES[1])
        return self._compiled(DECODER, names, given=LABELS)

    @functools.cached_property
    def _mask_prompt(self) -> Any:
        return self._compiled(MASK_PROMPT, MASK_PROMPT_NAMES)

    @functools.cached_property
    def _structures(self) -> Any:
        return self._compiled(STRUCTURES, STRUCTURES_NAMES)

    def _compiled(
        self, graph: str, names: tuple[tuple[str, ...], tuple[str, ...]], given: str | None = None
    ) -> Any:
        cache = openvino_cache(self._bundle.files[graph].sha256)
        path = self._bundle.openvino_graph(graph)
        return openvino_model(path, self._threads, names, cache, self._device, given)

    def _run(self, graph: Any, outputs: tuple[str, ...], inputs: dict[str, NDArray[Any]]) -> list[FloatArray]:
        with refused_as(_cannot_run(self._bundle.name, "OpenVINO")):
            results = graph(inputs)
            # OpenVINO reuses its output buffers, so the second pass would overwrite the first
            return [np.array(results[name], dtype=np.float32) for name in outputs]


ENGINES: dict[str, type[OnnxRuntimeEngine] | type[OpenVinoEngine]] = {
    OnnxRuntimeEngine.runtime: OnnxRuntimeEngine,
    OpenVinoEngine.runtime: OpenVinoEngine,
}


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
) -> Any:
    """Compile one ONNX or IR file in OpenVINO for `device` (of `OPENVINO_DEVICES`), for latency.

    `names` as in `onnxruntime_session`. In the folder `cache` the compiled model is kept for the next time.
    `given` names an optional input that will be given; OpenVINO takes one for the constant in its place.

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
    with refused_as(_refused(path, "OpenVINO")):
        source = str(path) if given is None else _with_input(core.read_model(str(path)), given)
        model = core.compile_model(source, OPENVINO_DEVICES[device], config)
    found = (set().union(*(i.names for i in model.inputs)), set().union(*(o.names for o in model.outputs)))
    _check_names(path, found, names)
    return model


def _with_input(model: Any, name: str) -> Any:
    """Return OpenVINO's `model` with an input of any size (a, b) in place of the constant `name`."""
    openvino = openvino_package()
    constant = next(node for node in model.get_ops() if node.get_friendly_name() == name)
    parameter = openvino.op.Parameter(constant.get_output_element_type(0), openvino.PartialShape([-1, -1]))
    constant.output(0).replace(parameter.output(0))
    parameter.output(0).set_names({name})
    model.add_parameters([parameter])
    model.validate_nodes_and_infer_types()
    return model


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


def _check_image(bundle: Bundle, taken: list[int | None]) -> None:
    """Refuse a bundle whose encoder takes another image than its preprocessing gives; None takes any side."""
    size, channels = bundle.preprocessing.image_size, bundle.preprocessing.channels
    given = [1, channels, size, size]
    if len(taken) != len(given) or any(
        side not in (None, own) for side, own in zip(taken, given, strict=True)
    ):
        raise BundleError(
            f"The bundle {bundle.name!r} is damaged: its encoder takes images of {_sides(taken)} and its "
            f"bundle.json gives {_sides(given)}; copy or export it again."
        )


def _sides(shape: Sequence[int | None]) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape[1:])


def _refused(path: Path, engine: str) -> BundleError:
    return BundleError(
        f"{engine} cannot open {path.name} of the bundle {_bundle_of(path)!r}: update {engine}, "
        f"or export the bundle again."
    )


def _bundle_of(graph: Path) -> str:
    return graph.parents[1 if graph.suffix == ".xml" else 0].name


def _cannot_run(bundle: str, engine: str) -> BundleError:
    return BundleError(
        f"{engine} could not run the bundle {bundle!r} on this film: its graphs do not fit its bundle.json; "
        f"export it again."
    )
