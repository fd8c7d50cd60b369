/** Fields of a form, read from the JSON Schema of recipes. */

export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string;
  properties?: Record<string, Schema>;
  anyOf?: Schema[];
  oneOf?: Schema[];
  items?: Schema;
  enum?: string[];
  const?: unknown;
  default?: unknown;
  description?: string;
  examples?: string[];
}

export type Control = "switch" | "choice" | "integer" | "number" | "text" | "lines" | "json";

export interface Field {
  /** Dotted, as recipes and `--set` have it: `adapter.rank`. */
  key: string;
  control: Control;
  help: string;
  choices: string[];
  /** Values that are suggested; others may be allowed. */
  suggestions: string[];
  /** Whether it may be left open, for the plan to decide. */
  isOpen: boolean;
  /** What it is where a recipe leaves it out. */
  usual: unknown;
}

export type Values = Record<string, unknown>;

/** Chosen before the form: the photos, what they show, and the base model. */
const ELSEWHERE = new Set(["version", "name", "kind", "concepts", "model.base"]);

/** The fields of a recipe. Unions have the fields of the kind that `values` names. */
export function fieldsOf(schema: Schema, values: Values): Field[] {
  const found: Field[] = [];
  const resolve = (one: Schema): Schema => (one.$ref ? { ...schema.$defs?.[one.$ref.split("/").at(-1) ?? ""], ...one } : one);
  const walk = (properties: Record<string, Schema>, table: string) => {
    for (const [name, raw] of Object.entries(properties)) {
      const key = table ? `${table}.${name}` : name;
      if (ELSEWHERE.has(key) || (key === "slider" && values.kind !== "slider")) continue;
      const one = resolve(raw);
      if (one.oneOf) {
        const kinds = new Map(one.oneOf.map((kind) => [String(resolve(kind).properties?.kind?.const), resolve(kind)]));
        const kindKey = `${key}.kind`;
        found.push({ key: kindKey, control: "choice", help: "", choices: [...kinds.keys()], suggestions: [], isOpen: false, usual: undefined });
        const { kind: _, ...rest } = kinds.get(String(valueAt(values, kindKey)))?.properties ?? {};
        walk(rest, key);
      } else if (one.properties) walk(one.properties, key);
      else found.push(leaf(key, one));
    }
  };
  walk(schema.properties ?? {}, "");
  return [...repeatsOf(values), ...found];
}

/** Of the photos' own settings, how often each folder is shown. */
function repeatsOf(values: Values): Field[] {
  const concepts = Array.isArray(values.concepts) ? values.concepts : [];
  return concepts.map((_, number) => ({ key: `concepts.${number}.repeats`, control: "integer", help: "", choices: [], suggestions: [], isOpen: true, usual: null }));
}

function leaf(key: string, one: Schema): Field {
  const kinds = (one.anyOf ?? [one]).filter((kind) => kind.type !== "null");
  const isOpen = kinds.length < (one.anyOf ?? [one]).length;
  const only = kinds.length === 1 ? kinds[0] : undefined;
  const words = kinds.filter((kind) => typeof kind.const === "string").map((kind) => String(kind.const));
  const named = { key, help: one.description ?? "", choices: only?.enum ?? [], suggestions: [...(one.examples ?? only?.examples ?? []), ...words], isOpen, usual: one.default ?? null };
  const isNumber = kinds.some((kind) => kind.type === "integer" || kind.type === "number");
  if (only?.enum) return { ...named, control: "choice", choices: only.enum.map(String) };
  if (only?.type === "boolean") return { ...named, control: "switch" };
  if (isNumber) return { ...named, control: only?.type === "integer" ? "integer" : "number" };
  if (only?.type === "array" && only.items?.type === "string") return { ...named, control: "lines" };
  if (only?.type === "array" || only?.type === "object" || !kinds.every((kind) => kind.type === "string")) return { ...named, control: "json" };
  return { ...named, control: "text" };
}

/** The value of a dotted key; undefined where there is none. */
export function valueAt(values: unknown, key: string): unknown {
  return key.split(".").reduce<unknown>((here, name) => (here && typeof here === "object" ? (here as Values)[name] : undefined), values);
}

/** A value as a field shows it. */
export function shown(value: unknown, control: Control): string {
  if (value === null || value === undefined) return "";
  if (control === "lines" && Array.isArray(value)) return value.join("\n");
  if (typeof value === "object") return Object.keys(value).length ? JSON.stringify(value) : "";
  return String(value);
}

/** What was typed as a value. What is none of the kind stays text, and the server says what is wrong with it. */
export function parsed(text: string, control: Control): unknown {
  if (control === "lines") return text.split("\n").filter((line) => line.trim());
  if (control === "text") return text;
  if (text.trim() === "") return undefined;
  if (control === "integer" || control === "number") {
    const number = Number(text);
    return Number.isFinite(number) ? number : text;
  }
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** A value as TOML writes it, for `--set`. */
export function toml(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toml).join(", ")}]`;
  if (value && typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)} = ${toml(one)}`).join(", ")}}`;
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** A recipe as what was chosen before the form, and the settings that the form shows, by dotted key. */
export function split(recipe: Values, schema: Schema): { core: Values; settings: Values } {
  const core: Values = {};
  const settings: Values = {};
  for (const field of fieldsOf(schema, recipe)) {
    const value = valueAt(recipe, field.key);
    if (value !== undefined) settings[field.key] = value;
  }
  for (const name of ["version", "name", "kind"]) if (recipe[name] !== undefined) core[name] = recipe[name];
  const base = valueAt(recipe, "model.base");
  if (base !== undefined) core.model = { base };
  if (Array.isArray(recipe.concepts)) core.concepts = recipe.concepts.map(({ repeats: _, ...rest }: Values) => rest);
  return { core, settings };
}
