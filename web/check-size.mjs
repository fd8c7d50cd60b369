// What a first visit fetches must stay below 350 kB when compressed: the document's own files and the page of Home.
// A share's page is its document's own files alone, and below 130 kB.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const LIMIT = 350_000;
const folder = new URL("../src/bakehouse/serve/page/", import.meta.url);
const read = (name) => readFileSync(new URL(name, folder));
const document = read("index.html").toString();
const wanted = new Set([...document.matchAll(/(?:src|href)="\.\/([^"]+)"/g)].map((found) => found[1]));
for (const name of wanted) {
  if (!name.endsWith(".js")) continue;
  for (const [, other] of read(name).toString().matchAll(/from\s*"\.\/([^"]+\.js)"/g)) wanted.add(`assets/${other}`);
}
const entry = read([...wanted].find((name) => name.endsWith(".js"))).toString();
const home = /assets\/(Home-[\w-]+\.js)/.exec(entry) ?? /(Home-[\w-]+\.js)/.exec(entry);
if (home) wanted.add(`assets/${home[1]}`);
const font = /inter-latin-wght-normal-[\w-]+\.woff2/.exec([...wanted].filter((name) => name.endsWith(".css")).map((name) => read(name)).join(""));
let bytes = gzipSync(document).length;
for (const name of wanted) bytes += gzipSync(read(name)).length;
if (font) bytes += read(`assets/${font[0]}`).length;
console.log(`first load: ${(bytes / 1000).toFixed(0)} kB of ${LIMIT / 1000} kB, compressed, in ${wanted.size + 2} files`);
if (bytes > LIMIT) process.exit(1);

const SHARE_LIMIT = 130_000;
const share = read("share.html").toString();
const own = [...share.matchAll(/(?:src|href)="\.\/([^"]+)"/g)].map((found) => found[1]);
const shareBytes = [share, ...own.map(read)].reduce((sum, one) => sum + gzipSync(one).length, 0);
console.log(`first load of a share: ${(shareBytes / 1000).toFixed(0)} kB of ${SHARE_LIMIT / 1000} kB, compressed, in ${own.length + 1} files`);
if (shareBytes > SHARE_LIMIT) process.exit(1);
