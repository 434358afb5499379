"""The picture of the page in docs/page.md: the real page with drawn phantoms.

    python benchmarks/page_picture.py docs/images/page.png [--dark]

Needs the page (`make page`), Playwright and Chromium. The picture is reduced to 256 colours, below 200 kB.
"""

import argparse
import io
from pathlib import Path

from page_in_browser import choose, loaded, phantoms, window
from PIL import Image

MOST = 200_000  # bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dark", action="store_true")
    given = parser.parse_args()
    settings = {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark" if given.dark else "light"}
    with phantoms(6, 512) as films, window(**settings) as (page, _):
        loaded(page)
        choose(page, films)
        page.locator(".row[data-stage=done]").nth(len(films) - 1).wait_for()
        page.mouse.move(720, 880)
        page.wait_for_timeout(500)
        shot = page.screenshot()
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    small = picture.resize((1200, 750), Image.Resampling.LANCZOS).quantize(96, dither=Image.Dither.NONE)
    small.save(given.picture, optimize=True)
    size = given.picture.stat().st_size
    print(f"{given.picture}: {size:,} bytes")
    if size > MOST:
        raise SystemExit(f"The picture has more than {MOST:,} bytes.")


if __name__ == "__main__":
    main()
