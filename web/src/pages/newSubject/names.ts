import { encodePath } from "../../api/client";

/** A name that the server takes: letters, digits, `_ . + -`. */
export function safeName(text: string): string {
  return text.normalize("NFKD").replace(/[^\w.+-]+/g, "-").replace(/^[-.]+|[-.]+$/g, "").slice(0, 60);
}

/** A short word that hardly any model knows, made from a name: its consonants, then an `x`. */
export function triggerFor(name: string): string {
  const letters = safeName(name).toLowerCase().replace(/[^a-z]/g, "");
  const consonants = letters.replace(/[aeiou]/g, "") || letters;
  return `${consonants.slice(0, 3) || "zw"}x`.padStart(3, "z");
}

export const thumbnail = (dataset: string, path: string, size = 256, version = 0) =>
  `/api/v1/datasets/${encodeURIComponent(dataset)}/thumbnail/${encodePath(path)}?size=${size}${version ? `&v=${version}` : ""}`;
