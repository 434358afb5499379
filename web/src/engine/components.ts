/** Connected components of a small mask: `bundle/components.py`. */

import type { Grid } from "./numeric";

/** One 4-connected component: its area in cells, and x_min, y_min, x_max, y_max in cells, the end exclusive. */
export interface Component {
  area: number;
  box: [number, number, number, number];
}

interface Labels {
  /** 0 outside; components are numbered from 1 in reading order. */
  labels: Int32Array;
  components: Component[];
}

/** Number the 4-connected components of what `inside` holds for. */
export function label(width: number, height: number, inside: (cell: number) => boolean): Labels {
  const labels = new Int32Array(width * height);
  const components: Component[] = [];
  const stack: number[] = [];
  for (let start = 0; start < labels.length; start++) {
    if (labels[start] !== 0 || !inside(start)) continue;
    const number = components.length + 1;
    const box: Component["box"] = [width, height, 0, 0];
    let area = 0;
    labels[start] = number;
    stack.push(start);
    for (let cell = stack.pop(); cell !== undefined; cell = stack.pop()) {
      const x = cell % width;
      const y = (cell - x) / width;
      area++;
      box[0] = Math.min(box[0], x);
      box[1] = Math.min(box[1], y);
      box[2] = Math.max(box[2], x + 1);
      box[3] = Math.max(box[3], y + 1);
      const next = [x > 0 ? cell - 1 : -1, x + 1 < width ? cell + 1 : -1, cell - width, y + 1 < height ? cell + width : -1];
      for (const other of next) {
        if (other < 0 || labels[other] !== 0 || !inside(other)) continue;
        labels[other] = number;
        stack.push(other);
      }
    }
    components.push({ area, box });
  }
  return { labels, components };
}

/** Return the components of a mask, the largest first; of equal ones the upper first. */
export function connectedComponents(width: number, height: number, inside: (cell: number) => boolean): Component[] {
  return label(width, height, inside).components.sort((a, b) => b.area - a.area);
}

/** Return the smallest box round all components (at least one). */
export function enclosingBox(components: readonly Component[]): [number, number, number, number] {
  const side = (of: number, pick: (...values: number[]) => number): number => pick(...components.map(({ box }) => box[of]));
  return [side(0, Math.min), side(1, Math.min), side(2, Math.max), side(3, Math.max)];
}

/** Return logits without specks and pinholes, both smaller than `smallest` times the largest positive part. */
export function removeSmallComponents(logits: Grid, smallest: number): Grid {
  const { width, height } = logits;
  if (smallest <= 0) return logits;
  const positive = label(width, height, (cell) => logits.data[cell] > 0);
  if (positive.components.length === 0) return logits;
  const limit = smallest * Math.max(...positive.components.map(({ area }) => area));
  const data = logits.data.map((value, cell) => {
    const number = positive.labels[cell];
    return number > 0 && positive.components[number - 1].area < limit ? -Math.abs(value) : value;
  });
  const negative = label(width, height, (cell) => data[cell] <= 0);
  const enclosed = negative.components.map(
    ({ area, box }) => area < limit && box[0] > 0 && box[1] > 0 && box[2] < width && box[3] < height,
  );
  const filled = data.map((value, cell) => (negative.labels[cell] > 0 && enclosed[negative.labels[cell] - 1] ? Math.abs(logits.data[cell]) : value));
  return { width, height, data: filled };
}
