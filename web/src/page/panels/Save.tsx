/** Saves results as files, of one film or of all. */
import { Icon } from "../icons";
import { announcement, films, isBusy } from "../state";
import type { Item } from "../types";
import { save, saveAll, type Kind } from "../save";

const KINDS: [Kind, string, string][] = [
  ["mask", "Mask", "PNG of 0 and 255, on the film's own grid"],
  ["overlay", "Overlay", "PNG of the film with its outline"],
  ["json", "JSON", "the shell's keys"],
  ["seg", "DICOM SEG", "for archive and station"],
];

export function SaveOne({ film }: { film: Item }) {
  return (
    <section class="panel-foot" aria-labelledby="save-title">
      <h3 id="save-title" class="unseen">
        Save
      </h3>
      <div class="saves">
        {KINDS.map(([kind, label, told]) => {
          const isOff = kind === "seg" && !film.dicom;
          return (
            <button
              key={kind}
              type="button"
              class="button"
              disabled={isOff}
              title={isOff ? "Only for DICOM films: others name no patient and no study" : told}
              onClick={() => void attempt(() => save(film, kind))}
            >
              <Icon name="save" />
              {label}
            </button>
          );
        })}
      </div>
    </section>
  );
}

export function SaveAll() {
  const isOff = isBusy.value || !films.value.some((film) => film.result);
  return (
    <>
      <button type="button" class="button button-small" disabled={isOff} onClick={() => void attempt(() => saveAll("csv"))} title="The table as results.csv">
        <Icon name="save" />
        CSV
      </button>
      <button type="button" class="button button-small" disabled={isOff} onClick={() => void attempt(() => saveAll("json"))} title="Everything as one JSON document">
        <Icon name="save" />
        JSON
      </button>
      <button type="button" class="button button-small" disabled={isOff} onClick={() => void attempt(() => saveAll("zip"))} title="All masks with CSV and JSON in one ZIP file">
        <Icon name="save" />
        Masks
      </button>
    </>
  );
}

async function attempt(work: () => Promise<string>): Promise<void> {
  try {
    announcement.value = `${await work()} was saved.`;
  } catch (error) {
    announcement.value = `The file was not saved: ${error instanceof Error ? error.message : String(error)}`;
  }
}
