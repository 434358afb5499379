/**
 * Run the engine over films in node: `node tools/run_films.mjs JOB.json`, for tests and benchmarks.
 *
 * JOB.json: {"bundle": folder, "films": [files], "out": folder, "pixels": true or false, "prompt": {...}}. For the
 * film numbered n, out/n.json says size, notices, warnings and result or the sentence of its error; with "pixels"
 * out/n.grey and out/n.input hold float32, out/n.mask, out/n.right and out/n.heart one byte a pixel. The last line counts the films.
 */
import { readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { createServer } from "vite";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const server = await createServer({
  root,
  configFile: false,
  appType: "custom",
  logLevel: "error",
  server: { middlewareMode: true, watch: null, hmr: false, ws: false },
  optimizeDeps: { noDiscovery: true },
});
const { readFilm, Segmenter } = await server.ssrLoadModule("/src/engine/api.ts");

const job = JSON.parse(await readFile(process.argv[2], "utf8"));
const load = async (file) => new Uint8Array(await readFile(join(job.bundle, file))).buffer;
const segmenter = job.bundle ? await Segmenter.open(load, { threads: 1 }) : undefined;
const bytes = (array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

for (const [n, path] of job.films.entries()) {
  const said = {};
  try {
    const film = await readFilm(new Uint8Array(await readFile(path)), basename(path));
    const { grey, dicom, ...rest } = film;
    Object.assign(said, rest);
    if (job.pixels) await writeFile(join(job.out, `${n}.grey`), bytes(grey));
    if (segmenter) {
      if (job.pixels) await writeFile(join(job.out, `${n}.input`), bytes(segmenter.input(film).image));
      const { mask, ...result } = await segmenter.segment(film, job.prompt);
      if (result.structures) {
        const { right, heart, ...measures } = result.structures;
        result.structures = measures;
        await writeFile(join(job.out, `${n}.right`), right);
        await writeFile(join(job.out, `${n}.heart`), heart);
      }
      said.result = result;
      await writeFile(join(job.out, `${n}.mask`), mask);
    }
  } catch (error) {
    said.error = error.name === "FilmError" ? error.message : String(error.stack);
  }
  await writeFile(join(job.out, `${n}.json`), JSON.stringify(said));
}
console.log(`${job.films.length} films`);
await server.close();
process.exit(0); // the runtime's threads would keep the process
