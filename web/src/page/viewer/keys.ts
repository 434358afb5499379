/** Keys: those of the whole page, and on the stage a cross that arrow keys move in place of a pointer. */
import { signal } from "@preact/signals";
import { promptOf, redo, setPrompt, tidyBox, undo } from "../prompts";
import { announcement, bundle, current, fill, helpIsOpen, inverted, outlineIsShown, singleKeys, sorted, tool } from "../state";
import type { Tool } from "../types";
import { show } from "../work";
import { addPoint, arrowStep, chosenPoint, deleteChosen, draft, moved } from "./hands";
import { actualSize, isFitted, pan, stageSize, toFilm, zoom } from "./view";

/** Where the keyboard's cross is, in pixels of the film. */
export const cross = signal<{ x: number; y: number } | undefined>(undefined);
/** The first corner of a box that is being drawn by keys. */
let corner: { x: number; y: number } | undefined;

const ARROWS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

const TOOLS: Record<string, Tool> = { v: "pan", w: "window", b: "box", p: "include", n: "exclude" };

/** What each key does, as the help tells it. */
export const KEYS: [string, string][] = [
  ["V", "Move the film"],
  ["W", "Window: drag across for contrast, up and down for brightness"],
  ["B", "Draw, move and resize a box"],
  ["P, N", "Click a point inside (P) or outside (N) of what is wanted"],
  ["Arrow keys", "Move the film, or the cross of a drawing tool; with Shift, by one pixel"],
  ["Enter", "Use the cross: set a point, or a corner of the box"],
  ["Alt + arrow keys", "Move the box"],
  ["Delete", "Delete the chosen point, else the box"],
  ["Ctrl + Z, Ctrl + Y", "Undo, redo"],
  ["+, −, 0, 1", "Zoom in or out, show all, actual size"],
  ["[, ]", "Less or more fill"],
  ["O, I", "Outline on or off; invert the film"],
  ["J, K", "Next or previous film"],
  ["Esc", "Cancel the box being drawn"],
  ["?", "These keys"],
];

const ANYWHERE: Record<string, () => void> = {
  "+": () => zoom(1.25),
  "=": () => zoom(1.25),
  "-": () => zoom(0.8),
  "0": () => void (isFitted.value = true),
  "1": actualSize,
  "[": () => void (fill.value = Math.max(0, Math.round((fill.value - 0.1) * 10) / 10)),
  "]": () => void (fill.value = Math.min(1, Math.round((fill.value + 0.1) * 10) / 10)),
  o: () => void (outlineIsShown.value = !outlineIsShown.value),
  i: () => void (inverted.value = !inverted.value),
  j: () => neighbour(1),
  k: () => neighbour(-1),
  Delete: deleteChosen,
  Backspace: deleteChosen,
  "?": () => void (helpIsOpen.value = true),
};

/** Listen for the keys of the whole page; returns what stops it. */
export function listenForKeys(): () => void {
  const down = (event: KeyboardEvent): void => {
    const target = event.target as HTMLElement;
    if (event.defaultPrevented || helpIsOpen.value || target.matches("input, select, textarea")) return;
    if (event.ctrlKey || event.metaKey) {
      const key = event.key.toLowerCase();
      if (key === "z") event.shiftKey ? redo() : undo();
      else if (key === "y") redo();
      else return;
    } else if (event.altKey || !singleKeys.value) return;
    else if (TOOLS[event.key.toLowerCase()]) chooseTool(TOOLS[event.key.toLowerCase()]);
    else if (ANYWHERE[event.key] ?? ANYWHERE[event.key.toLowerCase()]) (ANYWHERE[event.key] ?? ANYWHERE[event.key.toLowerCase()])();
    else return;
    event.preventDefault();
  };
  addEventListener("keydown", down);
  return () => removeEventListener("keydown", down);
}

/** Take a tool, unless the model has no use for it. */
export function chooseTool(wanted: Tool): void {
  const reason = toolIsRefused(wanted);
  if (reason) announcement.value = reason;
  else tool.value = wanted;
}

/** Why a tool cannot be used with the open model, or null. */
export function toolIsRefused(wanted: Tool): string | null {
  const info = bundle.value;
  if (!info) return null;
  if (wanted === "box" && !info.acceptsBox) return `${info.name} takes no box: choose another model.`;
  if ((wanted === "include" || wanted === "exclude") && !info.acceptsPoints) {
    return `${info.name} takes no points: choose a model that does, such as lung-field.`;
  }
  return null;
}

function neighbour(by: 1 | -1): void {
  const order = sorted.value;
  const place = order.findIndex((film) => film.id === current.value?.id);
  const next = order[place + by];
  if (next) show(next.id);
}

/** Keys on the stage itself. */
export function onStageKey(event: KeyboardEvent): void {
  const film = current.value;
  const arrow = ARROWS[event.key];
  if (!film || event.ctrlKey || event.metaKey) return;
  if (arrow && event.altKey) {
    const { box } = promptOf(film);
    if (box) {
      const step = arrowStep(event.shiftKey);
      setPrompt(film.id, { ...promptOf(film), box: moved(film, box, arrow[0] * step, arrow[1] * step) });
    }
  } else if (arrow && (tool.value === "pan" || tool.value === "window")) pan(-40 * arrow[0], -40 * arrow[1]);
  else if (arrow) moveCross(arrow, event.shiftKey);
  else if ((event.key === "Enter" || event.key === " ") && cross.value) useCross();
  else if (event.key === "Escape") cancel();
  else return;
  event.preventDefault();
}

function moveCross([x, y]: [number, number], isFine: boolean): void {
  const film = current.value;
  const { width, height } = stageSize.value;
  const before = cross.value ?? toFilm({ x: width / 2, y: height / 2 });
  const step = arrowStep(isFine);
  const limit = (value: number, most = 0): number => Math.min(Math.max(value, 0), most);
  cross.value = { x: limit(Math.round(before.x + x * step), film?.width), y: limit(Math.round(before.y + y * step), film?.height) };
  if (corner) draft.value = [corner.x, corner.y, cross.value.x, cross.value.y];
}

function useCross(): void {
  const film = current.value;
  const at = cross.value;
  if (!film || !at) return;
  if (tool.value === "include" || tool.value === "exclude") addPoint(film, at, tool.value === "include" ? 1 : 0);
  else if (tool.value === "box" && !corner) {
    corner = at;
    announcement.value = "First corner of the box. Move to the other one and press Enter.";
  } else if (tool.value === "box" && corner) {
    const box = tidyBox(film, [corner.x, corner.y, at.x, at.y]);
    cancel();
    if (box) setPrompt(film.id, { ...promptOf(film), box });
  }
}

function cancel(): void {
  corner = undefined;
  draft.value = undefined;
  chosenPoint.value = undefined;
}
