import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Names hold a hash of the contents, so that browsers may keep them and the same sources give the same files.
export default defineConfig({
  base: "./",
  plugins: [react()],
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
