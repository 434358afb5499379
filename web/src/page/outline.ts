/** The line around a mask: along the pixels' own edges, so that it never claims more than the mask says. */

/**
 * Return the edges of a mask as closed loops of corners (x, y, x, y, ...), in pixels of the film.
 *
 * Runs of edges in one direction are one segment. Where two pixels meet at a corner only, they stay two parts.
 */
export function loops(mask: Uint8Array, width: number, height: number): Int32Array[] {
  const across = width + 1;
  // the outgoing directions at each corner, one bit each: right, down, left, up; the mask lies at the right hand
  const out = new Uint8Array(across * (height + 1));
  const at = (x: number, y: number): boolean => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] !== 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!mask[y * width + x]) continue;
      if (!at(x, y - 1)) out[y * across + x] |= 1;
      if (!at(x + 1, y)) out[y * across + x + 1] |= 2;
      if (!at(x, y + 1)) out[(y + 1) * across + x + 1] |= 4;
      if (!at(x - 1, y)) out[(y + 1) * across + x] |= 8;
    }
  }
  const found: Int32Array[] = [];
  for (let start = 0; start < out.length; start++) while (out[start]) found.push(follow(out, start, across));
  return found;
}

const STEP_X = [1, 0, -1, 0];
const STEP_Y = [0, 1, 0, -1];

/** Take the loop that begins at a corner out of `out`; the first corner in reading order is always a bend. */
function follow(out: Uint8Array, start: number, across: number): Int32Array {
  const corners: number[] = [];
  let place = start;
  let direction = -1;
  do {
    const next = turn(out[place], direction);
    out[place] &= ~(1 << next);
    if (next !== direction) corners.push(place % across, (place / across) | 0);
    direction = next;
    place += STEP_X[next] + STEP_Y[next] * across;
  } while (place !== start);
  return Int32Array.from(corners);
}

/** Which way on: to the right where there is a choice, which keeps diagonal neighbours apart. */
function turn(ways: number, direction: number): number {
  const order = direction < 0 ? [0, 1, 2, 3] : [(direction + 1) & 3, direction, (direction + 3) & 3];
  return order.find((way) => ways & (1 << way)) ?? 0;
}

/** The same as one path for a canvas. */
export function pathOf(lines: Int32Array[]): Path2D {
  const path = new Path2D();
  for (const corners of lines) {
    path.moveTo(corners[0], corners[1]);
    for (let index = 2; index < corners.length; index += 2) path.lineTo(corners[index], corners[index + 1]);
    path.closePath();
  }
  return path;
}
