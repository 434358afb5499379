/** Help: what the page does, its keys, which model runs. */
import { useEffect, useRef } from "preact/hooks";
import { Icon } from "../icons";
import { bundle, check, helpIsOpen, singleKeys } from "../state";
import { KEYS } from "../viewer/keys";

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (helpIsOpen.value) dialog.current?.showModal();
    else dialog.current?.close();
  }, [helpIsOpen.value]);
  const close = (): void => void (helpIsOpen.value = false);
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={close} onClick={(event) => event.target === dialog.current && close()}>
      <div class="help-inside">
        <div class="panel-head">
          <h2 id="help-title">Help and keys</h2>
          <button type="button" class="button button-icon" onClick={close} aria-label="Close">
            <Icon name="close" />
          </button>
        </div>
        <div class="help-columns">
          <section>
            <h3>Keys</h3>
            <dl class="keys">
              {KEYS.map(([keys, told]) => (
                <div key={keys}>
                  <dt>{keys}</dt>
                  <dd>{told}</dd>
                </div>
              ))}
            </dl>
            <label class="switch">
              <input type="checkbox" checked={singleKeys.value} onChange={(event) => void (singleKeys.value = event.currentTarget.checked)} />
              <span>Single-key shortcuts</span>
            </label>
          </section>
          <section>
            <h3>Mouse and fingers</h3>
            <p>Zoom with the wheel or two fingers. With any tool, the middle button moves the film and the right one changes its window. With Alt, a click sets the opposite kind of point.</p>
            <h3>The model</h3>
            {bundle.value && (
              <p>
                {bundle.value.name} outlines {bundle.value.outlines}. {bundle.value.licence} {bundle.value.intendedUse}
              </p>
            )}
            <h3>Self-check</h3>
            <p>{check.value?.sentence ?? "It has not run yet."}</p>
            <h3>Your films</h3>
            <p>They are read, outlined and saved by this browser alone. After loading, the page requests nothing; another model is fetched from this computer when you choose it.</p>
          </section>
        </div>
      </div>
    </dialog>
  );
}
