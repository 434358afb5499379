"""Optional packages: which extra of this package brings each, and how a person installs an extra today."""

EXTRAS = {
    "evidence": ("scipy", "skimage", "matplotlib", "jinja2"),
    "train": ("torch", "transformers", "peft", "safetensors", "yaml", "onnx", "accelerate"),
    "log": ("tensorboard",),
    "baselines": ("monai",),
    "openvino": ("openvino",),
    "hub": ("huggingface_hub",),
    "nifti": ("nibabel",),
    "serve": ("starlette", "uvicorn", "h11", "python_multipart", "prometheus_client", "pynetdicom"),
    "dicom": ("highdicom", "contourpy", "dicognito"),
}
"""Each extra of pyproject.toml, and the modules that it adds to the ones before it."""


def extra_of(module: str | None) -> str | None:
    """Return the extra that brings a module or the package above it; None: no extra does."""
    name = (module or "").partition(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if name in modules), None)


def install(extra: str) -> str:
    """Return what to run for an extra. Nobody hosts this package, so pip is given a clone or a wheel."""
    return f"pip install '.[{extra}]' in a clone of adaloraqat (or 'PATH-OF-ITS-WHEEL[{extra}]')"
