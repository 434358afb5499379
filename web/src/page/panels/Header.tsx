/** The line at the top: which model, whether it was checked, how the page looks, help. */
import { Icon, Mark, type IconName } from "../icons";
import { bundle, check, helpIsOpen, modelName, models, obstacle, setTheme, theme } from "../state";
import type { Theme } from "../types";
import { changeModel } from "../work";

const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const LOOKS: Record<Theme, [IconName, string]> = {
  auto: ["auto", "as the system"],
  light: ["sun", "light"],
  dark: ["moon", "dark"],
};

export function Header() {
  const [icon, look] = LOOKS[theme.value];
  return (
    <header class="header">
      <h1 class="brand">
        <Mark class="brand-mark" />
        <span>
          Lung outlines<span class="brand-name"> AdaLoRA-QAT</span>
        </span>
      </h1>
      <div class="header-tools">
        <Check />
        <ModelChoice />
        <button
          type="button"
          class="button button-icon"
          onClick={() => setTheme(NEXT[theme.value])}
          aria-label={`Appearance: ${look}. Change to ${LOOKS[NEXT[theme.value]][1]}`}
          title={`Appearance: ${look}`}
        >
          <Icon name={icon} />
        </button>
        <button type="button" class="button button-icon" onClick={() => void (helpIsOpen.value = true)} aria-label="Help and keys" title="Help and keys (?)">
          <Icon name="help" />
        </button>
      </div>
    </header>
  );
}

/** What the self-check found, in short; the whole sentence is its title and stands in the help. */
function Check() {
  const found = check.value;
  if (obstacle.value) return null;
  if (!found) {
    return (
      <span class="chip" data-check="running">
        <span class="spinner" aria-hidden="true" />
        <span class="chip-text">Opening the model</span>
      </span>
    );
  }
  return (
    <span class={found.ok ? "chip chip-good" : "chip chip-bad"} data-check={found.ok ? "passed" : "failed"} title={found.sentence}>
      <Icon name={found.ok ? "check" : "warning"} />
      <span class="chip-text">{found.ok ? "Self-check passed" : "Self-check failed"}</span>
    </span>
  );
}

function ModelChoice() {
  return (
    <label class="model-choice">
      <span class="unseen">Model</span>
      <select
        class="select"
        value={modelName.value}
        disabled={!models.value.length || (!bundle.value && !obstacle.value)}
        onChange={(event) => void changeModel(event.currentTarget.value)}
        title={bundle.value?.outlines}
      >
        {models.value.map((model) => (
          <option key={model.name} value={model.name}>
            {model.name}
          </option>
        ))}
      </select>
    </label>
  );
}
