// Animals, food, things, vehicles and plants, drawn by the designers of emoji icon sets.
// ../concepts.json says which icon of which set shows what. A figure is {svg, cls, group, style, tags}.
import { Resvg } from '@resvg/resvg-js';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { chance, pick } from './chance.mjs';

const SIZE = 160, MARGIN = 0.06; // pixels, share of a side left free
const SAMPLE = 64, PAD = 0.15; // an icon is measured at 64 pixels; some draw past their box, so that much is added around it
const TURNS = [-12, -5, 5, 12]; // degrees; few, as resvg aborts on some icons at some angles and each was tried at these
const BODY = 0.35; // share of an icon's ink that its main hue covers, at least, for the icon to be given another colour
const FAINT = 0.035; // OKLCH chroma below which a colour is seen as gray

const { concepts, colours, styles } = JSON.parse(fs.readFileSync(new URL('../concepts.json', import.meta.url), 'utf8'));
const HELDOUT_STYLES = Object.keys(styles).filter((style) => styles[style].heldout);
const TRAINING = concepts.filter((concept) => !concept.heldout), UNSEEN = concepts.filter((concept) => concept.heldout);

// -- colour: OKLCH, in which equal steps look equal, so that shades stay shades of the new colour --------------------
const toLinear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const toCurved = (v) => (v <= 0.0031308 ? v * 12.92 : 1.055 * v ** (1 / 2.4) - 0.055);

// [r, g, b] of 0..1 to {l, c, h}: lightness 0..1, chroma, hue in degrees.
export function lch([r, g, b]) {
  const [R, G, B] = [r, g, b].map(toLinear);
  const l = Math.cbrt(0.4122214708 * R + 0.5363325363 * G + 0.0514459929 * B);
  const m = Math.cbrt(0.2119034982 * R + 0.6806995451 * G + 0.1073969566 * B);
  const s = Math.cbrt(0.0883024619 * R + 0.2817188376 * G + 0.6299787005 * B);
  const a = 1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s;
  const k = 0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s;
  return { l: 0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s, c: Math.hypot(a, k), h: ((Math.atan2(k, a) * 180) / Math.PI + 360) % 360 };
}

function linearRgb({ l, c, h }) {
  const a = c * Math.cos((h * Math.PI) / 180), b = c * Math.sin((h * Math.PI) / 180);
  const L = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3, M = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3, S = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [4.0767416621 * L - 3.3077115913 * M + 0.2309699292 * S, -1.2684380046 * L + 2.6097574011 * M - 0.3413193965 * S, -0.0041960863 * L - 0.7034186147 * M + 1.707614701 * S];
}

// The nearest colour a screen can show: chroma falls until it fits.
function rgb({ l, c, h }) {
  let linear = linearRgb({ l, c, h });
  for (; c > 0.005 && linear.some((v) => v < -0.001 || v > 1.001); c *= 0.94) linear = linearRgb({ l, c, h });
  return linear.map((v) => toCurved(Math.min(1, Math.max(0, v))));
}

const fromHex = (hex) => {
  const full = hex.length < 6 ? [...hex].slice(0, 3).map((ch) => ch + ch).join('') : hex;
  return [0, 2, 4].map((i) => parseInt(full.slice(i, i + 2), 16) / 255);
};
const toHex = (values) => values.map((v) => Math.round(v * 255).toString(16).padStart(2, '0')).join('');
const turnBetween = (a, b) => ((a - b + 540) % 360) - 180;

// -- icons: the drawing, where its ink is, and the colour of its body -------------------------------------------------
const require = createRequire(import.meta.url);
const sets = {}, drawings = {};

const loaded = (set) => (sets[set] ??= JSON.parse(fs.readFileSync(require.resolve(`@iconify-json/${set}/icons.json`), 'utf8')));

