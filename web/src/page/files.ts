/** Films from the disk: chosen, dropped, or a whole folder that was dropped. */
import { add } from "./work";

type Found = { name: string; file: Blob };

const HIDDEN = /(^|\/)(\.|Thumbs\.db$|DICOMDIR$)/;

/** Let a person choose files. */
export function choose(): void {
  const input = document.createElement("input");
  input.type = "file";
  input.multiple = true;
  input.accept = ".png,.jpg,.jpeg,.dcm,.dicom,.ima,image/png,image/jpeg,application/dicom";
  input.addEventListener("change", () => add([...(input.files ?? [])].map((file) => ({ name: file.name, file }))));
  input.click();
}

/** Add what was dropped; folders with everything in them. */
export async function drop(data: DataTransfer): Promise<void> {
  // entries must be taken before the first wait: the browser clears the transfer then
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  if (!entries.some((entry) => entry?.isDirectory)) {
    add([...data.files].map((file) => ({ name: file.name, file })));
    return;
  }
  const found = (await Promise.all(entries.filter((entry) => entry !== null).map((entry) => within(entry, "")))).flat();
  found.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
  add(found.filter(({ name }) => !HIDDEN.test(name)));
}

async function within(entry: FileSystemEntry, folder: string): Promise<Found[]> {
  const name = `${folder}${entry.name}`;
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [{ name, file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: Found[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const one of some) found.push(...(await within(one, `${name}/`)));
  }
}
