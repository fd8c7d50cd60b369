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
  if (body !== undefined) lines.push(`    json=${pythonValue(shortened(body), 1)},`);
  return [...lines, ")", "answer.raise_for_status()", "print(answer.json())"].join("\n");
}

function pythonValue(value: unknown, depth: number): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const one = JSON.stringify(value);
  const space = "    ".repeat(depth);
  const items = Array.isArray(value)
    ? value.map((item) => pythonValue(item, depth + 1))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${pythonValue(item, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (one.length <= SHOWN) return `${open}${items.join(", ")}${close}`;
  return `${open}\n${items.map((item) => `${space}    ${item},\n`).join("")}${space}${close}`;
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