// One icon with its aliases followed and the defaults of its set: {body, left, top, width, height}.
function source(set, name) {
  const file = loaded(set), chain = [];
  for (let at = name; !file.icons[at]; at = file.aliases[at].parent) chain.push(file.aliases[at]);
  const parent = file.icons[chain.at(-1)?.parent ?? name];
  const merged = Object.assign({ left: file.left ?? 0, top: file.top ?? 0, width: file.width ?? 16, height: file.height ?? 16 }, parent, ...chain.reverse());
  if (merged.rotate || merged.hFlip || merged.vFlip) throw new Error(`${set}/${name} is a turned alias; name its parent in concepts.json`);
  return merged;
}

function pixels({ body, left, top, width, height }) {
  const side = Math.max(width, height) * (1 + 2 * PAD), x = left + width / 2 - side / 2, y = top + height / 2 - side / 2;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${SAMPLE}" height="${SAMPLE}" viewBox="${x} ${y} ${side} ${side}">${body}</svg>`;
  return { data: new Resvg(svg).render().pixels, x, y, step: side / SAMPLE };
}

// The ends of each row of ink, in the icon's own units: enough to know how far it reaches however it is turned.
function outline({ data, x, y, step }) {
  const points = [];
  for (let row = 0; row < SAMPLE; row++) {
    let first = -1, last = -1;
    for (let col = 0; col < SAMPLE; col++) if (data[(row * SAMPLE + col) * 4 + 3] > 8) { if (first < 0) first = col; last = col; }
    if (first >= 0) for (const col of [first, last + 1]) for (const edge of [row, row + 1]) points.push([x + col * step, y + edge * step]);
  }
  return points;
}

// The hue that covers most of the icon, leaf green left aside where the concept says so: {l, c, h, share} or null.
function bodyColour({ data }, leaves) {
  const inks = [], bins = new Float64Array(72);
  let ink = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] < 200) continue;
    ink += 1;
    const colour = lch([data[i] / 255, data[i + 1] / 255, data[i + 2] / 255]);
    if (colour.c < FAINT || (leaves && colour.h > 105 && colour.h < 175)) continue;
    inks.push(colour);
    bins[Math.floor(colour.h / 5) % 72] += Math.min(1, colour.c / 0.1);
  }
  if (!inks.length) return null;
  const around = [...bins.keys()].map((k) => [-4, -3, -2, -1, 0, 1, 2, 3, 4].reduce((sum, d) => sum + bins[(k + d + 72) % 72], 0));
  const middle = around.indexOf(Math.max(...around)) * 5 + 2.5, near = inks.filter(({ h }) => Math.abs(turnBetween(h, middle)) < 25);
  const mean = (value) => near.reduce((sum, colour) => sum + value(colour), 0) / near.length;
  return { l: mean(({ l }) => l), c: mean(({ c }) => c), h: (middle + mean(({ h }) => turnBetween(h, middle)) + 360) % 360, share: near.length / ink };
}

function drawing(set, name, leaves = false, over = '') {
  return (drawings[`${set}/${name}${over}`] ??= (() => {
    const icon = source(set, name), seen = pixels(icon);
    const points = outline(over ? pixels({ ...icon, body: icon.body + over }) : seen);
    return { body: icon.body, points, main: bodyColour(seen, leaves), painted: {} };
  })());
}

