import { queryOptions } from "@tanstack/react-query";
import { get, request } from "../../api/client";

export interface ShareSettings {
  model: string;
  title: string;
  intro: string;
  subject: string | null;
  negative: string;
  templates: string[];
  width: number | null;
  height: number | null;
  steps: number;
  guidance: number | null;
  prompt_characters: number;
  day: number | null;
  month: number | null;
  address_day: number | null;
  address_month: number | null;
  gallery: boolean;
  embed: string[];
  expires: number | null;
}
export interface Share extends ShareSettings {
  name: string;
  path: string;
  created: number;
  revoked: number | null;
  expired: boolean;
  served: boolean;
  drawn: { day: number; month: number };
  reported: number;
}
export interface SharePicture {
  id: string;
  url: string;
  prompt: string;
  width: number;
  height: number;
  added: number;
  shown: boolean;
  hidden: "" | "owner" | "reports";
  flagged: boolean;
  reports: number;
  reasons: string[];
}
export type Only = "all" | "shown" | "reported";

export const placeOf = (name: string) => `/shares/${encodeURIComponent(name)}`;
export const sharesQuery = queryOptions({ queryKey: ["shares"], queryFn: async () => (await get<{ shares: Share[] }>("/shares")).shares, refetchInterval: 30_000 });
export const sharePicturesQuery = (name: string, only: Only) =>
  queryOptions({ queryKey: ["shares", name, "pictures", only], queryFn: async () => (await get<{ pictures: SharePicture[] }>(`${placeOf(name)}/pictures`, { only, limit: 120 })).pictures });

export const linkOf = (share: Share) => location.origin + share.path;

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
/** What shows a share in a page of another site; `bakehouse share embed` prints the same. */
export const embedCode = (share: Share) =>
  `<iframe src="${escaped(linkOf(share))}" title="${escaped(share.title || share.name)}" style="border:0;width:100%;max-width:720px;height:820px" loading="lazy"></iframe>`;

/** What the form holds; empty fields are left to the server. */
export interface ShareDraft {
  name: string;
  model: string | null;
  title: string;
  intro: string;
  subject: string;
  sets: string[];
  templates: string;
  negative: string;
  steps: number | string;
  width: number | string;
  height: number | string;
  day: number | string;
  month: number | string;
  address_day: number | string;
  address_month: number | string;
  gallery: boolean;
  embed: string[];
  days: number | string;
}

export function draftOf(share: Share | null, model: string | null): ShareDraft {
  if (!share) {
    return { name: "", model, title: "", intro: "", subject: "", sets: [], templates: "", negative: "", steps: 20, width: "", height: "", day: 200, month: "", address_day: 20, address_month: "", gallery: true, embed: [], days: "" };
  }
  const left = share.expires === null ? "" : Math.max(1, Math.ceil((share.expires - Date.now() / 1000) / 86_400));
  return {
    name: share.name, model: share.model, title: share.title, intro: share.intro, subject: share.subject ?? "", sets: [], templates: share.templates.join("\n"),
    negative: share.negative, steps: share.steps, width: share.width ?? "", height: share.height ?? "", day: share.day ?? "", month: share.month ?? "",
    address_day: share.address_day ?? "", address_month: share.address_month ?? "", gallery: share.gallery, embed: share.embed, days: left,
  };
}

const numberOr = (value: number | string) => (value === "" ? null : Number(value));

export function bodyOf(draft: ShareDraft): Record<string, unknown> {
  const { name, sets, templates, subject, ...rest } = draft;
  return {
    ...rest,
    subject: subject.trim() || null,
    sets,
    templates: templates.split("\n").map((one) => one.trim()).filter(Boolean),
    steps: numberOr(draft.steps) ?? 20,
    width: numberOr(draft.width), height: numberOr(draft.height), days: numberOr(draft.days),
    day: numberOr(draft.day), month: numberOr(draft.month), address_day: numberOr(draft.address_day), address_month: numberOr(draft.address_month),
  };
}

export function saveShare(draft: ShareDraft, before: Share | null): Promise<Share> {
  if (!before) return request("POST", "/shares", { name: draft.name.trim(), ...bodyOf(draft) });
  const { days, ...rest } = bodyOf(draft);
  const isSameEnd = draft.days === draftOf(before, null).days; // days are counted from now on
  return request("PATCH", placeOf(before.name), isSameEnd ? rest : { ...rest, days });
}

/** `bakehouse share add` with the same settings. */
export function shareCommand(draft: ShareDraft, quoted: (text: string) => string): string {
  const words = ["bakehouse", "share", "add", draft.name.trim() || "NAME"];
  const add = (option: string, value: unknown) => value !== "" && value !== null && words.push(option, String(value));
  const limit = (option: string, value: number | string, usual: number | null) => value !== (usual ?? "") && add(option, value === "" ? "any" : value);
  add("--model", draft.model);
  add("--title", draft.title);
  add("--intro", draft.intro);
  add("--subject", draft.subject);
  for (const set of draft.sets) add("--templates", set);
  for (const one of draft.templates.split("\n").filter((text) => text.trim())) add("--template", one.trim());
  add("--negative", draft.negative);
  if (draft.steps !== 20) add("--steps", draft.steps);
  add("--width", draft.width);
  add("--height", draft.height);
  limit("--day", draft.day, 200);
  limit("--month", draft.month, null);
  limit("--address-day", draft.address_day, 20);
  limit("--address-month", draft.address_month, null);
  if (!draft.gallery) words.push("--no-gallery");
  for (const site of draft.embed) add("--embed", site);
  add("--days", draft.days);
  return words.map(quoted).join(" ");
}
