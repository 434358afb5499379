"""From a trained model to a bundle: ONNX files, the bundle that vouches for them, and the parity of both."""
