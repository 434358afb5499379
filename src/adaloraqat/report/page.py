"""The report as one HTML file that needs nothing else: pictures inline, no script, no font from elsewhere."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from adaloraqat.files import write_text
from adaloraqat.report import colours

TEMPLATES = Path(__file__).resolve().parent / "templates"
CSS_PIXELS_PER_INCH = 96
_ENGINES = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "noise_floor": "Noise floor",
}


def write_report(
    path: Path, document: Mapping[str, Any], pictures: Mapping[str, Any], template: str = "demo.html"
) -> None:
    """Fill a template and write it, atomically.

    Args:
        path: the HTML file.
        document: the numbers, as they stand in the JSON beside the page.
        pictures: what the template shows beside them; images as data addresses (`jpeg_address`,
            `svg_address`).
        template: a file of `templates/`.

    Raises:
        OutputError: the file cannot be written.
    """
    import jinja2

    surroundings = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    surroundings.filters |= {"megabytes": megabytes, "signed": signed}
    page = surroundings.get_template(template).render(
        **document, pictures=pictures, colours=vars(colours), engine_names=_ENGINES
    )
    write_text(path, page)


def jpeg_address(picture: Image.Image) -> str:
    """Return a picture as a data address; colours are kept sharp, for the outlines' sake."""
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=88, subsampling=0)
    return _address("image/jpeg", stream.getvalue())


def svg_address(svg: str) -> str:
    """Return an SVG figure as a data address."""
    return _address("image/svg+xml", svg.encode())


def png_address(content: bytes) -> str:
    """Return the bytes of a PNG as a data address."""
    return _address("image/png", content)


def png_width(content: bytes) -> int:
    """Return how wide a PNG is meant to be, in CSS pixels (96 an inch), by the resolution it states."""
    with Image.open(io.BytesIO(content)) as picture:
        dots_per_inch = picture.info.get("dpi", (CSS_PIXELS_PER_INCH,))[0]
        return round(picture.width / dots_per_inch * CSS_PIXELS_PER_INCH)


def megabytes(size: float | None) -> str:
    """Return bytes as a text, as `18.2 MB` (a million bytes each)."""
    if size is None:
        return "no file"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def signed(value: float) -> str:
    """Return a difference of scores, as `+0.1234`, with a true minus sign."""
    return f"{value:+.4f}".replace("-", "−")


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
