import type { components } from "../../api/schema";
import { quoted } from "../../components/code";
import type { CodeExample } from "../../components/ShowAsCode";

export type PublishBody = components["schemas"]["PublishBody"];
export type Place = "folder" | "hub" | "url";

/** What is in the form. */
export interface Draft {
  place: Place;
  folder: string;
  repository: string;
  url: string;
  person: "real" | "none" | null;
  title: string;
  author: string;
  about: string;
  licence: string;
  base: string;
  weights: string | null;
  strength: number | null;
  images: number;
  isPublic: boolean;
  replaceCard: boolean;
}

export const emptyDraft = (run: string): Draft => ({
  place: "folder", folder: run, repository: "", url: "", person: null, title: "", author: "", about: "", licence: "",
  base: "", weights: null, strength: null, images: 6, isPublic: false, replaceCard: false,
});

/** Where a draft goes, as the server takes it; empty while that is not said. */
export function destinationOf(draft: Draft): string {
  if (draft.place === "folder") return draft.folder.trim();
  if (draft.place === "url") return draft.url.trim();
  return draft.repository.trim() ? `hub:${draft.repository.trim()}` : "";
}

/** The request of a draft; what is left open is left out. */
export function bodyOf(draft: Draft, more: { preview?: boolean; accept?: string[] }): PublishBody {
  const texts = { title: draft.title, author: draft.author, about: draft.about, licence: draft.licence, base: draft.base, weights: draft.weights ?? "" };
  const given = Object.entries(texts).filter(([, text]) => text.trim() !== "");
  return {
    to: destinationOf(draft),
    ...(draft.person ? { person: draft.person } : {}),
    ...Object.fromEntries(given.map(([name, text]) => [name, text.trim()])),
    ...(draft.strength === null ? {} : { strength: draft.strength }),
    images: draft.images,
    ...(draft.isPublic && draft.place === "hub" ? { public: true } : {}),
    ...(draft.replaceCard ? { replace_card: true } : {}),
    ...(more.preview ? { preview: true } : {}),
    ...(more.accept?.length ? { accept: more.accept } : {}),
  } as PublishBody;
}

export function exampleOf(run: string, body: PublishBody): CodeExample {
  const to = /^(hub:|[a-z0-9]+:\/\/)/.test(body.to) ? body.to : `published/${body.to}`;
  const words = ["bakehouse", "publish", `runs/${run}`, "--to", to];
  for (const [name, value] of Object.entries(body)) {
    if (name === "to" || name === "preview" || value === undefined || value === null) continue;
    const option = `--${name.replaceAll("_", "-")}`;
    if (value === true) words.push(option);
    else for (const one of Array.isArray(value) ? value : [value]) words.push(option, String(one));
  }
  if (body.preview) words.push("--dry-run");
  return { command: words.map(quoted).join(" "), method: "POST", path: `/runs/${encodeURIComponent(run)}/publish`, body };
}
