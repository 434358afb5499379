import { defineConfig } from "vite";

// Built into the third wheel. Everything is a file of its own: the page's policy allows no inline script or style.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../packages/page/src/adaloraqat_page/site",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 4000,
  },
  worker: { format: "es" },
  server: { headers: { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" } },
});