// -- repainting ------------------------------------------------------------------------------------------------------
const PAINT = /((?:fill|stroke|stop-color|flood-color)(?:="|:\s*))#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})(?=["';\s])/g;
const SHADE = /(values="0 0 0 0 )([\d.]+)( 0 0 0 0 )([\d.]+)( 0 0 0 0 )([\d.]+)/g; // tinted shadows inside filters

// A colour of the body becomes the same shade of the target; any other colour stays. reach: degrees of hue on each side.
function shifted(values, main, target, reach) {
  const colour = lch(values);
  const away = turnBetween(colour.h, main.h);
  if (colour.c < FAINT || Math.abs(away) > reach) return null;
  const keep = target.c < 0.05 ? 0.45 : 0.75;
  const l = Math.min(0.985, Math.max(0.1, target.l + (colour.l - main.l) * keep));
  return rgb({ l, c: target.c * Math.min(1.2, colour.c / main.c), h: target.h + away * 0.25 });
}

function repaint(body, main, target, reach) {
  const paint = body.replace(PAINT, (all, before, hex) => {
    const changed = shifted(fromHex(hex), main, target, reach);
    return changed ? `${before}#${toHex(changed)}` : all;
  });
  return paint.replace(SHADE, (all, a, r, b, g, c, blue) => {
    const changed = shifted([+r, +g, +blue], main, target, 2 * reach);
    return changed ? a + changed[0].toFixed(4) + b + changed[1].toFixed(4) + c + changed[2].toFixed(4) : all;
  });
}

// -- figures -----------------------------------------------------------------------------------------------------------
// Fits the turned ink into the picture with a margin, its middle in the middle.
function placed(points, turn, mirror) {
  const cos = Math.cos((turn * Math.PI) / 180), sin = Math.sin((turn * Math.PI) / 180), flip = mirror ? -1 : 1;
  const xs = points.map(([x, y]) => cos * flip * x - sin * y), ys = points.map(([x, y]) => sin * flip * x + cos * y);
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = (SIZE * (1 - 2 * MARGIN)) / Math.max(right - left, bottom - top);
  const dx = SIZE / 2 - (scale * (left + right)) / 2, dy = SIZE / 2 - (scale * (top + bottom)) / 2;
  const values = [scale * cos * flip, scale * sin * flip, -scale * sin, scale * cos, dx, dy];
  return `matrix(${values.map((v) => v.toFixed(5)).join(' ')})`;
}

// Whether a new colour would be seen as the colour of the whole: one hue must cover a good part of the icon.
export function colourable(concept, set, name) {
  if (!concept.colors || concept.fixed.includes(`${set}/${name}`)) return false;
  return (drawing(set, name, concept.leaves).main?.share ?? 0) >= BODY;
}

export const conceptOf = (name) => concepts.find((concept) => concept.name === name);

// One icon as a figure. colour: a name in concepts.json, a hex colour that is no word of captions, or null; turn: degrees;
// mirror: left and right exchanged; over: SVG drawn on it, in the icon's own units; swap: [text, text] pairs of its SVG.
export function figure(concept, set, name, { colour = null, turn = 0, mirror = false, over = '', swap = [] } = {}) {
  const at = `${set}/${name}`, { body, points, main, painted } = drawing(set, name, concept.leaves, over);
  const reach = styles[set].reach ?? 25;
  const inked = (colour ? (painted[colour] ??= repaint(body, main, lch(fromHex(colours[colour] ?? colour)), reach)) : body) + over;
  const ink = swap.reduce((text, [from, to]) => text.replace(from, to), inked);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${SIZE}" height="${SIZE}" viewBox="0 0 ${SIZE} ${SIZE}"><g transform="${placed(points, turn, mirror)}">${ink}</g></svg>`;
  const tags = [colours[colour] && `${colour} ${concept.name}`, concept.faces.includes(at) && 'face'].filter(Boolean);
  return { svg, cls: concept.name, group: concept.group, style: set, tags };
}

// An icon drawn at random: half of those that can be have another colour, a third are turned, a third mirrored.
function drawn(concept, set) {
  const name = pick(concept.icons[set]);
  const colour = chance() < 0.5 ? pick(Object.keys(colours)) : null;
  const turn = chance() < 1 / 3 ? pick(TURNS) : 0, mirror = chance() < 1 / 3;
  return figure(concept, set, name, { colour: colourable(concept, set, name) ? colour : null, turn, mirror: mirror && !concept.text.includes(`${set}/${name}`) });
}

export function icon() {
  const concept = pick(TRAINING);
  return drawn(concept, pick(Object.keys(concept.icons).filter((set) => !styles[set].heldout)));
}

// Half are concepts never trained on, in any set; half are trained concepts in a set never trained on.
export function heldoutIcon() {
  if (chance() < 0.5) { const concept = pick(UNSEEN); return drawn(concept, pick(Object.keys(concept.icons))); }
  const set = pick(HELDOUT_STYLES);
  return drawn(pick(TRAINING.filter((concept) => concept.icons[set])), set);
}
