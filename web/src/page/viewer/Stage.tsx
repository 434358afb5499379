/** The film with its outline, and everything that a person does to it. */
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { changed, pixelsOf } from "../pixels";
import { promptOf } from "../prompts";
import { bundle, chosen, current, fill, inverted, outlineIsShown, tool } from "../state";
import { chosenPoint, deleteBox, draft, hovered, listen } from "./hands";
import { cross, onStageKey } from "./keys";
import { paint, type Scene } from "./paint";
import { fitted, isFitted, stageSize, toStage, view } from "./view";
import { Icon } from "../icons";
import { Zoom } from "../panels/Toolbar";

export function Stage() {
  const stage = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const [box, surface] = [stage.current, canvas.current];
    if (!box || !surface) return;
    const resized = new ResizeObserver(([entry]) => {
      const { width, height } = entry.contentRect;
      stageSize.value = { width, height };
    });
    resized.observe(box);
    const stops = [listen(box), keepFitted(), keepPainted(surface), () => resized.disconnect()];
    return () => stops.forEach((stop) => stop());
  }, []);
  const film = current.value;
  return (
    <div
      ref={stage}
      class="stage"
      role="application"
      tabIndex={0}
      aria-label={film ? `The film ${film.name}` : "No film is chosen"}
      aria-describedby="stage-keys"
      data-tool={tool.value}
      onKeyDown={onStageKey}
      onBlur={() => void (cross.value = undefined)}
    >
      <canvas ref={canvas} class="stage-canvas" />
      <p id="stage-keys" class="unseen">
        Arrow keys move the film, or the cross of a drawing tool; Enter uses it. The question mark lists all keys.
      </p>
      <BoxButton />
      <State />
      {film && film.stage !== "failed" && <Zoom />}
      <Place />
    </div>
  );
}

/** Deletes the box; it stands at the box's corner. */
function BoxButton() {
  const film = current.value;
  const box = film && promptOf(film).box;
  if (!box || draft.value) return null;
  const { x, y } = toStage({ x: box[2], y: box[1] });
  const { width, height } = stageSize.value;
  const place = { left: `${Math.min(Math.max(x + 6, 4), width - 36)}px`, top: `${Math.min(Math.max(y - 34, 4), height - 36)}px` };
  return (
    <button type="button" class="box-delete" style={place} onClick={deleteBox} aria-label="Delete the box" title="Delete the box (Delete)">
      <Icon name="close" />
    </button>
  );
}

/** What is going on with the film, where there is no outline yet. */
function State() {
  const film = current.value;
  if (!film || film.stage === "done") return null;
  if (film.stage === "failed") {
    return (
      <div class="stage-note stage-note-bad" role="alert">
        <Icon name="warning" />
        <p>{film.error}</p>
      </div>
    );
  }
  const told = { waiting: bundle.value ? "Waiting for its turn" : "Opening the model", reading: "Reading the film", outlining: "Outlining" };
  return (
    <div class="stage-note">
      <span class="spinner" aria-hidden="true" />
      <p>{told[film.stage]} …</p>
    </div>
  );
}

/** Where the pointer is, and the grey value there. */
function Place() {
  const film = current.value;
  const at = hovered.value ?? cross.value;
  if (!film?.width || !film.height || !at) return null;
  const [x, y] = [Math.floor(at.x), Math.floor(at.y)];
  if (x < 0 || y < 0 || x >= film.width || y >= film.height) return null;
  const grey = pixelsOf(film.id)?.film.grey[y * film.width + x];
  return (
    <p class="stage-place" aria-hidden="true">
      {x}, {y}
      {grey !== undefined && <span>{grey.toFixed(3)}</span>}
    </p>
  );
}

/** Fit the film when another one is looked at or the stage changes its size. */
function keepFitted(): () => void {
  let shown: number | null = null;
  return effect(() => {
    const film = current.value;
    const size = stageSize.value;
    if (!film?.width || !film.height || !size.width) return;
    if (film.id !== shown) {
      shown = film.id;
      isFitted.value = true;
      chosenPoint.value = undefined;
      cross.value = undefined;
    }
    if (isFitted.value) view.value = fitted({ width: film.width, height: film.height }, size, film.aspect ?? 1);
  });
}

/** Draw whenever something changes that is drawn, at most once a frame. */
function keepPainted(canvas: HTMLCanvasElement): () => void {
  let frame = 0;
  const stop = effect(() => {
    const drawn = scene();
    const size = stageSize.value;
    void view.value;
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => draw(canvas, drawn, size.width, size.height));
  });
  return () => {
    cancelAnimationFrame(frame);
    stop();
  };
}

function scene(): Scene | null {
  void changed.value;
  const film = current.value;
  const pixels = chosen.value === null ? undefined : pixelsOf(chosen.value);
  if (!film?.window || !pixels) return null;
  return {
    ...{ film: pixels.film, window: film.window, inverted: inverted.value, result: film.result },
    ...{ fill: fill.value, outlineIsShown: outlineIsShown.value, prompt: promptOf(film), draft: draft.value },
    ...{ boxIsActive: tool.value === "box", point: chosenPoint.value, cross: cross.value },
  };
}

function draw(canvas: HTMLCanvasElement, drawn: Scene | null, width: number, height: number): void {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
  }
  const context = canvas.getContext("2d");
  if (!context) return;
  if (drawn) paint(context, ratio, drawn);
  else context.clearRect(0, 0, across, down);
}
