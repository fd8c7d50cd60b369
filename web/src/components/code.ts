import { address } from "../api/client";
import type { DrawBody } from "../api/types";
import type { CodeExample } from "./ShowAsCode";

const SHOWN = 60;

/** Images are long: their place is shown instead. */
function shortened(value: unknown): unknown {
  if (typeof value === "string" && value.startsWith("data:")) return "data:image/png;base64,...";
  if (Array.isArray(value)) return value.map(shortened);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined).map(([name, one]) => [name, shortened(one)]));
  }
  return value;
}

/** A word of a shell command, quoted if it must be. */
export function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export function curlOf({ method, path, body, files, upload }: CodeExample): string {
  const parts = ["curl", ...(method === "GET" || (method === "POST" && (body || files)) ? [] : ["-X", method]), '-H "Authorization: Bearer $TOKEN"'];
  for (const file of files ?? []) parts.push(`-F ${quoted(`files=@${file}`)}`);
  if (upload) parts.push(`--data-binary @${quoted(upload)}`);
  if (body !== undefined) parts.push('-H "Content-Type: application/json"', `-d ${quoted(JSON.stringify(shortened(body)))}`);
  return [...parts, `${location.origin}${address(path)}`].join(" ");
}

export function pythonOf({ method, path, body, files, upload }: CodeExample): string {
  const lines = ["import os", "", "import requests", "", `answer = requests.${method.toLowerCase()}(`, `    ${JSON.stringify(location.origin + address(path))},`, '    headers={"Authorization": f"Bearer {os.environ[\'TOKEN\']}"},'];
  if (files) lines.push(`    files=[${files.map((file) => `("files", open(${JSON.stringify(file)}, "rb"))`).join(", ")}],`);
  if (upload) lines.push(`    data=open(${JSON.stringify(upload)}, "rb"),`);
  if (body !== undefined) lines.push(`    json=${literal(shortened(body), PYTHON, 1)},`);
  return [...lines, ")", "answer.raise_for_status()", "print(answer.json())"].join("\n");
}

/** For Node 20 or newer: `node example.mjs`. */
export function javascriptOf({ method, path, body, files }: CodeExample): string {
  const lines: string[] = [];
  if (files) {
    lines.push('import { readFile } from "node:fs/promises";', "", "const form = new FormData();", `for (const file of ${JSON.stringify(files)}) {`, '  form.append("files", new Blob([await readFile(file)]), file);', "}", "");
  }
  lines.push(`const answer = await fetch(${JSON.stringify(location.origin + address(path))}, {`);
  if (method !== "GET") lines.push(`  method: "${method}",`);
  if (body === undefined) lines.push("  headers: { Authorization: `Bearer ${process.env.TOKEN}` },");
  else lines.push("  headers: {", "    Authorization: `Bearer ${process.env.TOKEN}`,", '    "Content-Type": "application/json",', "  },");
  if (body !== undefined) lines.push(`  body: JSON.stringify(${literal(shortened(body), JAVASCRIPT, 1)}),`);
  else if (files) lines.push("  body: form,");
  return [...lines, "});", "if (!answer.ok) throw new Error(await answer.text());", "console.log(await answer.json());"].join("\n");
}

interface Syntax {
  none: string;
  yes: string;
  no: string;
  indent: string;
  key: (name: string) => string;
}
const PYTHON: Syntax = { none: "None", yes: "True", no: "False", indent: "    ", key: (name) => JSON.stringify(name) };
const JAVASCRIPT: Syntax = { none: "null", yes: "true", no: "false", indent: "  ", key: (name) => (/^[a-z_]\w*$/i.test(name) ? name : JSON.stringify(name)) };

/** A JSON value as a literal of a language; long ones on several lines. */
function literal(value: unknown, syntax: Syntax, depth: number): string {
  if (value === null || value === undefined) return syntax.none;
  if (value === true) return syntax.yes;
  if (value === false) return syntax.no;
  if (typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const items = isList
    ? value.map((item) => literal(item, syntax, depth + 1))
    : Object.entries(value).map(([name, item]) => `${syntax.key(name)}: ${literal(item, syntax, depth + 1)}`);
  const [open, close] = isList ? ["[", "]"] : ["{", "}"];
  if (JSON.stringify(value).length <= SHOWN) {
    const inside = items.join(", ");
    return isList || syntax === PYTHON || !inside ? `${open}${inside}${close}` : `${open} ${inside} ${close}`;
  }
  const space = syntax.indent.repeat(depth);
  return `${open}\n${items.map((item) => `${space}${syntax.indent}${item},\n`).join("")}${space}${close}`;
}

/** `bakehouse generate` with the same settings. */
export function generateCommand(body: DrawBody): string {
  const words = ["bakehouse", "generate", body.model ?? "crumb", body.prompt];
  const add = (option: string, value: unknown) => {
    if (value !== undefined && value !== null && value !== "") words.push(option, String(value));
  };
  add("--negative", body.negative);
  add("-n", body.count === 1 ? undefined : body.count);
  add("--width", body.width);
  add("--height", body.height);
  add("--steps", body.steps);
  add("--guidance", body.guidance);
  add("--sampler", body.sampler);
  add("--schedule", body.schedule);
  add("--seed", body.seed === -1 ? undefined : body.seed);
  if (body.image) {
    words.push("--image", "image.png");
    add("--strength", body.image.strength);
    if (body.inpaint) words.push("--mask", "mask.png");
    if (body.inpaint?.area === "only masked") words.push("--only-masked");
    if (body.inpaint) {
      add("--mask-blur", body.inpaint.blur);
      add("--masked-content", body.inpaint.content);
      if (body.inpaint.area === "only masked") add("--padding", body.inpaint.padding);
    }
    const { extend } = body.image;
    if (extend) add("--extend", Object.entries(extend).filter(([, pixels]) => pixels).map(([side, pixels]) => `${side}=${pixels}`).join(","));
  }
  for (const region of body.regions?.regions ?? []) add("--region", `${region.area}: ${region.prompt}`);
  if (body.regions) {
    add("--region-base", body.regions.base);
    add("--region-edge", body.regions.edge);
  }
  if (body.hires) add("--hires", body.hires.scale);
  return words.map(quoted).join(" ");
}
