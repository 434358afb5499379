import { writeFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

const contained = new Set<string>();

/** Notes which npm packages the page contains, for `packages/build_page.py`, which collects their licences. */
function note(): Plugin {
  const add = (files: readonly string[]): void => {
    for (const file of files) {
      const found = [...file.matchAll(/node_modules\/((?:@[^/]+\/)?[^/@]+)/g)].at(-1);
      if (found) contained.add(found[1]);
    }
  };
  return {
    name: "note-packages",
    generateBundle(_, bundle) {
      for (const file of Object.values(bundle)) add(file.type === "chunk" ? file.moduleIds : file.originalFileNames);
    },
    closeBundle() {
      writeFileSync("node_modules/.contained.json", JSON.stringify([...contained].sort()));
    },
  };
}

// Built into the third wheel. Everything is a file of its own: the page's policy allows no inline script or style.
export default defineConfig({
  base: "./",
  plugins: [note()],
  build: {
    outDir: "../packages/page/src/adaloraqat_page/site",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 4000,
  },
  worker: { format: "es", plugins: () => [note()] },
});
