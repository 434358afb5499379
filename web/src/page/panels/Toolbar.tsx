/** Tools for the film that is looked at. */
import { Icon, type IconName } from "../icons";
import { clear, promptOf, redo, undo } from "../prompts";
import { current, tool } from "../state";
import { isGiven, type Tool } from "../types";
import { chooseTool, toolIsRefused } from "../viewer/keys";
import { actualSize, isFitted, view, zoom } from "../viewer/view";

const TOOLS: [Tool, IconName, string, string][] = [
  ["pan", "pan", "Move", "V"],
  ["window", "window", "Window", "W"],
  ["box", "box", "Box", "B"],
  ["include", "include", "Inside", "P"],
  ["exclude", "exclude", "Outside", "N"],
];

export function Toolbar() {
  const film = current.value;
  const prompt = film ? promptOf(film) : {};
  const { steps, at } = film?.history ?? { steps: [], at: 0 };
  return (
    <div class="toolbar" role="toolbar" aria-label="Film">
      <div class="segments" role="group" aria-label="Tool">
        {TOOLS.map(([name, icon, label, key]) => {
          const refused = toolIsRefused(name);
          return (
            <button
              key={name}
              type="button"
              class="segment"
              aria-pressed={tool.value === name}
              aria-disabled={refused ? "true" : undefined}
              title={refused ?? `${label} (${key})`}
              onClick={() => chooseTool(name)}
            >
              <Icon name={icon} />
              <span class="segment-text">{label}</span>
            </button>
          );
        })}
      </div>
      <div class="group" role="group" aria-label="Steps">
        <Button icon="undo" label="Undo" hint="Undo (Ctrl + Z)" isOff={at === 0} act={undo} />
        <Button icon="redo" label="Redo" hint="Redo (Ctrl + Y)" isOff={at >= steps.length - 1} act={redo} />
        <Button icon="clear" label="Clear box and points" hint="Clear box and points" isOff={!isGiven(prompt)} act={clear} />
      </div>
    </div>
  );
}

/** Stands on the stage, at its lower edge. */
export function Zoom() {
  return (
    <div class="zooms" role="group" aria-label="Zoom">
      <Button icon="minus" label="Zoom out" hint="Zoom out (−)" act={() => zoom(0.8)} />
      <button type="button" class="button zoom" onClick={actualSize} title="Actual size (1)" aria-label={`${percent()}, show actual size`}>
        {percent()}
      </button>
      <Button icon="plus" label="Zoom in" hint="Zoom in (+)" act={() => zoom(1.25)} />
      <Button icon="fit" label="Show all" hint="Show all (0)" act={() => void (isFitted.value = true)} />
    </div>
  );
}

const percent = (): string => `${Math.round(view.value.scale * 100)} %`;

function Button({ icon, label, hint, isOff = false, act }: { icon: IconName; label: string; hint: string; isOff?: boolean; act: () => void }) {
  return (
    <button type="button" class="button button-icon" aria-label={label} title={hint} disabled={isOff} onClick={act}>
      <Icon name={icon} />
    </button>
  );
}
