"""The runtimes and devices that execute a bundle's graphs.

An engine is named `runtime` or `runtime:device` ("onnxruntime", "onnxruntime:cuda", "openvino:gpu"); here is
the one place where it is chosen. Only the CPU is what parity was measured on.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.format import DECODER, ENCODER, MASK_PROMPT, STRUCTURES, Bundle
from adaloraqat.bundle.runtimes import (
    CPU,
    OPENVINO_DEVICES,
    PROVIDERS,
    onnxruntime_session,
    openvino_cache,
    openvino_model,
)
from adaloraqat.errors import BundleError, refused_as

FloatArray = NDArray[np.float32]

ENCODER_NAMES = (("image",), ("embedding",))
DECODER_NAMES = (("embedding", "boxes"), ("logits", "quality"))
MASK_PROMPT_NAMES = (("mask",), ("dense",))
STRUCTURES_NAMES = (("embedding",), ("structures", "mirrored"))
LABELS = "labels"
"""The decoder's optional input, in bundles that accept points."""
DEFAULT_ENGINE = "onnxruntime"


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
        with ThreadPoolExecutor(1) as beside:  # the decoder is ready by the time the larger encoder is
            decoder = beside.submit(self._open, bundle.decoder, DECODER_NAMES)
            self._encoder = self._open(bundle.encoder, ENCODER_NAMES)
        self._decoder = decoder.result()
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
        one = graph == ENCODER
        return openvino_model(path, self._threads, names, cache, self._device, given, one_image=one)

    def _run(self, graph: Any, outputs: tuple[str, ...], inputs: dict[str, NDArray[Any]]) -> list[FloatArray]:
        with refused_as(_cannot_run(self._bundle.name, "OpenVINO")):
            results = graph(inputs)
            # OpenVINO reuses its output buffers, so the second pass would overwrite the first
            return [np.array(results[name], dtype=np.float32) for name in outputs]


ENGINES: dict[str, type[OnnxRuntimeEngine] | type[OpenVinoEngine]] = {
    OnnxRuntimeEngine.runtime: OnnxRuntimeEngine,
    OpenVinoEngine.runtime: OpenVinoEngine,
}


def _check_image(bundle: Bundle, taken: list[int | None]) -> None:
    """Refuse a bundle whose encoder does not take its preprocessing's image; None takes any side."""
    size, channels = bundle.preprocessing.image_size, bundle.preprocessing.channels
    given = [1, channels, size, size]
    if len(taken) != len(given) or any(
        side not in (None, own) for side, own in zip(taken, given, strict=True)
    ):
        raise BundleError(
            f"The bundle {bundle.name!r} is damaged: its encoder takes images of {_sides(taken)} and its "
            f"bundle.json says {_sides(given)}; copy or export it again."
        )


def _sides(shape: Sequence[int | None]) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape[1:])


def _cannot_run(bundle: str, engine: str) -> BundleError:
    return BundleError(
        f"{engine} could not run the bundle {bundle!r} on this film: its graphs do not fit its bundle.json; "
        f"export it again."
    )
