"""OpenVINO's own format, IR: structure (.xml) and weights (.bin), for the encoder and for the decoder."""

from pathlib import Path

from adaloraqat.bundle.engine import openvino_package
from adaloraqat.bundle.format import OPENVINO_IR


def write_openvino_ir(folder: Path) -> list[str]:
    """Write a bundle's two ONNX files as OpenVINO IR (as QMedSAM deploys); weights keep their precision.

    Args:
        folder: holds encoder.onnx and decoder.onnx.

    Returns:
        the files written, as names inside `folder`.

    Raises:
        BundleError: OpenVINO is not installed.
        OSError: the folder cannot be written.
    """
    openvino = openvino_package()
    # read_model, not convert_model: the latter notes the path of the ONNX file in the IR
    core = openvino.Core()
    for graph, (structure, _) in OPENVINO_IR.items():
        target = folder / structure
        target.parent.mkdir(exist_ok=True)
        model = core.read_model(folder / graph)
        try:
            openvino.save_model(model, target, compress_to_fp16=False)
        except RuntimeError as error:  # OpenVINO names no reason; a full disk is the usual one
            raise OSError(f"OpenVINO could not write {structure}") from error
    return [name for pair in OPENVINO_IR.values() for name in pair]
