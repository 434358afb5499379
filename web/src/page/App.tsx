/** The page as a whole. */
import { useEffect } from "preact/hooks";
import { drop } from "./files";
import { Icon } from "./icons";
import { Films, WideTable } from "./panels/Films";
import { Footer } from "./panels/Footer";
import { Header } from "./panels/Header";
import { Help } from "./panels/Help";
import { Result } from "./panels/Result";
import { Toolbar } from "./panels/Toolbar";
import { Welcome } from "./panels/Welcome";
import { announcement, asTable, films, obstacle, pane } from "./state";
import type { Pane } from "./types";
import { listenForKeys } from "./viewer/keys";
import { Stage } from "./viewer/Stage";

const PANES: [Pane, "table" | "film" | "result", string][] = [
  ["films", "table", "Films"],
  ["film", "film", "Film"],
  ["result", "result", "Result"],
];

export function App() {
  useEffect(() => {
    const stops = [listenForKeys(), listenForDrops()];
    return () => stops.forEach((stop) => stop());
  }, []);
  const hasFilms = films.value.length > 0;
  return (
    <div class="app" data-pane={pane.value} data-films={hasFilms} data-table={asTable.value}>
      <Header />
      {obstacle.value && (
        <div class="obstacle" role="alert">
          <Icon name="warning" />
          <p>{obstacle.value}</p>
        </div>
      )}
      <main class={hasFilms ? "main" : "main main-empty"}>
        {hasFilms ? (
          <>
            <Films />
            {asTable.value ? (
              <WideTable />
            ) : (
              <div class="viewer">
                <Toolbar />
                <Stage />
              </div>
            )}
            <Result />
          </>
        ) : (
          <Welcome />
        )}
      </main>
      {hasFilms && (
        <nav class="panes" aria-label="Parts of the page">
          {PANES.map(([name, icon, label]) => (
            <button key={name} type="button" class="pane" aria-current={pane.value === name ? "true" : undefined} onClick={() => void (pane.value = name)}>
              <Icon name={icon} />
              {label}
            </button>
          ))}
        </nav>
      )}
      <Footer />
      <Help />
      <div class="unseen" role="status" aria-live="polite" data-announcement>
        {announcement.value}
      </div>
      <div class="drop-veil" aria-hidden="true">
        <p>Drop to outline</p>
      </div>
    </div>
  );
}

/** Films may be dropped anywhere. */
function listenForDrops(): () => void {
  const root = document.documentElement;
  let depth = 0;
  const isFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
  const enter = (event: DragEvent): void => {
    if (isFiles(event)) root.toggleAttribute("data-dragging", ++depth > 0);
  };
  const leave = (event: DragEvent): void => {
    if (isFiles(event)) root.toggleAttribute("data-dragging", --depth > 0);
  };
  const over = (event: DragEvent): void => event.preventDefault();
  const dropped = (event: DragEvent): void => {
    event.preventDefault(); // else the browser would open the film in place of the page
    depth = 0;
    root.removeAttribute("data-dragging");
    if (event.dataTransfer) void drop(event.dataTransfer);
  };
  const all = [["dragenter", enter], ["dragleave", leave], ["dragover", over], ["drop", dropped]] as const;
  for (const [name, listener] of all) addEventListener(name, listener as EventListener);
  return () => all.forEach(([name, listener]) => removeEventListener(name, listener as EventListener));
}
