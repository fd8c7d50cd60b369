/** Requests of a visitor. The address has the share's link; a header says which pictures are this browser's. */

export type Part = { text: string } | { name: string; options: string[] };
export interface Left {
  whose: "share" | "address";
  period: "day" | "month";
  limit: number;
  left: number;
  /** Seconds until it begins anew. */
  reset: number;
}
export interface About {
  title: string;
  intro: string;
  subject: string;
  templates: Part[][];
  prompt_characters: number;
  width: number;
  height: number;
  gallery: boolean;
  expires: number | null;
  open: boolean;
  left: Left[];
}
export interface VisitorPicture {
  id: string;
  state: "waiting" | "running" | "done" | "failed" | "canceled";
  prompt: string;
  width: number | null;
  height: number | null;
  place: number | null;
  progress: number;
  added: number;
  shown: boolean;
  hidden: boolean;
  flagged: boolean;
  mine: boolean;
}

export class ShareError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    /** Seconds after which it may work. */
    readonly retryAfter: number | null,
  ) {
    super(message);
  }
}

export const NO_ANSWER = 0;
export const SHARE = location.pathname.replace(/\/+$/, "");
const KEPT = `bakehouse.visitor.${SHARE.split("/").pop() ?? ""}`;

/** Whether the secret outlives the page: a frame in another site may be given no storage. */
export let isRemembered = true;
const secret = ownSecret();

function ownSecret(): string {
  const fresh = Array.from(crypto.getRandomValues(new Uint8Array(24)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  try {
    const kept = localStorage.getItem(KEPT);
    if (kept && /^[\w-]{32,64}$/.test(kept)) return kept;
    localStorage.setItem(KEPT, fresh);
  } catch {
    isRemembered = false;
  }
  return fresh;
}

async function ask(method: string, path: string, body?: unknown, options: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(`${SHARE}/${path}`, {
      method,
      headers: { "X-Visitor": secret, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? null : JSON.stringify(body),
      ...options,
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ShareError(NO_ANSWER, "no_answer", "", null);
  }
  if (answer.ok) return answer;
  const wait = Number(answer.headers.get("Retry-After"));
  const { error } = (await answer.json().catch(() => ({}))) as { error?: { code: string; message: string } };
  throw new ShareError(answer.status, error?.code ?? "failed", error?.message ?? answer.statusText, wait || null);
}

async function json<T>(method: string, path: string, body?: unknown): Promise<T> {
  return (await (await ask(method, path, body)).json()) as T;
}

export const getAbout = () => json<About>("GET", "about");
export const getMine = async () => (await json<{ pictures: VisitorPicture[] }>("GET", "mine")).pictures;
export const getGallery = async (before?: number) =>
  (await json<{ pictures: VisitorPicture[] }>("GET", `gallery?limit=${PAGE}${before === undefined ? "" : `&before=${before}`}`)).pictures;
export const draw = (prompt: string) => json<VisitorPicture & { removed: string[] }>("POST", "pictures", { prompt });
export const setShown = (id: string, shown: boolean) => json<VisitorPicture>("PUT", `pictures/${id}/shown`, { shown });
export const report = (id: string, reason: string) => json("POST", `pictures/${id}/report`, { reason });
export const remove = (id: string) => ask("DELETE", `pictures/${id}`, undefined, { keepalive: true });
export const PAGE = 24;

/** The file of a picture, which only this browser may see. */
export const getFile = async (id: string, signal: AbortSignal) => (await ask("GET", `pictures/${id}`, undefined, { signal })).blob();
/** The address of a picture of the gallery. */
export const galleryUrl = (id: string) => `${SHARE}/pictures/${id}`;

export interface PictureEvent {
  name: string;
  data: { place?: number | null; progress?: number; png?: string } & Partial<VisitorPicture>;
}

/** Follow a picture until it has ended. `EventSource` can send no header, so the stream is read here. */
export async function* follow(id: string, signal: AbortSignal): AsyncGenerator<PictureEvent> {
  const answer = await ask("GET", `pictures/${id}/events`, undefined, { signal });
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (reader) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const name = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (name && data) yield { name, data: JSON.parse(data) as PictureEvent["data"] };
    }
  }
}
