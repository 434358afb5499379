/** Mouse, pen, touch and wheel on the stage: pan, zoom, window, and drawing boxes and points. */
import { signal } from "@preact/signals";
import type { Prompt } from "../../engine/api";
import { promptOf, setPrompt, tidyBox } from "../prompts";
import { bundle, current, tool, update } from "../state";
import type { Item, Tool } from "../types";
import { handles } from "./paint";
import { pan, stageSize, toFilm, toStage, view, zoom } from "./view";

type Corners = [number, number, number, number];
interface Spot {
  x: number;
  y: number;
}

/** A box that is being drawn or moved. */
export const draft = signal<Corners | undefined>(undefined);
/** Which point is chosen, to be moved or deleted. */
export const chosenPoint = signal<number | undefined>(undefined);
/** Where the pointer is, in pixels of the film. */
export const hovered = signal<Spot | undefined>(undefined);

const REACH = 12; // CSS pixels around a handle or a point that count as it
const CLICK = 4; // a pointer that moved less was not dragged

type Drag = (at: Spot) => void;
interface Gesture {
  from: Spot;
  drag: Drag;
  end: (at: Spot, isClick: boolean) => void;
  cancel: () => void;
  hasMoved: boolean;
}

const nothing = (): void => undefined;

/** Listen on the stage; returns what stops it. */
export function listen(stage: HTMLElement): () => void {
  const touches = new Map<number, Spot>();
  let gesture: Gesture | null = null;
  const spot = (event: MouseEvent): Spot => {
    const { left, top } = stage.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };

  const down = (event: PointerEvent): void => {
    const film = current.value;
    if (!film || event.target !== stage.querySelector("canvas")) return;
    stage.focus({ preventScroll: true });
    stage.setPointerCapture(event.pointerId);
    const at = spot(event);
    if (event.pointerType === "touch") touches.set(event.pointerId, at);
    if (touches.size === 2) {
      gesture?.cancel();
      gesture = null; // two fingers zoom and pan, whatever the tool
      return;
    }
    if (touches.size > 2) return;
    gesture = begin(film, toolOf(event), at, event.altKey);
    event.preventDefault();
  };

  const move = (event: PointerEvent): void => {
    const at = spot(event);
    hovered.value = toFilm(at);
    if (touches.has(event.pointerId)) {
      if (touches.size === 2) {
        pinch(touches, event.pointerId, at);
        return;
      }
      touches.set(event.pointerId, at);
    }
    if (!gesture) {
      if (event.target instanceof HTMLElement) stage.dataset.cursor = cursorAt(at);
      return;
    }
    if (Math.hypot(at.x - gesture.from.x, at.y - gesture.from.y) > CLICK) gesture.hasMoved = true;
    if (gesture.hasMoved) gesture.drag(at);
  };

  const up = (event: PointerEvent): void => {
    touches.delete(event.pointerId);
    if (event.type === "pointercancel") gesture?.cancel();
    else gesture?.end(spot(event), !gesture.hasMoved);
    gesture = null;
  };

  const wheel = (event: WheelEvent): void => {
    if (!current.value) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 24 : 1;
    zoom(Math.exp((-event.deltaY * lines * (event.ctrlKey ? 4 : 1)) / 600), spot(event));
  };

  const leave = (): void => void (hovered.value = undefined);
  const menu = (event: Event): void => event.preventDefault();
  const all: [string, EventListener][] = [
    ["pointerdown", down as EventListener],
    ["pointermove", move as EventListener],
    ["pointerup", up as EventListener],
    ["pointercancel", up as EventListener],
    ["pointerleave", leave],
    ["wheel", wheel as EventListener],
    ["contextmenu", menu],
  ];
  for (const [name, listener] of all) stage.addEventListener(name, listener, { passive: false });
  return () => all.forEach(([name, listener]) => stage.removeEventListener(name, listener));
}

/** The middle button pans and the right one windows, whatever the tool. */
function toolOf(event: PointerEvent): Tool {
  if (event.button === 1) return "pan";
  return event.button === 2 ? "window" : tool.value;
}

function begin(film: Item, what: Tool, at: Spot, isOpposite: boolean): Gesture {
  const gesture = { from: at, hasMoved: false, end: nothing, cancel: nothing };
  if (what === "pan") return { ...gesture, drag: panning(at) };
  if (what === "window") return { ...gesture, drag: windowing(film, at) };
  if (what === "box") return { ...gesture, ...boxing(film, at) };
  const label = (what === "include") !== isOpposite ? 1 : 0;
  return { ...gesture, ...pointing(film, at, label) };
}

function panning(from: Spot): Drag {
  let last = from;
  return (at) => {
    pan(at.x - last.x, at.y - last.y);
    last = at;
  };
}

/** To the right more contrast goes, down it gets brighter; as stations have it. */
function windowing(film: Item, from: Spot): Drag {
  const before = film.window ?? { centre: 0.5, width: 1 };
  const { width, height } = stageSize.value;
  return (at) =>
    update(film.id, {
      window: {
        width: Math.min(2, Math.max(0.01, before.width * Math.exp(((at.x - from.x) / width) * 3))),
        centre: Math.min(1.2, Math.max(-0.2, before.centre - (at.y - from.y) / height)),
      },
    });
}

