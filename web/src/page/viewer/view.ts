/** Where the film lies on the screen. Positions on the stage are CSS pixels from its upper left corner. */
import { signal } from "@preact/signals";

export interface View {
  /** CSS pixels across one pixel of the film; down it is `scale * aspect`. */
  scale: number;
  /** Where the film's upper left corner lies. */
  x: number;
  y: number;
  aspect: number;
}

export interface Size {
  width: number;
  height: number;
}

const MARGIN = 20;
const MOST = 32;

export const stageSize = signal<Size>({ width: 0, height: 0 });
export const view = signal<View>({ scale: 1, x: 0, y: 0, aspect: 1 });
/** Whether the whole film is shown, and stays so when the stage changes its size. */
export const isFitted = signal(true);

/** Return the view that shows the whole film in the middle of the stage. */
export function fitted(film: Size, stage: Size, aspect: number): View {
  const margin = Math.min(MARGIN, stage.width / 20);
  const across = (stage.width - 2 * margin) / film.width;
  const scale = Math.max(1e-3, Math.min(across, (stage.height - 2 * margin) / (film.height * aspect)));
  return {
    ...{ scale, aspect },
    x: (stage.width - film.width * scale) / 2,
    y: (stage.height - film.height * scale * aspect) / 2,
  };
}

/** From the stage to the film's pixels. */
export function toFilm(at: { x: number; y: number }): { x: number; y: number } {
  const { scale, x, y, aspect } = view.value;
  return { x: (at.x - x) / scale, y: (at.y - y) / (scale * aspect) };
}

/** From the film's pixels to the stage. */
export function toStage(at: { x: number; y: number }): { x: number; y: number } {
  const { scale, x, y, aspect } = view.value;
  return { x: x + at.x * scale, y: y + at.y * scale * aspect };
}

/** Enlarge by `factor` so that what lies at `around` on the stage stays there. */
export function zoom(factor: number, around?: { x: number; y: number }): void {
  const at = around ?? { x: stageSize.value.width / 2, y: stageSize.value.height / 2 };
  const before = view.value;
  const scale = Math.min(MOST, Math.max(0.02, before.scale * factor));
  const change = scale / before.scale;
  isFitted.value = false;
  view.value = { ...before, scale, x: at.x - (at.x - before.x) * change, y: at.y - (at.y - before.y) * change };
}

/** Show one pixel of the film as one pixel of CSS. */
export function actualSize(): void {
  zoom(1 / view.value.scale);
}

/** Move the film on the stage. */
export function pan(x: number, y: number): void {
  isFitted.value = false;
  view.value = { ...view.value, x: view.value.x + x, y: view.value.y + y };
}
