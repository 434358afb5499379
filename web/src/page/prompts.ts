/** A person's box and points, with undo and redo. */
import type { Prompt } from "../engine/api";
import { current, films, update } from "./state";
import type { Item } from "./types";
import { ask } from "./work";

const MOST = 200; // steps that can be undone

/** The prompt that counts now. */
export function promptOf(film: Item): Prompt {
  return film.history.steps[film.history.at];
}

/** Take a new prompt as a step, and ask for its outline. */
export function setPrompt(id: number, prompt: Prompt): void {
  const film = films.value.find((one) => one.id === id);
  if (!film) return;
  const steps = [...film.history.steps.slice(0, film.history.at + 1), prompt].slice(-MOST);
  update(id, { history: { steps, at: steps.length - 1 } });
  void ask(id);
}

function move(by: 1 | -1): void {
  const film = current.value;
  if (!film || !film.history.steps[film.history.at + by]) return;
  update(film.id, { history: { ...film.history, at: film.history.at + by } });
  void ask(film.id);
}

export const undo = (): void => move(-1);
export const redo = (): void => move(1);

/** Take box and points away, as a step that can be undone. */
export function clear(): void {
  const film = current.value;
  if (film && (promptOf(film).box || promptOf(film).points?.length)) setPrompt(film.id, {});
}

/** Return a box within the film with its corners in order, or undefined where nothing is left of it. */
export function tidyBox(film: Item, corners: [number, number, number, number]): Prompt["box"] {
  const width = film.width ?? 0;
  const height = film.height ?? 0;
  const limit = (value: number, most: number): number => Math.round(Math.min(Math.max(value, 0), most));
  const [x0, x1] = [limit(corners[0], width), limit(corners[2], width)].sort((a, b) => a - b);
  const [y0, y1] = [limit(corners[1], height), limit(corners[3], height)].sort((a, b) => a - b);
  return x1 - x0 >= 2 && y1 - y0 >= 2 ? [x0, y0, x1, y1] : undefined;
}
