/** Starts the page. */
import { effect, untracked } from "@preact/signals";
import { render } from "preact";
import "./styles/tokens.css";
import "./styles/layout.css";
import "./styles/parts.css";
import "./styles/viewer.css";
import { App } from "./page/App";
import { start } from "./page/engine";
import { loadSample } from "./page/sample";
import { bundle, chosen, theme } from "./page/state";
import { ensure, run } from "./page/work";

const root = document.getElementById("page");
if (root) render(<App />, root);

effect(() => {
  if (theme.value === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.value;
});
effect(() => {
  if (!bundle.value) return;
  untracked(() => {
    void run();
    if (chosen.value !== null) void ensure(chosen.value);
  });
});

// what is used later is loaded now: after this nothing is requested
void Promise.all([start(), loadSample(), import("./page/save/seg")]).then(() => {
  document.documentElement.dataset.loaded = "true";
});
