// Write which sources the built files are of (a test compares without Node), and the service worker that keeps them.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

const here = import.meta.dirname;
const out = process.argv[2] ?? join(here, "../src/bakehouse/serve/page");
const inFolder = (folder) => readdirSync(folder, { recursive: true }).map((name) => join(folder, name)).filter((path) => statSync(path).isFile());
const files = [...["head.ts", "index.html", "share.html", "package.json", "package-lock.json", "vite.config.ts"].map((name) => join(here, name)), ...inFolder(join(here, "src"))];
const named = files.map((path) => [relative(here, path).replaceAll("\\", "/"), path]).sort(([a], [b]) => (a < b ? -1 : 1));
const digest = createHash("sha256");
for (const [name, path] of named) digest.update(`${name}\n`).update(readFileSync(path));
const hash = digest.digest("hex");
writeFileSync(join(out, "sources.sha256"), `${hash}\n`);

// Fonts of other scripts and pictures are kept when they are first used.
const kept = readdirSync(join(out, "assets")).filter((name) => /\.(js|css)$/.test(name) || /latin-wght-normal/.test(name)).sort();
const worker = readFileSync(join(here, "src/service-worker.js"), "utf8")
  .replace("VERSION-OF-THIS-BUILD", hash.slice(0, 16))
  .replace('["FILES-OF-THIS-BUILD"]', JSON.stringify(["./icon.svg", ...kept.map((name) => `./assets/${name}`)]));
writeFileSync(join(out, "service-worker.js"), worker);
