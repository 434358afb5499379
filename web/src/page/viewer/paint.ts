/** Draws the stage: film, fill, outline, box with its handles, points, and the cross of the keyboard. */
import type { Film, Prompt } from "../../engine/api";
import type { Outlined, Window } from "../types";
import { filmLayer, maskLayer, OUTLINE } from "./layers";
import { toStage, view } from "./view";

export const BOX = "#ffc83d";
export const INCLUDE = "#4ade80";
export const EXCLUDE = "#ff7a85";
const SHADE = "rgb(0 0 0 / 55%)";
export const HANDLE = 5;
const POINT = 8;

export interface Scene {
  film: Film;
  window: Window;
  inverted: boolean;
  result?: Outlined;
  fill: number;
  outlineIsShown: boolean;
  prompt: Prompt;
  /** A box that is being drawn or moved, in pixels of the film. */
  draft?: [number, number, number, number];
  boxIsActive: boolean;
  /** Which point is chosen. */
  point?: number;
  cross?: { x: number; y: number };
}

/** Draw a scene on a canvas whose pixels are `ratio` to one of CSS. */
export function paint(context: CanvasRenderingContext2D, ratio: number, scene: Scene): void {
  const { canvas } = context;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const { scale, x, y, aspect } = view.value;
  const ontoFilm = (): void => context.setTransform(ratio * scale, 0, 0, ratio * scale * aspect, ratio * x, ratio * y);
  ontoFilm();
  context.imageSmoothingEnabled = scale * ratio < 3;
  context.imageSmoothingQuality = "high";
  context.drawImage(filmLayer(scene.film, scene.window, scene.inverted), 0, 0);
  if (scene.result && scene.outlineIsShown) {
    const { fill, path } = maskLayer(scene.result);
    context.globalAlpha = scene.fill;
    context.drawImage(fill, 0, 0);
    context.globalAlpha = 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    const onStage = new Path2D();
    onStage.addPath(path, new DOMMatrix([ratio * scale, 0, 0, ratio * scale * aspect, ratio * x, ratio * y]));
    context.lineJoin = "round";
    stroke(context, onStage, SHADE, 3.5 * ratio);
    stroke(context, onStage, OUTLINE, 1.75 * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const box = scene.draft ?? scene.prompt.box;
  if (box) drawBox(context, box, scene.boxIsActive && !scene.draft);
  scene.prompt.points?.forEach((point, index) => drawPoint(context, point, index === scene.point));
  if (scene.cross) drawCross(context, scene.cross);
}

function stroke(context: CanvasRenderingContext2D, path: Path2D, colour: string, width: number): void {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}

function drawBox(context: CanvasRenderingContext2D, box: number[], withHandles: boolean): void {
  const from = toStage({ x: box[0], y: box[1] });
  const to = toStage({ x: box[2], y: box[3] });
  const path = new Path2D();
  path.rect(from.x, from.y, to.x - from.x, to.y - from.y);
  stroke(context, path, SHADE, 4);
  stroke(context, path, BOX, 2);
  if (!withHandles) return;
  for (const { x, y } of handles(box)) {
    context.fillStyle = BOX;
    context.strokeStyle = SHADE;
    context.lineWidth = 1.5;
    context.beginPath();
    context.rect(x - HANDLE, y - HANDLE, 2 * HANDLE, 2 * HANDLE);
    context.fill();
    context.stroke();
  }
}

/** The eight handles of a box on the stage: `moves` says which of its sides each one moves. */
export function handles(box: number[]): { x: number; y: number; moves: [-1 | 0 | 1, -1 | 0 | 1] }[] {
  const from = toStage({ x: box[0], y: box[1] });
  const to = toStage({ x: box[2], y: box[3] });
  const places = [-1, 0, 1] as const;
  return places.flatMap((down) =>
    places
      .filter((across) => across !== 0 || down !== 0)
      .map((across) => ({
        x: across < 0 ? from.x : across > 0 ? to.x : (from.x + to.x) / 2,
        y: down < 0 ? from.y : down > 0 ? to.y : (from.y + to.y) / 2,
        moves: [across, down] as [-1 | 0 | 1, -1 | 0 | 1],
      })),
  );
}

function drawPoint(context: CanvasRenderingContext2D, point: { x: number; y: number; label: 0 | 1 }, isChosen: boolean): void {
  const { x, y } = toStage(point);
  context.beginPath();
  context.arc(x, y, POINT, 0, 2 * Math.PI);
  context.fillStyle = point.label ? INCLUDE : EXCLUDE;
  context.fill();
  context.lineWidth = isChosen ? 3 : 1.5;
  context.strokeStyle = isChosen ? "#ffffff" : SHADE;
  context.stroke();
  // the sign says it too, for who does not see the colours
  context.beginPath();
  context.moveTo(x - 4, y);
  context.lineTo(x + 4, y);
  if (point.label) {
    context.moveTo(x, y - 4);
    context.lineTo(x, y + 4);
  }
  context.strokeStyle = "#101717";
  context.lineWidth = 2;
  context.stroke();
}

function drawCross(context: CanvasRenderingContext2D, at: { x: number; y: number }): void {
  const { x, y } = toStage(at);
  const path = new Path2D();
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    path.moveTo(x + 4 * dx, y + 4 * dy);
    path.lineTo(x + 16 * dx, y + 16 * dy);
  }
  stroke(context, path, SHADE, 4);
  stroke(context, path, "#ffffff", 2);
}
