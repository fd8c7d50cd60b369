/**
 * Keeps the page's own files, so that it opens while its server is away. What the server answers is never kept:
 * only the document and built files are. `stamp.mjs` fills in VERSION and FILES.
 */
const VERSION = "VERSION-OF-THIS-BUILD";
const FILES = ["FILES-OF-THIS-BUILD"];
const CACHE = `bakehouse-${VERSION}`;
const PATIENCE_MS = 4000;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(["./", ...FILES])).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const forget = (names) => Promise.all(names.filter((name) => name.startsWith("bakehouse-") && name !== CACHE).map((name) => caches.delete(name)));
  event.waitUntil(caches.keys().then(forget).then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const here = new URL("./", self.location.href);
  if (request.method !== "GET" || url.origin !== here.origin) return;
  if (request.mode === "navigate" && url.pathname === here.pathname) event.respondWith(documentOf(request));
  else if (url.pathname.startsWith(`${here.pathname}assets/`) || url.pathname === `${here.pathname}icon.svg`) event.respondWith(fileOf(request));
});

/** The server's own document; the kept one if it does not answer in time. */
async function documentOf(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match("./");
  try {
    const answer = await fetch(request, kept ? { signal: AbortSignal.timeout(PATIENCE_MS) } : {});
    if (answer.ok) await cache.put("./", answer.clone());
    return answer.status >= 500 && kept ? kept : answer;
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}

/** A built file: its name holds a hash of its contents, so what is kept is what the server has. */
async function fileOf(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request);
  if (kept) return kept;
  const answer = await fetch(request);
  if (answer.ok) await cache.put(request, answer.clone());
  return answer;
}