function boxing(film: Item, from: Spot): Omit<Gesture, "from" | "hasMoved"> {
  const before = promptOf(film).box;
  const held = before && handleAt(before, from);
  const start = toFilm(from);
  const isInside = before && !held && contains(before, start);
  const corners = (at: Spot): Corners => {
    const now = toFilm(at);
    if (before && held) return resized(before, held, now);
    if (before && isInside) return moved(film, before, now.x - start.x, now.y - start.y);
    return [start.x, start.y, now.x, now.y];
  };
  return {
    drag: (at) => void (draft.value = corners(at)),
    end: (at, isClick) => {
      draft.value = undefined;
      const box = isClick ? undefined : tidyBox(film, corners(at));
      if (box) setPrompt(film.id, { ...latest(film), box });
    },
    cancel: () => void (draft.value = undefined),
  };
}

function pointing(film: Item, from: Spot, label: 0 | 1): Omit<Gesture, "from" | "hasMoved"> {
  const found = pointAt(film, from);
  const place = (at: Spot, which: number | undefined): void => {
    const { x, y } = toFilm(at);
    if (x < 0 || y < 0 || x > (film.width ?? 0) || y > (film.height ?? 0)) return;
    addPoint(film, { x: Math.round(x * 10) / 10, y: Math.round(y * 10) / 10 }, label, which);
  };
  chosenPoint.value = found;
  return {
    drag: nothing,
    end: (at, isClick) => {
      if (found === undefined && isClick) place(at, undefined);
      else if (found !== undefined && !isClick) place(at, found);
    },
    cancel: nothing,
  };
}

/** Add a point, or move the one at `which`; the model may take none. */
export function addPoint(film: Item, at: Spot, label: 0 | 1, which?: number): void {
  if (!bundle.value?.acceptsPoints) return;
  const prompt = latest(film);
  const points = [...(prompt.points ?? [])];
  if (which === undefined) points.push({ ...at, label });
  else points[which] = { ...at, label: points[which].label };
  chosenPoint.value = which ?? points.length - 1;
  setPrompt(film.id, { ...prompt, points });
}

/** Delete the chosen point, or else the box, or else the last point. */
export function deleteChosen(): void {
  const film = current.value;
  if (!film) return;
  const { box, points = [] } = promptOf(film);
  const which = chosenPoint.value;
  chosenPoint.value = undefined;
  if (which !== undefined && points[which]) setPrompt(film.id, { box, points: points.filter((_, index) => index !== which) });
  else if (box) setPrompt(film.id, { points });
  else if (points.length) setPrompt(film.id, { points: points.slice(0, -1) });
}

/** Delete the box. */
export function deleteBox(): void {
  const film = current.value;
  if (film) setPrompt(film.id, { points: promptOf(film).points });
}

/** The film's prompt as it is now, not as it was when a gesture began. */
function latest(film: Item): Prompt {
  return current.value?.id === film.id ? promptOf(current.value) : promptOf(film);
}

function handleAt(box: number[], at: Spot): [number, number] | undefined {
  const near = handles(box).filter(({ x, y }) => Math.hypot(x - at.x, y - at.y) <= REACH);
  return near.find(({ moves }) => moves[0] && moves[1])?.moves ?? near[0]?.moves;
}

function contains(box: number[], { x, y }: Spot): boolean {
  return x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3];
}

function resized(box: number[], [across, down]: [number, number], to: Spot): Corners {
  return [
    ...[across < 0 ? to.x : box[0], down < 0 ? to.y : box[1]],
    ...[across > 0 ? to.x : box[2], down > 0 ? to.y : box[3]],
  ] as Corners;
}

/** Return a box moved within the film. */
export function moved(film: Item, box: number[], x: number, y: number): Corners {
  const across = Math.min(Math.max(x, -box[0]), (film.width ?? 0) - box[2]);
  const down = Math.min(Math.max(y, -box[1]), (film.height ?? 0) - box[3]);
  return [box[0] + across, box[1] + down, box[2] + across, box[3] + down];
}

function pointAt(film: Item, at: Spot): number | undefined {
  const found = (promptOf(film).points ?? []).findLastIndex((point) => {
    const { x, y } = toStage(point);
    return Math.hypot(x - at.x, y - at.y) <= REACH;
  });
  return found < 0 ? undefined : found;
}

/** What the pointer would do here, which the style sheet turns into a cursor. */
function cursorAt(at: Spot): string {
  const film = current.value;
  if (!film || tool.value !== "box") return tool.value;
  const { box } = promptOf(film);
  if (!box) return "box";
  const held = handleAt(box, at);
  if (held) return held[0] === 0 ? "rows" : held[1] === 0 ? "columns" : held[0] === held[1] ? "falling" : "rising";
  return contains(box, toFilm(at)) ? "move" : "box";
}

/** Two fingers: their distance zooms, their middle pans. */
function pinch(touches: Map<number, Spot>, which: number, to: Spot): void {
  const [first, second] = [...touches.values()];
  const before = { distance: Math.hypot(first.x - second.x, first.y - second.y), x: (first.x + second.x) / 2, y: (first.y + second.y) / 2 };
  touches.set(which, to);
  const [one, other] = [...touches.values()];
  const distance = Math.hypot(one.x - other.x, one.y - other.y);
  pan((one.x + other.x) / 2 - before.x, (one.y + other.y) / 2 - before.y);
  if (before.distance > 1) zoom(distance / before.distance, { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 });
}

/** How far an arrow key moves something on the film: about 8 CSS pixels, with Shift one pixel of the film. */
export function arrowStep(isFine: boolean): number {
  return isFine ? 1 : Math.max(1, Math.round(8 / view.value.scale));
}
