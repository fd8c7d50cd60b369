import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

import { HEAD } from "./head.ts";

const sharedHead: Plugin = {
  name: "shared-head",
  transformIndexHtml: { order: "pre", handler: (html) => html.replace("    <!-- head.ts -->\n", HEAD) },
};

// Names hold a hash of the contents, so that browsers may keep them and the same sources give the same files.
export default defineConfig({
  base: "./",
  plugins: [react(), sharedHead],
  build: {
    outDir: "../src/bakehouse/serve/page",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    target: "es2022",
    sourcemap: false,
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: { index: "index.html", share: "share.html" },
      output: {
        entryFileNames: "assets/[name]-[hash].js",
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
      },
    },
  },
  server: { proxy: { "/api": "http://127.0.0.1:7860", "/health": "http://127.0.0.1:7860", "/share/": "http://127.0.0.1:7860" } },
});
