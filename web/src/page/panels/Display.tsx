/** How the film is shown: window, fill, outline. None of it changes a result. */
import { usualWindow } from "../grey";
import { pixelsOf } from "../pixels";
import { fill, inverted, outlineIsShown, update } from "../state";
import type { Item } from "../types";

export function Display({ film }: { film: Item }) {
  const window = film.window ?? { centre: 0.5, width: 1 };
  const reset = (): void => {
    const pixels = pixelsOf(film.id);
    if (pixels) update(film.id, { window: usualWindow(pixels.film.grey) });
    inverted.value = false;
  };
  return (
    <section class="block" aria-labelledby="display-title">
      <div class="block-head">
        <h3 id="display-title">Display</h3>
        <button type="button" class="link" onClick={reset}>
          Reset window
        </button>
      </div>
      <Slider label="Level" value={window.centre} least={-0.2} most={1.2} act={(centre) => update(film.id, { window: { ...window, centre } })} />
      <Slider label="Width" value={window.width} least={0.01} most={2} act={(width) => update(film.id, { window: { ...window, width } })} />
      <Slider label="Fill" value={fill.value} least={0} most={1} act={(value) => void (fill.value = value)} />
      <div class="switches">
        <Switch label="Outline" isOn={outlineIsShown.value} act={(isOn) => void (outlineIsShown.value = isOn)} />
        <Switch label="Invert film" isOn={inverted.value} act={(isOn) => void (inverted.value = isOn)} />
      </div>
    </section>
  );
}

function Slider({ label, value, least, most, act }: { label: string; value: number; least: number; most: number; act: (value: number) => void }) {
  return (
    <label class="slider">
      <span>{label}</span>
      <input type="range" min={least} max={most} step={0.01} value={value} onInput={(event) => act(Number(event.currentTarget.value))} />
      <output>{value.toFixed(2)}</output>
    </label>
  );
}

function Switch({ label, isOn, act }: { label: string; isOn: boolean; act: (isOn: boolean) => void }) {
  return (
    <label class="switch">
      <input type="checkbox" checked={isOn} onChange={(event) => act(event.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}
