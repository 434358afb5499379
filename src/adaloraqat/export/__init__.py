"""From a trained model to a bundle: ONNX files, the bundle that vouches for them, and the parity of both."""

from adaloraqat.export.bundle_writer import export_bundle
from adaloraqat.export.layer_parity import LayerParity, layer_parity
from adaloraqat.export.mask_parity import mask_parity
from adaloraqat.export.onnx_export import export_decoder, export_encoder
from adaloraqat.export.precision import in_precision

__all__ = [
    "LayerParity",
    "export_bundle",
    "export_decoder",
    "export_encoder",
    "in_precision",
    "layer_parity",
    "mask_parity",
]
