// People of our own drawing: one anatomy, seven themes that draw it. drawnPerson() -> {svg, cls, group, style, tags}.
// Shapes are written in units of the head (x: -1..1 across, y: 0 skull..1 chin) or of the body (x: -1..1 across the
// shoulders, y: 0 neck..1 lower edge), so that each theme has its own proportions; a theme's pen fills and outlines them.
import fs from 'node:fs';
import { chance, pick, key } from './chance.mjs';

const COLOURS = JSON.parse(fs.readFileSync(new URL('../people.json', import.meta.url)));
const { hair: HAIR, skin: SKIN, cloth: CLOTH, glasses: GLASS } = COLOURS;
const CX = 80, BOTTOM = 160;

// -- colour -----------------------------------------------------------------------------------------------------------
const rgb = (hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
const mix = (a, b, t) => { const p = rgb(a), q = rgb(b); return p.map((v, i) => Math.round(v + (q[i] - v) * t).toString(16).padStart(2, '0')).join(''); };
const bright = (hex) => { const [r, g, b] = rgb(hex); return (0.3 * r + 0.59 * g + 0.11 * b) / 255; };
const darker = (hex, t = 0.25) => mix(hex, '1c1028', t);
const lighter = (hex, t = 0.25) => mix(hex, 'ffffff', t);
const detail = (hex, t = 0.3) => (bright(hex) < 0.3 ? lighter(hex, t * 0.8) : darker(hex, t)); // a line that shows on the colour

// -- geometry: path strings of absolute M L C Q Z ----------------------------------------------------------------------
const n1 = (v) => Math.round(v * 10) / 10;
const mapped = (path, fx, fy) => path.replace(/(-?\d*\.?\d+)[ ,]+(-?\d*\.?\d+)/g, (_, x, y) => `${n1(fx(+x, +y))} ${n1(fy(+y))}`);
const shifted = (path, dx, dy) => mapped(path, (x) => x + dx, (y) => y + dy);
const oval = (x, y, rx, ry = rx) => {
  const a = rx * 0.552, b = ry * 0.552, l = [x - rx, y, x - rx, y - b, x - a, y - ry, x, y - ry, x + a, y - ry, x + rx, y - b, x + rx, y, x + rx, y + b, x + a, y + ry, x, y + ry, x - a, y + ry, x - rx, y + b, x - rx, y].map(n1);
  return `M ${l[0]} ${l[1]} C ${l.slice(2, 8).join(' ')} C ${l.slice(8, 14).join(' ')} C ${l.slice(14, 20).join(' ')} C ${l.slice(20, 26).join(' ')} Z`;
};
const box = (x, y, w, h, r) => `M ${n1(x + r)} ${n1(y)} L ${n1(x + w - r)} ${n1(y)} Q ${n1(x + w)} ${n1(y)} ${n1(x + w)} ${n1(y + r)} L ${n1(x + w)} ${n1(y + h - r)} Q ${n1(x + w)} ${n1(y + h)} ${n1(x + w - r)} ${n1(y + h)} L ${n1(x + r)} ${n1(y + h)} Q ${n1(x)} ${n1(y + h)} ${n1(x)} ${n1(y + h - r)} L ${n1(x)} ${n1(y + r)} Q ${n1(x)} ${n1(y)} ${n1(x + r)} ${n1(y)} Z`;
const arc = (x, y, rx, ry, from, to, count) => Array.from({ length: count + 1 }, (_, i) => { const a = ((from + ((to - from) * i) / count) * Math.PI) / 180; return [x + rx * Math.cos(a), y + ry * Math.sin(a)]; });
// bumps along points, outward on the left side of the way for bulge > 0
const bumps = (points, bulge, open = true) => points.slice(1).map(([x, y], i) => {
  const [px, py] = points[i], nx = (y - py) * bulge, ny = (px - x) * bulge;
  return `${i || !open ? '' : `M ${n1(px)} ${n1(py)} `}C ${n1(px + nx)} ${n1(py + ny)} ${n1(x + nx)} ${n1(y + ny)} ${n1(x)} ${n1(y)}`;
}).join(' ');
function points(path, step = 5) { // the subpaths of a path as lists of points, about step apart
  const out = [], parts = path.match(/[MLCQZ][^MLCQZ]*/g);
  let at = [0, 0], line = null;
  for (const part of parts) {
    const c = part[0], v = (part.slice(1).match(/-?\d*\.?\d+/g) ?? []).map(Number);
    if (c === 'M') { line = [[v[0], v[1]]]; out.push(line); at = line[0]; continue; }
    if (c === 'Z') { line.closed = true; v.push(...line[0]); }
    const end = v.slice(-2), far = Math.hypot(end[0] - at[0], end[1] - at[1]) * (c === 'C' || c === 'Q' ? 1.2 : 1), k = Math.max(1, Math.round(far / step));
    for (let i = 1; i <= k; i++) {
      const t = i / k, u = 1 - t;
      const f = (j) => (c === 'C' ? u * u * u * at[j] + 3 * u * u * t * v[j] + 3 * u * t * t * v[j + 2] + t * t * t * v[j + 4] : c === 'Q' ? u * u * at[j] + 2 * u * t * v[j] + t * t * v[j + 2] : at[j] + (end[j] - at[j]) * t);
      line.push([f(0), f(1)]);
    }
    at = end;
  }
  return out;
}
const smooth = (list) => list.map((p, i) => (i ? (i < list.length - 1 ? `Q ${n1(p[0])} ${n1(p[1])} ${n1((p[0] + list[i + 1][0]) / 2)} ${n1((p[1] + list[i + 1][1]) / 2)}` : `L ${n1(p[0])} ${n1(p[1])}`) : `M ${n1(p[0])} ${n1(p[1])}`)).join(' ');
const shaken = (lines, by) => lines.map((l) => smooth(l.map(([x, y], i) => (i && i < l.length - 1 ? [x + (chance() - 0.5) * by, y + (chance() - 0.5) * by] : [x, y]))) + (l.closed ? ' Z' : '')).join(' ');
const wobbly = (path, by) => shaken(points(path), by);

// -- pens: how a theme fills and outlines a shape ------------------------------------------------------------------------
class Sheet {
  constructor(theme) { this.theme = theme; this.out = []; this.defs = []; this.ids = 0; }
  id(prefix) { return prefix + this.ids++; }
  raw(text) { this.out.push(text); }
  clip(path) { const id = this.id('c'); this.defs.push(`<clipPath id="${id}"><path d="${path}"/></clipPath>`); return id; }
  within(path, draw) { this.raw(`<g clip-path="url(#${this.clip(path)})">`); draw(); this.raw('</g>'); }
  fill(d, colour, opacity = 1, by = null) { this.raw(`<path d="${d}" fill="#${colour}"${opacity < 1 ? ` fill-opacity="${opacity}"` : ''}${by ? ` transform="translate(${by})"` : ''}/>`); }
  stroke(d, colour, width, opacity = 1) { this.raw(`<path d="${d}" fill="none" stroke="#${colour}" stroke-width="${n1(width)}" stroke-linecap="round" stroke-linejoin="round"${opacity < 1 ? ` stroke-opacity="${opacity}"` : ''}/>`); }
  shape(d, colour, more = {}) { this.theme.pen(this, d, colour, more); } // a part of the figure
  flat(d, colour, width = this.theme.ink.width) { // a small part: no shading
    const path = this.theme.rough ? wobbly(d, 0.8) : d;
    this.fill(path, colour);
    const ink = this.theme.ink.of(colour);
    if (ink && width) this.stroke(path, ink, width);
  }
  line(d, colour, width) { this.stroke(this.theme.rough ? wobbly(d, 1.2) : d, colour, width); } // a mark
  svg() { return `<svg xmlns="http://www.w3.org/2000/svg" width="160" height="160" viewBox="0 0 160 160"><defs>${this.defs.join('')}</defs>${this.out.join('')}</svg>`; }
}

const outlined = (sheet, d, colour, width = sheet.theme.ink.width) => sheet.stroke(d, sheet.theme.ink.of(colour), width);
const PENS = {
  cel(sheet, d, colour, { plain } = {}) { // flat colour, a hard shadow along the lower right
    if (plain) sheet.fill(d, colour);
    else { sheet.fill(d, darker(colour, 0.22)); sheet.within(d, () => sheet.fill(d, colour, 1, '-4.5 -3')); }
    outlined(sheet, d, colour);
  },
  offset(sheet, d, colour, { skin } = {}) { sheet.fill(d, colour, 1, skin ? null : '2.2 1.8'); outlined(sheet, d, colour); }, // colour printed a little off the lines
  soft(sheet, d, colour, { plain } = {}) { // light from above, no outline
    if (plain) return sheet.fill(d, colour);
    const id = sheet.id('g');
    sheet.defs.push(`<linearGradient id="${id}" x1=".35" y1="0" x2=".6" y2="1"><stop offset="0" stop-color="#${lighter(colour, 0.2)}"/><stop offset=".5" stop-color="#${colour}"/><stop offset="1" stop-color="#${darker(colour, 0.24)}"/></linearGradient>`);
    sheet.raw(`<path d="${d}" fill="url(#${id})"/>`);
  },
  tinted(sheet, d, colour, { plain } = {}) { // soft two tones, thin outlines in a darker tone of the colour
    sheet.fill(d, colour);
    if (!plain) sheet.within(d, () => { sheet.fill(d, darker(colour, 0.16)); sheet.fill(d, colour, 1, '-3 -3.5'); });
    outlined(sheet, d, colour);
  },
  paper(sheet, d, colour) { // layers with a soft shadow each
    sheet.fill(d, '1c1028', 0.1, '.6 3');
    sheet.fill(d, '1c1028', 0.16, '.4 1.6');
    sheet.fill(d, colour);
    sheet.within(d, () => sheet.raw(`<path d="${d}" fill="none" stroke="#${lighter(colour, 0.5)}" stroke-width="1.1" stroke-opacity=".6" transform="translate(.5 .9)"/>`));
  },
  candy(sheet, d, colour, { plain } = {}) {
    if (plain) { sheet.fill(d, colour); return outlined(sheet, d, colour); }
    const id = sheet.id('g');
    sheet.defs.push(`<linearGradient id="${id}" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="#${lighter(colour, 0.16)}"/><stop offset=".55" stop-color="#${colour}"/><stop offset="1" stop-color="#${darker(colour, 0.14)}"/></linearGradient>`);
    sheet.raw(`<path d="${d}" fill="url(#${id})"/>`);
    outlined(sheet, d, colour);
  },
  crayon(sheet, d, colour) { // hatching over a flat ground, two wobbly lines around
    const lines = points(d, 7), ground = shaken(lines, 1.4);
    let x0 = 999, x1 = 0, y0 = 999, y1 = 0;
    for (const line of lines) for (const [x, y] of line) { x0 = Math.min(x0, x); x1 = Math.max(x1, x); y0 = Math.min(y0, y); y1 = Math.max(y1, y); }
    y1 = Math.min(y1, BOTTOM + 4);
    sheet.fill(ground, mix(colour, 'ffffff', 0.1));
    if (x1 - x0 > 9 && y1 - y0 > 9) {
      let hatch = '';
      for (let k = x0 - (y1 - y0) * 0.6; k < x1; k += 3.4 + chance() * 1.2) hatch += `M ${n1(k + chance())} ${n1(y1)} L ${n1(k + (y1 - y0) * 0.6 + chance())} ${n1(y0)} `;
      sheet.within(ground, () => sheet.stroke(hatch, detail(colour, 0.2), 1.5, 0.55));
    }
    outlined(sheet, ground, colour);
    outlined(sheet, shaken(lines, 1.9), colour, sheet.theme.ink.width * 0.55);
  },
};

// -- the figure's frame: where its parts are, from the theme's proportions and a little chance ----------------------------
function frame(theme) {
  const p = theme.proportions, hw = p.hw * (0.95 + chance() * 0.1), flip = chance() < 0.5 ? -1 : 1;
  const wide = p.shoulders * (0.94 + chance() * 0.12), neck = p.neckBase, high = p.chin - p.top;
  const head = (path) => mapped(path, (x) => CX + x * hw, (y) => p.top + y * high);
  return {
    ...p, hw, flip, high, s: hw / 32, head, wide,
    turned: (path) => mapped(path, (x) => CX + flip * x * hw, (y) => p.top + y * high), // of one side only
    tail: (path) => mapped(path, (x) => CX + flip * (x < 1 ? x : 1 + (x - 1) * Math.min(1, 30 / hw)) * hw, (y) => p.top + y * high), // keeps within the canvas
    body: (path) => mapped(path, (x) => CX + x * wide, (y) => neck + y * (BOTTOM - neck)),
    eyeX: hw * p.eyeX * (0.94 + chance() * 0.12), eyeY: p.top + high * p.eyeY, browY: p.top + high * p.browY,
    noseY: p.top + high * p.noseY, mouthY: p.top + high * p.mouthY,
    skull: head(p.face), hx: (x) => CX + x * hw, hy: (y) => p.top + y * high,
  };
}
const face = (jaw, chin, tip = 0.6) => `M 0 0 C .6 0 1 .18 1 .48 C 1 ${jaw} ${chin} ${tip > 0.9 ? 0.93 : 1} 0 1 C ${-chin} ${tip > 0.9 ? 0.93 : 1} -1 ${jaw} -1 .48 C -1 .18 -.6 0 0 0 Z`;

// -- hair: {behind, front, over (on the clothes), lines} in canvas units; pieces are drawn in that order -------------------
const CAP = { // front hair of several shapes
  side: 'M -1.07 .52 C -1.22 .02 -.75 -.15 0 -.14 C .75 -.14 1.22 .02 1.07 .52 L .96 .5 C .97 .4 .92 .32 .84 .27 C .5 .27 .1 .22 -.3 .1 C -.5 .22 -.75 .26 -.86 .32 C -.93 .38 -.96 .44 -.96 .5 Z',
  crop: 'M -1.06 .5 C -1.22 .02 -.75 -.16 0 -.15 C .75 -.16 1.22 .02 1.06 .5 L .95 .48 C .96 .38 .92 .3 .86 .24 C .8 .27 .66 .29 .56 .28 C .5 .23 .45 .2 .42 .17 C .3 .26 .12 .29 0 .28 C -.06 .24 -.1 .2 -.12 .17 C -.24 .26 -.42 .29 -.52 .27 C -.56 .23 -.58 .2 -.6 .17 C -.7 .25 -.82 .28 -.86 .28 C -.93 .36 -.95 .42 -.95 .48 Z',
  quiff: 'M -1.05 .5 C -1.1 .3 -1.12 .14 -1 .02 C -1 -.16 -.6 -.28 -.1 -.24 C .3 -.3 .9 -.2 1.04 .02 C 1.12 .16 1.1 .3 1.05 .5 L .95 .48 C .96 .36 .93 .26 .84 .2 C .5 .14 .3 .2 -.02 .21 C -.3 .22 -.6 .14 -.78 .16 C -.92 .24 -.95 .36 -.95 .48 Z',
  tufts: 'M -1.07 .56 C -1.3 .1 -.85 -.2 -.05 -.17 C .8 -.2 1.3 .08 1.07 .56 L .93 .42 L .8 .24 C .74 .3 .7 .34 .62 .4 C .6 .32 .54 .25 .46 .2 C .36 .3 .2 .38 .08 .42 C .1 .34 .06 .26 0 .2 C -.1 .3 -.26 .36 -.4 .38 C -.38 .3 -.42 .24 -.48 .2 C -.6 .3 -.7 .34 -.82 .4 L -.93 .44 Z',
  back: 'M -1.04 .46 C -1.16 .02 -.7 -.1 0 -.1 C .7 -.1 1.16 .02 1.04 .46 C .98 .38 .94 .28 .74 .2 C .4 .1 -.4 .1 -.74 .2 C -.94 .28 -.98 .38 -1.04 .46 Z',
  curtain: 'M 0 -.14 C .8 -.16 1.24 .06 1.16 .6 C 1.12 .66 1 .66 .95 .6 C .98 .44 .9 .32 .7 .28 C .4 .24 .14 .16 0 .06 C -.14 .16 -.4 .24 -.7 .28 C -.9 .32 -.98 .44 -.95 .6 C -1 .66 -1.12 .66 -1.16 .6 C -1.24 .06 -.8 -.16 0 -.14 Z',
  sweep: 'M 0 -.15 C .8 -.16 1.24 .06 1.16 .62 C 1.1 .68 1 .64 .95 .58 C .96 .46 .94 .4 .88 .32 C .4 .31 -.2 .22 -.5 .05 C -.6 .18 -.78 .26 -.88 .34 C -.95 .44 -.95 .52 -.95 .6 C -1 .66 -1.12 .66 -1.16 .6 C -1.24 .06 -.8 -.15 0 -.15 Z',
  blunt: 'M -1.15 .62 C -1.26 .02 -.8 -.15 0 -.15 C .8 -.15 1.26 .02 1.15 .62 C 1.1 .66 1 .64 .95 .58 C .97 .48 .94 .4 .9 .29 C .5 .31 -.5 .31 -.9 .29 C -.94 .4 -.97 .48 -.95 .58 C -1 .64 -1.1 .66 -1.15 .62 Z',
  strands: 'M 0 -.16 C .85 -.18 1.28 .04 1.16 .64 C 1.1 .72 1.02 .72 .97 .78 C .99 .6 .94 .44 .84 .3 C .78 .36 .68 .42 .56 .46 C .56 .36 .46 .26 .34 .16 C .28 .26 .2 .32 .08 .38 C .1 .3 .06 .22 0 .14 C -.1 .26 -.3 .36 -.5 .42 C -.46 .34 -.48 .28 -.52 .22 C -.6 .32 -.74 .38 -.84 .4 C -.94 .52 -.98 .64 -.97 .78 C -1.02 .72 -1.1 .72 -1.16 .64 C -1.28 .04 -.85 -.16 0 -.16 Z',
};
const CAP_LINES = {
  side: ['M -.3 .08 C -.2 .0 -.1 -.05 .1 -.08', 'M .1 .15 C .4 .17 .7 .14 .9 .1'], crop: ['M -.4 -.04 C -.2 .02 -.1 .08 -.08 .14', 'M .36 -.04 C .42 .04 .44 .1 .44 .14'],
  quiff: ['M -.6 .08 C -.4 -.08 -.1 -.12 .2 -.1', 'M -.2 .14 C .1 -.02 .4 -.06 .7 -.04'], tufts: ['M -.4 .1 C -.36 .02 -.3 -.04 -.2 -.08', 'M .44 .12 C .4 .04 .34 -.02 .24 -.06'],
  back: ['M -.5 .1 C -.42 .02 -.3 -.03 -.16 -.05', 'M .5 .1 C .42 .02 .3 -.03 .16 -.05', 'M 0 .08 L 0 -.03'], curtain: ['M 0 .03 L 0 -.1', 'M .3 .14 C .6 .16 .9 .18 1.02 .36', 'M -.3 .14 C -.6 .16 -.9 .18 -1.02 .36'],
  sweep: ['M -.5 .05 C -.44 0 -.36 -.06 -.3 -.1', 'M 0 .16 C .4 .22 .8 .2 1 .34'], blunt: ['M -.5 .25 L -.46 .1', 'M 0 .26 L 0 .1', 'M .5 .25 L .46 .1'], strands: ['M -.5 .2 C -.46 .08 -.4 .02 -.3 -.04', 'M .34 .14 C .34 .06 .3 0 .22 -.05'],
};
const cap = (f, name) => ({ front: [f.turned(CAP[name])], lines: CAP_LINES[name].map(f.turned) });
const FALL = { // hair behind the head and locks over the clothes
  long: { behind: 'M 0 -.1 C .95 -.12 1.26 .1 1.24 .6 L 1.3 1.3 C .9 1.45 -.9 1.45 -1.3 1.3 L -1.24 .6 C -1.26 .1 -.95 -.12 0 -.1 Z', lock: 'M 1.16 .44 C 1.26 .7 1.34 1.2 1.34 1.56 C 1.24 1.68 1 1.7 .84 1.62 C .94 1.3 1 .9 .95 .5 C 1 .46 1.08 .42 1.16 .44 Z', line: 'M 1.1 .75 C 1.14 1 1.14 1.3 1.08 1.54' },
  medium: { behind: 'M 0 -.1 C .95 -.12 1.24 .1 1.24 .6 C 1.26 .84 1.3 .96 1.4 1.08 C 1.1 1.16 .9 1.14 .7 1.1 L -.7 1.1 C -.9 1.14 -1.1 1.16 -1.4 1.08 C -1.3 .96 -1.26 .84 -1.24 .6 C -1.24 .1 -.95 -.12 0 -.1 Z' },
  bob: { behind: 'M 0 -.12 C 1 -.14 1.34 .14 1.3 .6 C 1.32 .8 1.26 .96 1.12 .98 C .9 1 .8 .96 .74 .9 L -.74 .9 C -.8 .96 -.9 1 -1.12 .98 C -1.26 .96 -1.32 .8 -1.3 .6 C -1.34 .14 -1 -.14 0 -.12 Z', side: 'M 1.14 .3 C 1.3 .5 1.34 .8 1.2 .95 C 1.08 .99 .9 .97 .8 .9 C .94 .8 .97 .6 .93 .42 C .98 .34 1.06 .3 1.14 .3 Z' },
  wavy: { behind: 'M 0 -.12 C 1 -.14 1.3 .1 1.22 .42 C 1.5 .58 1.22 .72 1.36 .9 C 1.52 1.04 1.36 1.16 1.4 1.3 C .9 1.45 -.9 1.45 -1.4 1.3 C -1.36 1.16 -1.52 1.04 -1.36 .9 C -1.22 .72 -1.5 .58 -1.22 .42 C -1.3 .1 -1 -.14 0 -.12 Z', lock: 'M 1.1 .36 C 1.42 .5 1.14 .72 1.36 .88 C 1.56 1.04 1.28 1.18 1.44 1.38 C 1.36 1.52 1.02 1.54 .86 1.42 C 1.1 1.22 .76 1.12 .94 .94 C 1.1 .78 .84 .66 .95 .46 C .98 .4 1.04 .34 1.1 .36 Z', line: 'M 1.12 .54 C 1.2 .66 1.02 .76 1.14 .92 C 1.28 1.08 1.06 1.2 1.16 1.36' },
};
const both = (f, path) => [f.head(path), f.head(path.replace(/(-?\d*\.?\d+)[ ,]+(-?\d*\.?\d+)/g, (_, x, y) => `${-x} ${y}`))];
const sharp = (f, soft, pointed) => pick(f.pointed ? pointed : soft);

// hair all around: from the right round the top to the left, then back along the hairline
const cloud = (f, ring, bulge, hairline, inner) => {
  const line = hairline.map(([x, y]) => [f.hx(x), f.hy(y)]);
  return `${bumps(ring, -bulge)} L ${line[0].map(n1).join(' ')} ${bumps(line, -inner, false)} Z`;
};

const HAIRS = {
  'short hair': (f) => cap(f, sharp(f, ['side', 'crop', 'quiff'], ['tufts', 'crop', 'side'])),
  'long hair': (f) => { const c = cap(f, sharp(f, ['curtain', 'sweep'], ['strands', 'sweep'])); return { ...c, behind: [f.head(FALL.long.behind)], over: both(f, FALL.long.lock), overLines: both(f, FALL.long.line) }; },
  'medium hair': (f) => ({ ...cap(f, sharp(f, ['curtain', 'sweep'], ['strands', 'sweep'])), behind: [f.head(FALL.medium.behind)] }),
  'bob cut': (f) => { const c = cap(f, sharp(f, ['sweep', 'curtain'], ['sweep', 'curtain'])); return { ...c, behind: [f.head(FALL.bob.behind)], front: [...both(f, FALL.bob.side), ...c.front] }; },
  bangs: (f) => ({ ...cap(f, 'blunt'), behind: [f.head(FALL.medium.behind)] }),
  'wavy hair': (f) => { const c = cap(f, pick(['curtain', 'sweep'])); return { ...c, behind: [f.head(FALL.wavy.behind)], over: both(f, FALL.wavy.lock), overLines: both(f, FALL.wavy.line) }; },
  'curly hair': (f) => {
    const curl = (x, y) => f.head(`M ${x - 0.16} ${y} C ${x - 0.16} ${y - 0.1} ${x + 0.14} ${y - 0.1} ${x + 0.12} ${y} C ${x + 0.1} ${y + 0.05} ${x - 0.04} ${y + 0.04} ${x - 0.03} ${y - 0.01}`);
    const low = pick([28, 44]);
    return { front: [cloud(f, arc(f.hx(0), f.hy(0.36), f.hw * 1.34, f.high * 0.6, low, -180 - low, 16), 0.6, [[-0.93, 0.52], [-0.86, 0.28], [-0.48, 0.2], [-0.08, 0.16], [0.36, 0.2], [0.86, 0.28], [0.93, 0.52]], 0.5)], lines: [curl(-0.5, 0.08), curl(0.1, 0), curl(0.66, 0.1), curl(-1.08, 0.32), curl(1.12, 0.34)] };
  },
  afro: (f) => {
    const r = (f.afro ?? 1.6) * (0.9 + chance() * 0.1), dots = [...arc(f.hx(0), f.hy(0.26), f.hw * r * 0.84, f.high * r * 0.31, 175, 365, 9), ...arc(f.hx(0), f.hy(0.26), f.hw * r * 0.6, f.high * r * 0.2, 205, 335, 4)];
    return { front: [cloud(f, arc(f.hx(0), f.hy(0.24), f.hw * r, f.high * r * 0.385, 42, -222, 26), f.smooth ? 0.16 : 0.36, [[-0.93, 0.5], [-0.84, 0.27], [-0.5, 0.19], [0, 0.17], [0.5, 0.19], [0.84, 0.27], [0.93, 0.5]], 0.25)], noLine: true, lines: dots.map(([x, y]) => `M ${n1(x - 2)} ${n1(y + 1)} Q ${n1(x)} ${n1(y - 2.5)} ${n1(x + 2)} ${n1(y + 0.5)}`) };
  },
  'hair bun': (f) => ({ ...cap(f, 'back'), behind: [oval(f.hx(0), f.hy(-0.2), f.hw * 0.44, f.hw * 0.42)], behindLines: [f.head('M -.24 -.2 C -.2 -.34 .16 -.36 .22 -.22 C .22 -.12 0 -.1 -.04 -.18')] }),
  'two buns': (f) => ({ ...cap(f, sharp(f, ['curtain', 'back'], ['strands', 'back'])), behind: [-1, 1].map((k) => oval(f.hx(0.8 * k), f.hy(-0.1), f.hw * 0.42)), behindLines: [-1, 1].map((k) => f.head(`M ${0.8 * k - 0.2} -.1 C ${0.8 * k - 0.2} -.24 ${0.8 * k + 0.2} -.24 ${0.8 * k + 0.2} -.1 C ${0.8 * k + 0.16} -.02 ${0.8 * k - 0.04} -.02 ${0.8 * k - 0.04} -.1`)) }),
  ponytail: (f) => ({ ...cap(f, sharp(f, ['back', 'side'], ['tufts', 'back'])), behind: [f.tail('M .5 -.12 C .9 -.34 1.5 -.2 1.66 .2 C 1.8 .6 1.5 .9 1.62 1.2 C 1.3 1.14 1.06 .9 1.12 .6 C 1.16 .4 1.1 .2 .7 .1 Z')], behindLines: [f.tail('M 1.1 -.04 C 1.44 .16 1.4 .5 1.36 .9')], ties: [oval(f.hx(0.84 * f.flip), f.hy(-0.04), f.hw * 0.13)] }),
  braids: (f) => {
    const chain = (k) => [0.62, 0.82, 1.02, 1.22, 1.42].map((y, i) => oval(f.hx((1.06 + i * 0.035) * k), f.hy(y), f.hw * (0.25 - i * 0.012), f.high * 0.125));
    const v = (k) => [0.64, 0.84, 1.04, 1.24].map((y, i) => f.head(`M ${(0.94 + i * 0.035) * k} ${y - 0.02} L ${(1.06 + i * 0.035) * k} ${y + 0.05} L ${(1.18 + i * 0.035) * k} ${y - 0.02}`));
    return { ...cap(f, f.pointed ? 'strands' : 'curtain'), over: [...chain(-1), ...chain(1)], overLines: [...v(-1), ...v(1)], overTies: [-1, 1].map((k) => oval(f.hx(1.2 * k), f.hy(1.52), f.hw * 0.13, f.high * 0.04)), tips: [-1, 1].map((k) => f.head(`M ${1.1 * k} 1.53 C ${1.02 * k} 1.62 ${1.06 * k} 1.7 ${1.22 * k} 1.76 C ${1.36 * k} 1.7 ${1.38 * k} 1.6 ${1.3 * k} 1.53 Z`)) };
  },
  dreadlocks: (f) => {
    const lock = (x, y, dx, length, w = 0.13) => f.head(`M ${x - w} ${y} C ${x - w} ${y + length * 0.4} ${x + dx - w} ${y + length * 0.6} ${x + dx - w} ${y + length} C ${x + dx - w} ${y + length + 0.09} ${x + dx + w} ${y + length + 0.09} ${x + dx + w} ${y + length} C ${x + dx + w} ${y + length * 0.6} ${x + w} ${y + length * 0.4} ${x + w} ${y} Z`);
    const fall = (k) => [[0.78, 0.3, 0.62], [0.95, 0.42, 0.86], [1.0, 0.18, 1.02], [0.92, 0.1, 0.72]].map(([x, dx, length]) => [x * k, 0.08, dx * k, length * (0.9 + chance() * 0.2)]);
    const all = [...fall(-1), ...fall(1)], bands = all.flatMap(([x, y, dx, length]) => [0.55, 0.75, 0.93].map((t) => f.head(`M ${x + dx * t - 0.09} ${y + length * t} Q ${x + dx * t} ${y + length * t + 0.03} ${x + dx * t + 0.09} ${y + length * t}`)));
    const short = [-0.72, -0.46, -0.2, 0.06, 0.32, 0.58, 0.8].map((x, i) => lock(x * 0.72, -0.1, x * 0.34, 0.28 + (i % 2) * 0.05 + Math.abs(x) * 0.04));
    return { behind: [f.head('M 0 -.08 C 1 -.1 1.2 .2 1.2 .6 L 1.1 .96 L -1.1 .96 L -1.2 .6 C -1.2 .2 -1 -.1 0 -.08 Z')], over: all.map((l) => lock(...l)), overLines: bands, front: [f.head('M -1.1 .3 C -1.24 -.04 -.75 -.17 0 -.17 C .75 -.17 1.24 -.04 1.1 .3 C .9 .26 .8 .1 .4 .04 L -.4 .04 C -.8 .1 -.9 .26 -1.1 .3 Z'), ...short], noLine: true };
  },
  mohawk: (f) => ({ stubble: true, front: [pick(f.pointed ? [1] : [0, 1]) ? f.head('M -.34 .22 C -.36 .1 -.4 .04 -.42 -.02 L -.56 -.2 L -.3 -.18 L -.32 -.36 L -.08 -.24 L 0 -.4 L .1 -.24 L .32 -.36 L .3 -.18 L .56 -.2 L .42 -.02 C .4 .04 .36 .1 .34 .22 C .26 .16 .2 .18 .12 .22 C .06 .16 -.06 .16 -.12 .22 C -.2 .18 -.26 .16 -.34 .22 Z') : f.head('M -.3 .22 C -.36 .05 -.5 -.1 -.42 -.24 C -.34 -.4 -.1 -.4 0 -.36 C .1 -.4 .34 -.4 .42 -.24 C .5 -.1 .36 .05 .3 .22 C .2 .16 .1 .2 0 .24 C -.1 .2 -.2 .16 -.3 .22 Z')], lines: ['M -.16 .12 C -.2 0 -.24 -.1 -.24 -.2', 'M 0 .12 L 0 -.26', 'M .16 .12 C .2 0 .24 -.1 .24 -.2'].map(f.head) }),
  'side shave': (f) => ({ stubble: true, behind: [f.turned('M 0 -.12 C .9 -.14 1.3 .1 1.28 .6 C 1.3 .9 1.3 1 1.36 1.12 C 1.1 1.2 .8 1.14 .6 1 L .5 .2 Z')], front: [f.turned('M -.66 .06 C -.6 -.16 -.2 -.22 .2 -.18 C .9 -.16 1.3 .1 1.24 .56 C 1.28 .8 1.26 .96 1.34 1.1 C 1.16 1.14 1.04 1.06 .98 .96 C 1.02 .7 .98 .5 .84 .38 C .4 .38 -.3 .3 -.66 .06 Z')], lines: ['M -.4 .06 C 0 .2 .6 .2 .92 .3', 'M 0 -.04 C .5 0 .98 .12 1.1 .6'].map(f.turned) }),
  'spiky hair': (f) => ({ front: [f.turned(pick(['M -1.04 .52 L -1.36 .36 L -1.12 .26 L -1.4 .04 L -1.04 .06 L -1.1 -.2 L -.68 -.08 L -.58 -.34 L -.2 -.16 L .04 -.38 L .26 -.16 L .64 -.34 L .68 -.08 L 1.12 -.2 L 1.04 .06 L 1.4 .04 L 1.12 .26 L 1.36 .36 L 1.04 .52 L .93 .38 L .82 .2 L .6 .3 L .44 .15 L .18 .3 L .02 .15 L -.24 .3 L -.42 .15 L -.62 .3 L -.82 .2 L -.93 .38 Z', 'M -1.04 .52 L -1.26 .3 L -1.1 .24 L -1.26 0 L -1 0 L -.98 -.24 L -.62 -.14 L -.36 -.4 L -.06 -.2 L .3 -.42 L .46 -.18 L .96 -.32 L .92 -.06 L 1.34 -.1 L 1.12 .14 L 1.34 .26 L 1.04 .52 L .93 .38 L .86 .24 L .5 .22 L .3 .3 L .1 .16 L -.3 .3 L -.4 .15 L -.72 .29 L -.8 .22 L -.93 .38 Z']))], lines: ['M -.5 -.14 L -.4 .08', 'M .06 -.18 L .06 .06', 'M .6 -.14 L .48 .08'].map(f.turned) }),
  bald: (f) => ({ shine: true }),
  balding: (f) => ({ shine: true, front: both(f, 'M .9 .18 C 1.1 .2 1.22 .34 1.16 .5 C 1.14 .6 1.04 .64 .97 .6 C .96 .46 .92 .34 .86 .26 Z') }),
  'flat top': (f) => ({ front: [f.head('M -1.04 .5 C -1.1 .3 -1.12 .1 -1.14 -.14 C -1.14 -.28 -1.06 -.3 -.9 -.3 L .9 -.3 C 1.06 -.3 1.14 -.28 1.14 -.14 C 1.12 .1 1.1 .3 1.04 .5 L .95 .48 C .95 .36 .92 .28 .84 .2 L -.84 .2 C -.92 .28 -.95 .36 -.95 .48 Z')], lines: ['M -.7 .12 L -.7 0', 'M -.24 .12 L -.24 -.04', 'M .24 .12 L .24 -.04', 'M .7 .12 L .7 0'].map(f.head) }),
  cornrows: (f) => ({ front: [f.head('M -1.03 .44 C -1.12 .04 -.7 -.07 0 -.07 C .7 -.07 1.12 .04 1.03 .44 C .98 .36 .94 .27 .76 .2 C .4 .13 -.4 .13 -.76 .2 C -.94 .27 -.98 .36 -1.03 .44 Z'), ...both(f, 'M 1.0 .36 C 1.12 .5 1.16 .8 1.12 1.06 C 1.1 1.14 .98 1.14 .96 1.06 C 1 .8 .98 .6 .94 .42 Z')], rows: [-0.78, -0.52, -0.26, 0, 0.26, 0.52, 0.78].map((x) => f.head(`M ${x} ${0.17 + Math.abs(x) * 0.1} C ${x * 0.98} .08 ${x * 0.8} 0 ${x * 0.62} -.05`)), rowBeads: both(f, 'M .96 1.02 L 1.12 1.02').concat(both(f, 'M .97 .86 L 1.13 .86'), both(f, 'M .97 .7 L 1.1 .7')) }),
};
const LOW_NECKS = ['v-neck shirt', 'collared sweater'], UNDER_HIJAB = ['shirt', 'striped shirt', 'overalls', 'jacket', 'blazer and shirt'];
const UNDER_HATS = ['short hair', 'long hair', 'medium hair', 'bob cut', 'wavy hair', 'braids'];

function hairBehind(sheet, f, h, colour) {
  for (const d of h.behind ?? []) sheet.shape(d, darkBack(sheet, colour, h), {});
  for (const d of h.behindLines ?? []) sheet.line(d, detail(colour), 1.6 * f.s);
}
const darkBack = (sheet, colour, h) => (h.over || h.front?.length ? mix(colour, darker(colour, 0.4), sheet.theme.depth ?? 0.35) : colour);
function hairFront(sheet, f, h, colour, skin) {
  if (h.stubble) sheet.within(f.skull, () => sheet.fill(f.head('M -1.1 .5 L -.9 .34 C -.8 .22 -.4 .18 0 .18 C .4 .18 .8 .22 .9 .34 L 1.1 .5 L 1.1 -.1 L -1.1 -.1 Z'), colour, 0.38));
  if (h.shine && sheet.theme.shine) sheet.fill(f.turned('M .3 .06 C .56 .1 .68 .18 .72 .26 C .6 .2 .46 .14 .28 .12 Z'), 'ffffff', 0.4);
  for (const d of h.front ?? []) sheet.shape(d, colour);
  if (h.front?.length && sheet.theme.halo && !h.noLine && !h.stubble && !h.rows) for (const d of h.front.slice(-1)) sheet.within(d, () => sheet.stroke(f.head('M -.8 .14 C -.5 .0 .5 .0 .8 .14'), lighter(colour, 0.45), 3.2 * f.s, 0.6));
  for (const d of h.lines ?? []) sheet.line(d, detail(colour), sheet.theme.strand * f.s);
  for (const d of h.rows ?? []) sheet.line(d, bright(colour) < 0.3 ? mix(colour, skin, 0.6) : mix(colour, darker(skin, 0.5), 0.75), 1.5 * f.s);
  for (const d of h.rowBeads ?? []) sheet.line(d, detail(colour, 0.4), 1.3 * f.s);
  for (const d of h.ties ?? []) sheet.flat(d, detail(colour, 0.5), sheet.theme.ink.width * 0.7);
}
function hairOver(sheet, f, h, colour) {
  for (const d of [...(h.tips ?? []), ...(h.over ?? [])]) sheet.shape(d, colour);
  for (const d of h.overLines ?? []) sheet.line(d, detail(colour), sheet.theme.strand * f.s);
  for (const d of h.overTies ?? []) sheet.flat(d, detail(colour, 0.5), sheet.theme.ink.width * 0.7);
}

// -- headwear ----------------------------------------------------------
const BRIM = 0.24; // hats hide the hair above this
const HATS = {
  'fedora hat': { over(s, f, c) { s.shape(f.head('M -.92 .12 C -.96 -.1 -.86 -.34 -.56 -.36 C -.3 -.37 -.16 -.3 0 -.3 C .16 -.3 .3 -.37 .56 -.36 C .86 -.34 .96 -.1 .92 .12 Z'), c); s.flat(f.head('M -.94 .0 C -.4 .06 .4 .06 .94 .0 L .96 .14 C .4 .2 -.4 .2 -.96 .14 Z'), bright(c) < 0.35 ? lighter(c, 0.3) : darker(c, 0.5)); s.shape(f.head('M -1.56 .12 C -1.2 .06 -.6 .12 0 .12 C .6 .12 1.2 .06 1.56 .12 C 1.5 .26 .8 .29 0 .29 C -.8 .29 -1.5 .26 -1.56 .12 Z'), c); } },
  hat: { over(s, f, c) { s.shape(f.head('M -.86 .06 C -.86 -.2 -.74 -.26 -.5 -.27 L .5 -.27 C .74 -.26 .86 -.2 .86 .06 Z'), c); s.shape(f.head('M -.88 .02 C -.4 .06 .4 .06 .88 .02 L 1.3 .28 C .6 .37 -.6 .37 -1.3 .28 Z'), c); s.line(f.head('M -1.06 .2 C -.5 .27 .5 .27 1.06 .2'), detail(c), 1.3 * f.s); } },
  beanie: { over(s, f, c) { s.shape(f.head('M -1.06 .2 C -1.14 -.2 -.6 -.32 0 -.32 C .6 -.32 1.14 -.2 1.06 .2 Z'), c); s.shape(f.head('M -1.14 .1 C -.5 .0 .5 .0 1.14 .1 L 1.12 .3 C .5 .2 -.5 .2 -1.12 .3 Z'), darker(c, 0.12)); s.line([-0.8, -0.4, 0, 0.4, 0.8].map((x) => f.head(`M ${x} ${0.09 + Math.abs(x) * 0.04} L ${x} ${0.2 + Math.abs(x) * 0.05}`)).join(' '), detail(c, 0.35), 1.2 * f.s); } },
  'bobble hat': { over(s, f, c) { s.shape(oval(f.hx(0), f.hy(-0.24), Math.min(f.hw * 0.32, 11.5)), bright(c) > 0.85 ? darker(c, 0.12) : lighter(c, 0.65)); s.shape(f.head('M -1.06 .2 C -1.14 -.14 -.6 -.22 0 -.22 C .6 -.22 1.14 -.14 1.06 .2 Z'), c); s.shape(f.head('M -1.14 .08 C -.5 .0 .5 .0 1.14 .08 L 1.12 .28 C .5 .2 -.5 .2 -1.12 .28 Z'), bright(c) > 0.85 ? darker(c, 0.12) : lighter(c, 0.65)); } },
  'winter hat': { over(s, f, c) { const fur = bright(c) > 0.85 ? 'cdbfae' : 'f4ede2'; for (const d of both(f, 'M .9 .16 C 1.16 .14 1.28 .3 1.26 .56 C 1.24 .76 1.14 .86 1.04 .84 C .94 .82 .94 .6 .95 .44 Z')) s.shape(d, c); s.shape(f.head('M -1.1 .2 C -1.2 -.2 -.6 -.3 0 -.3 C .6 -.3 1.2 -.2 1.1 .2 Z'), c); const ring = arc(f.hx(0), f.hy(0.28), f.hw * 1.06, f.high * 0.26, 185, 355, 9), low = arc(f.hx(0), f.hy(0.34), f.hw * 1, f.high * 0.12, 350, 190, 8); s.shape(bumps(ring, 0.35) + ` L ${low[0].map(n1).join(' ')} ` + bumps(low, 0.3, false) + ' Z', fur); } },
  cap: { over(s, f, c) { s.shape(f.head('M -1.06 .26 C -1.16 -.16 -.6 -.28 0 -.28 C .6 -.28 1.16 -.16 1.06 .26 C .5 .16 -.5 .16 -1.06 .26 Z'), c); s.line(f.head('M 0 -.26 L 0 .1') + ' ' + both(f, 'M .1 -.26 C .5 -.2 .66 0 .66 .14').join(' '), detail(c), 1.3 * f.s); s.flat(oval(f.hx(0), f.hy(-0.28), f.hw * 0.1, f.hw * 0.06), c); s.shape(f.turned('M -.86 .2 C -.4 .1 .6 .08 1.02 .2 C 1.3 .26 1.5 .32 1.56 .38 C 1.1 .4 .6 .33 .2 .32 C -.3 .31 -.7 .34 -.86 .2 Z'), darker(c, 0.15)); } },
  turban: { noHair: true, over(s, f, c) { s.shape(f.head('M -1.08 .4 C -1.4 .06 -1.1 -.26 -.5 -.34 C .1 -.42 .9 -.34 1.16 -.08 C 1.3 .1 1.2 .3 1.08 .4 C .96 .26 .6 .16 0 .02 C -.6 .16 -.96 .26 -1.08 .4 Z'), c); const w = Math.max(1.4, s.theme.ink.width * 0.8) * f.s, d = detail(c, 0.35); for (const p of ['M 0 .02 C .5 .06 1 .16 1.14 .28', 'M -.1 -.06 C .4 -.06 1 .02 1.2 .16', 'M -.24 -.14 C .2 -.2 .8 -.16 1.14 -.02', 'M 0 .02 C -.5 .04 -1 .12 -1.18 .24', 'M .1 -.06 C -.3 -.12 -.8 -.12 -1.14 .04']) s.line(f.head(p), d, w); s.flat(f.head('M 0 -.14 L .12 -.05 L 0 .04 L -.12 -.05 Z'), bright(c) > 0.8 ? 'e0a93b' : 'ffe9a8', s.theme.ink.width * 0.6); } },
  hijab: { noHair: true, noEars: true,
    over(s, f, c) { // a ring around the face; it ends above the chest, so that the clothes show
      const low = (f.neckBase + 15 - f.top) / f.high, side = low - 0.16;
      const ring = f.head(`M 0 -.18 C .98 -.2 1.3 .1 1.24 .56 C 1.2 .8 1.16 .94 1.3 ${side} C 1 ${low - 0.03} .5 ${low} 0 ${low} C -.5 ${low} -1 ${low - 0.03} -1.3 ${side} C -1.16 .94 -1.2 .8 -1.24 .56 C -1.3 .1 -.98 -.2 0 -.18 Z`);
      const open = f.head('M 0 .13 C -.62 .13 -.9 .34 -.88 .56 C -.86 .8 -.5 .99 0 .99 C .5 .99 .86 .8 .88 .56 C .9 .34 .62 .13 0 .13 Z');
      s.shape(`${ring} ${open}`, c, { plain: s.theme.name === 'comic', ring: true });
      s.line(f.turned('M -.66 1 C -.3 1.1 .5 1.1 1.02 .94') + ' ' + f.turned('M .5 -.1 C .9 0 1.08 .2 1.08 .44'), detail(c), Math.max(1.3, s.theme.ink.width * 0.7) * f.s);
    } },
};

// -- clothes -----------------------------------------------------------------------------------------------------------------
const TORSO = 'M -1.06 1.2 C -1.08 .6 -.96 .3 -.62 .16 C -.46 .09 -.34 .04 -.28 -.1 L .28 -.1 C .34 .04 .46 .09 .62 .16 C .96 .3 1.08 .6 1.06 1.2 Z';
const NECKS = { crew: 'C -.3 .02 -.3 .2 0 .2 C .3 .2 .3 .02', scoop: 'C -.42 .1 -.4 .46 0 .46 C .4 .46 .42 .1', vee: 'L -.34 .02 L 0 .5 L .34 .02 L', none: 'L -.24 .1 L .24 .1 L' };
function neck(sheet, f, skin, opening) {
  const w = f.neck / f.wide, top = (f.chin - 16 - f.neckBase) / (BOTTOM - f.neckBase);
  const d = f.body(`M ${-w} ${top} L ${-w} -.06 ${NECKS[opening].replace(/^L -.24 .1 L .24 .1/, `L ${-w} .1 L ${w} .1`)} ${w} -.06 L ${w} ${top} Z`);
  sheet.shape(d, skin, { plain: true, skin: true });
  if (sheet.theme.neckShade) sheet.within(d, () => sheet.fill(f.skull, shadeOf(skin), 1, '1.5 6'));
}
const shadeOf = (skin) => mix(skin, '7a2b1e', 0.24);
const collar = (sheet, f, d, c) => { for (const p of bodyBoth(f, d)) sheet.shape(p, c, { plain: true }); };
const bodyBoth = (f, path) => [f.body(path), f.body(path.replace(/(-?\d*\.?\d+)[ ,]+(-?\d*\.?\d+)/g, (_, x, y) => `${-x} ${y}`))];
const seam = (sheet, f, d, c, w = 1.3) => { for (const p of bodyBoth(f, d)) sheet.line(p, detail(c), w * Math.max(1, sheet.theme.ink.width * 0.7)); };
const sleeves = (sheet, f, c) => seam(sheet, f, 'M .74 .62 C .78 .8 .78 1 .76 1.2', c);
const white = 'f6f4f0';
const CLOTHES = {
  shirt(s, f, c, skin) { s.shape(f.body(TORSO), c); neck(s, f, skin, 'crew'); rib(s, f, c, 'M -.3 -.06 C -.34 .1 -.26 .27 0 .27 C .26 .27 .34 .1 .3 -.06'); sleeves(s, f, c); },
  'v-neck shirt'(s, f, c, skin) { s.shape(f.body(TORSO), c); neck(s, f, skin, 'vee'); rib(s, f, c, 'M -.36 0 L 0 .56 L .36 0'); sleeves(s, f, c); },
  'striped shirt'(s, f, c, skin) {
    const torso = f.body(TORSO), other = bright(c) > 0.82 ? '4a5670' : white;
    s.shape(torso, c);
    s.within(torso, () => [0.3, 0.62, 0.94].forEach((y) => s.fill(f.body(`M -1.2 ${y} C -.6 ${y + 0.08} .6 ${y + 0.08} 1.2 ${y} L 1.2 ${y + 0.15} C .6 ${y + 0.23} -.6 ${y + 0.23} -1.2 ${y + 0.15} Z`), other)));
    if (s.theme.ink.of(c)) s.stroke(torso, s.theme.ink.of(c), s.theme.ink.width);
    neck(s, f, skin, 'crew'); rib(s, f, c, 'M -.3 -.06 C -.34 .1 -.26 .27 0 .27 C .26 .27 .34 .1 .3 -.06');
  },
  'tank top'(s, f, c, skin) { s.shape(f.body(TORSO), skin); neck(s, f, skin, 'none'); s.shape(f.body('M -.66 1.2 C -.7 .8 -.5 .6 -.56 .12 L -.4 .06 C -.38 .4 -.24 .56 0 .56 C .24 .56 .38 .4 .4 .06 L .56 .12 C .5 .6 .7 .8 .66 1.2 Z'), c); },
  dress(s, f, c, skin) { // puffed sleeves, bare arms below, a belt
    s.shape(f.body(TORSO), skin); neck(s, f, skin, 'none');
    s.shape(f.body('M -.84 1.2 C -.72 .96 -.78 .6 -.7 .16 L -.46 .08 C -.46 .34 -.34 .5 0 .5 C .34 .5 .46 .34 .46 .08 L .7 .16 C .78 .6 .72 .96 .84 1.2 Z'), c);
    for (const d of bodyBoth(f, 'M .56 .13 C .74 -.04 1.1 .1 1.18 .5 C 1.2 .72 1.12 .84 .98 .82 C .86 .82 .76 .8 .7 .74 C .66 .5 .62 .3 .56 .13 Z')) s.shape(d, c);
    s.line(bodyBoth(f, 'M .74 .66 C .88 .74 1.02 .74 1.14 .68').join(' '), detail(c), 1.4 * Math.max(1, s.theme.ink.width * 0.6));
    s.line(f.body('M -.74 .96 C -.3 1.04 .3 1.04 .74 .96'), bright(c) > 0.8 ? 'c98a9b' : lighter(c, 0.6), 3);
  },
  hoodie(s, f, c, skin) {
    s.shape(f.body('M -.74 .28 C -.82 -.14 -.5 -.36 0 -.36 C .5 -.36 .82 -.14 .74 .28 Z'), darker(c, 0.22), { plain: true }); s.shape(f.body(TORSO), c); neck(s, f, skin, 'crew');
    for (const d of bodyBoth(f, 'M .26 -.12 C .5 -.2 .72 -.06 .74 .14 C .6 .4 .3 .46 -.02 .5 C .16 .36 .32 .2 .26 -.12 Z')) s.shape(d, c);
    const cord = bright(c) > 0.8 ? darker(c, 0.45) : white;
    s.line(bodyBoth(f, 'M .16 .46 C .2 .6 .18 .7 .2 .82').join(' '), cord, 2.2); s.fill(bodyBoth(f, 'M .16 .82 L .24 .82 L .24 .92 L .16 .92 Z').join(' '), cord); sleeves(s, f, c);
  },
  overalls(s, f, c, skin) {
    const under = bright(c) > 0.85 ? 'a9b4c4' : white;
    s.shape(f.body(TORSO), under); neck(s, f, skin, 'crew');
    for (const d of bodyBoth(f, 'M .36 .06 L .56 .12 L .5 .62 L .28 .62 Z')) s.shape(d, c, { plain: true });
    s.shape(f.body('M -.52 .56 L .52 .56 C .56 .8 .74 .9 .86 1.2 L -.86 1.2 C -.74 .9 -.56 .8 -.52 .56 Z'), c);
    s.line(f.body('M -.22 .84 L .22 .84 L .2 1.1 L -.2 1.1 Z'), detail(c), 1.4); for (const k of [-1, 1]) s.flat(oval(CX + k * f.wide * 0.39, f.neckBase + 0.62 * (BOTTOM - f.neckBase), 2.3), 'f2c14e', s.theme.ink.width * 0.5);
  },
  'blazer and shirt'(s, f, c, skin) { blazer(s, f, c, skin, white, true); },
  'blazer and sweater'(s, f, c, skin) { blazer(s, f, c, skin, bright(c) < 0.45 ? 'c9c3d1' : '5b6275', false); },
  'collared sweater'(s, f, c, skin) { s.shape(f.body(TORSO), c); neck(s, f, skin, 'crew'); collar(s, f, 'M .24 -.1 C .36 0 .42 .12 .4 .3 L .22 .42 L 0 .2 C .2 .18 .26 .06 .24 -.1 Z', bright(c) > 0.85 ? 'b9c7dd' : white); sleeves(s, f, c); },
  jacket(s, f, c, skin) {
    const under = bright(c) > 0.85 ? '8d99ad' : white;
    s.shape(f.body(TORSO), under, { plain: true }); neck(s, f, skin, 'crew');
    for (const d of bodyBoth(f, 'M .3 .0 C .5 .08 1.0 .2 1.06 .6 C 1.08 .8 1.06 1 1.06 1.2 L .12 1.2 C .18 .8 .3 .4 .3 0 Z')) s.shape(d, c);
    for (const d of bodyBoth(f, 'M .24 -.16 C .4 -.14 .54 -.02 .58 .14 C .54 .34 .46 .44 .36 .5 C .34 .24 .3 .04 .24 -.16 Z')) s.shape(d, darker(c, 0.14), { plain: true });
    const zip = bright(c) > 0.5 ? '6b7280' : 'd9dde3'; s.stroke(bodyBoth(f, 'M .34 .5 C .26 .7 .2 .9 .17 1.2').join(' '), zip, 1.5); seam(s, f, 'M .5 .86 L .76 .78', c);
  },
};
const rib = (sheet, f, c, d) => sheet.line(f.body(d), detail(c, 0.28), 1.5 * Math.max(1, sheet.theme.ink.width * 0.6));
function blazer(s, f, c, skin, inner, buttoned) {
  s.shape(f.body(TORSO), inner, { plain: true }); neck(s, f, skin, buttoned ? 'vee' : 'crew');
  if (buttoned) { collar(s, f, 'M .22 -.14 C .34 -.04 .38 .06 .36 .2 L .2 .42 L 0 .48 C .16 .3 .26 .1 .22 -.14 Z', inner); for (const y of [0.66, 0.88]) s.fill(oval(CX, f.neckBase + y * (BOTTOM - f.neckBase), 1.4), '8b8f99'); } else rib(s, f, inner, 'M -.3 -.06 C -.34 .1 -.26 .27 0 .27 C .26 .27 .34 .1 .3 -.06');
  for (const d of bodyBoth(f, 'M .34 .04 C .5 .09 1.0 .2 1.06 .6 C 1.08 .8 1.06 1 1.06 1.2 L .06 1.2 L .05 1.06 C .26 .8 .38 .4 .34 .04 Z')) s.shape(d, c);
  for (const d of bodyBoth(f, 'M .3 -.06 C .4 -.04 .5 .04 .58 .14 L .6 .42 L .48 .44 L .54 .54 L .07 1.1 C .26 .8 .36 .4 .3 -.06 Z')) s.shape(d, bright(c) < 0.25 ? lighter(c, 0.14) : darker(c, 0.14), { plain: true });
}

// -- face ----------------------------------------------------------------------------------------------------------------------
const INK = '231a26', WHITE = 'ffffff', HEART = 'e8274f', TEAR = '6cc3f5';
const heart = (x, y, r) => `M ${n1(x)} ${n1(y + r)} C ${n1(x - r * 1.7)} ${n1(y - r * 0.1)} ${n1(x - r)} ${n1(y - r * 1.3)} ${n1(x)} ${n1(y - r * 0.4)} C ${n1(x + r)} ${n1(y - r * 1.3)} ${n1(x + r * 1.7)} ${n1(y - r * 0.1)} ${n1(x)} ${n1(y + r)} Z`;
const lidArc = (x, y, w, h) => `M ${n1(x - w)} ${n1(y)} Q ${n1(x)} ${n1(y - 2 * h)} ${n1(x + w)} ${n1(y)}`;

// Eyes: each draws one open eye. o: {look: -1..1, wide, lid: > 0 inner side down, iris, skin, k: side}
const EYES = {
  comic(s, x, y, o, z) {
    const rx = (o.wide ? 7.2 : 5.4) * z, ry = (o.wide ? 8.6 : 6.8) * z, white = oval(x, y, rx, ry), p = (o.wide ? 2.1 : 3.3) * z;
    s.fill(white, WHITE);
    s.within(white, () => { s.fill(oval(x + o.look * rx * 0.55, y + (o.wide ? 0 : 0.6 * z), p, p * 1.3), INK); if (o.lid) s.fill(slant(x, y, rx, ry, o, 0.25), o.skin); });
    s.stroke(white, INK, 1.9);
    if (o.lid) s.stroke(slantLine(x, y, rx, ry, o, 0.25), INK, 2.2);
    s.fill(oval(x + o.look * rx * 0.55 + p * 0.35, y - p * 0.45, p * 0.42), WHITE);
  },
  line(s, x, y, o, z) {
    if (!o.wide && !o.look) { onDark(s, x, y, o, 2.5 * z, 3 * z); return s.fill(oval(x, y, 2.5 * z, 3 * z), INK); }
    const r = (o.wide ? 6.2 : 4.8) * z; s.fill(oval(x, y, r, r * (o.wide ? 1.05 : 0.9)), WHITE); s.stroke(oval(x, y, r, r * (o.wide ? 1.05 : 0.9)), INK, 1.4); s.fill(oval(x + o.look * r * 0.5, y, (o.wide ? 1.7 : 2.2) * z), INK);
  },
  storybook(s, x, y, o, z) {
    if (o.wide || o.look) { const r = (o.wide ? 6.6 : 5.2) * z; s.fill(oval(x, y, r, r * 1.08), WHITE); s.fill(oval(x + o.look * r * 0.48, y, (o.wide ? 2.5 : 3) * z, (o.wide ? 2.8 : 3.5) * z), '3a2530'); s.fill(oval(x + o.look * r * 0.48 + 0.8 * z, y - 1.2 * z, 0.9 * z), WHITE); return; }
    onDark(s, x, y, o, 3.1 * z, 4.1 * z); s.fill(oval(x, y, 3.1 * z, 4.1 * z), '3a2530'); s.fill(oval(x + 1 * z, y - 1.5 * z, 1.1 * z), WHITE);
    s.stroke(`M ${n1(x + o.k * 2.4 * z)} ${n1(y - 3 * z)} L ${n1(x + o.k * 4.6 * z)} ${n1(y - 4.6 * z)}`, '3a2530', 1.2);
  },
  anime(s, x, y, o, z) {
    const w = 7 * z, h = (o.wide ? 9.4 : 7.8) * z, k = o.k, rx = (o.wide ? 2.9 : 4.5) * z, ry = (o.wide ? 3.8 : 6.4) * z, ix = x + o.look * 2.6 * z, down = o.lid > 0 ? 3.2 * z : 0;
    const eye = `M ${n1(x - k * w)} ${n1(y - h * 0.25 + down)} C ${n1(x - k * w * 0.6)} ${n1(y - h + down)} ${n1(x + k * w * 0.5)} ${n1(y - h * 1.05)} ${n1(x + k * w)} ${n1(y - h * 0.3)} C ${n1(x + k * w)} ${n1(y + h * 0.5)} ${n1(x + k * w * 0.5)} ${n1(y + h * 0.9)} ${n1(x)} ${n1(y + h * 0.9)} C ${n1(x - k * w * 0.6)} ${n1(y + h * 0.9)} ${n1(x - k * w * 0.9)} ${n1(y + h * 0.4)} ${n1(x - k * w)} ${n1(y - h * 0.25 + down)} Z`;
    s.fill(eye, WHITE);
    s.within(eye, () => { s.fill(oval(ix, y, rx, ry), darker(o.iris, 0.55)); s.fill(oval(ix, y + ry * 0.4, rx * 0.86, ry * 0.6), o.iris); s.fill(oval(ix, y, rx * 0.45, ry * 0.45), '1d1420'); s.fill(`M ${n1(x - w)} ${n1(y - h)} L ${n1(x + w)} ${n1(y - h)} L ${n1(x + w)} ${n1(y - h * 0.5)} L ${n1(x - w)} ${n1(y - h * 0.5)} Z`, '1d1420', 0.12); s.fill(oval(ix - rx * 0.3, y - ry * 0.45, rx * 0.36, ry * 0.26), WHITE); s.fill(oval(ix + rx * 0.35, y + ry * 0.4, rx * 0.2), WHITE); });
    s.stroke(`M ${n1(x - k * w)} ${n1(y - h * 0.25 + down)} C ${n1(x - k * w * 0.6)} ${n1(y - h + down)} ${n1(x + k * w * 0.5)} ${n1(y - h * 1.05)} ${n1(x + k * w)} ${n1(y - h * 0.3)} L ${n1(x + k * w * 1.22)} ${n1(y - h * 0.42)}`, '2b1a24', 2.4);
    s.stroke(`M ${n1(x - k * w * 0.4)} ${n1(y + h * 0.92)} L ${n1(x + k * w * 0.5)} ${n1(y + h * 0.86)}`, '2b1a24', 1, 0.7);
  },
  paper(s, x, y, o, z) {
    const r = (o.wide ? 7.6 : 5.8) * z, white = oval(x, y, r);
    s.fill(white, '1c1028', 0.15, '0 1.2'); s.fill(white, WHITE);
    s.within(white, () => { const ix = x + o.look * r * 0.5; s.fill(oval(ix, y, (o.wide ? 3.4 : 3.9) * z), o.iris); s.fill(oval(ix, y, (o.wide ? 1.7 : 2.1) * z), '241a2a'); if (!o.wide) s.fill(slant(x, y, r, r, { ...o, lid: o.lid || 0.001 }, o.lid ? 0.3 : 0.62), shadeOf(o.skin)); });
  },
  chibi(s, x, y, o, z) {
    if (o.wide || o.look) { const rx = (o.wide ? 8 : 6.6) * z, ry = (o.wide ? 9 : 7.6) * z; s.fill(oval(x, y, rx, ry), WHITE); s.stroke(oval(x, y, rx, ry), '3b2536', 1.8); s.fill(oval(x + o.look * rx * 0.45, y, (o.wide ? 2.2 : 3.4) * z, (o.wide ? 2.4 : 4.4) * z), '2c1a2a'); s.fill(oval(x + o.look * rx * 0.45 - 0.9 * z, y - 1.2 * z, 1 * z), WHITE); return; }
    const eye = oval(x, y, 5.4 * z, 7.2 * z);
    s.fill(eye, '2c1a2a');
    s.within(eye, () => { s.fill(oval(x, y + 5.2 * z, 5 * z, 4.4 * z), o.iris); if (o.lid) s.fill(slant(x, y, 6 * z, 8 * z, o, 0.3), o.skin); });
    s.fill(oval(x - 1.7 * z, y - 2.6 * z, 2 * z, 2.3 * z), WHITE); s.fill(oval(x + 2.2 * z, y + 2.4 * z, 1.1 * z), WHITE);
  },
  crayon(s, x, y, o, z) {
    if (o.wide || o.look) { const r = (o.wide ? 6.8 : 5.4) * z, d = wobbly(oval(x, y, r, r * 1.05), 0.8); s.fill(d, WHITE); s.stroke(d, '2e2733', 1.6); s.fill(wobbly(oval(x + o.look * r * 0.45, y, (o.wide ? 2 : 2.6) * z), 0.5), '2e2733'); return; }
    onDark(s, x, y, o, 2.8 * z, 3.8 * z); s.fill(wobbly(oval(x, y, 2.8 * z, 3.8 * z), 0.8), '2e2733');
  },
};
const onDark = (s, x, y, o, rx, ry) => { if (bright(o.skin) < 0.36) s.fill(oval(x, y, rx + 1, ry + 1), 'f3dfd0'); }; // dark dots need a light ground there
const edge = (x, y, rx, ry, o, at) => { const t = o.lid * 4 * (rx / 6), base = y - ry * at; return [[x - o.k * rx * 1.2, base + t], [x + o.k * rx * 1.2, base - t]]; };
const slant = (x, y, rx, ry, o, at) => { const [a, b] = edge(x, y, rx, ry, o, at); return `M ${n1(a[0])} ${n1(a[1])} L ${n1(b[0])} ${n1(b[1])} L ${n1(b[0])} ${n1(y - ry * 2)} L ${n1(a[0])} ${n1(y - ry * 2)} Z`; };
const slantLine = (x, y, rx, ry, o, at) => { const [a, b] = edge(x, y, rx, ry, o, at); return `M ${a.map(n1).join(' ')} L ${b.map(n1).join(' ')}`; };

function eyes(s, f, who) {
  const t = s.theme, z = f.s * t.eye, ink = t.eyeInk ?? INK, y = f.eyeY;
  for (const k of [-1, 1]) {
    const x = CX + k * f.eyeX, happy = ['smile', 'big smile', 'tongue out', 'smirk'].includes(who.expression);
    const shut = who.eyes === 'closed eyes' || (who.eyes === 'winking' && k === f.flip);
    if (who.eyes === 'heart eyes') { s.flat(heart(x, y, 6 * f.s * t.eyeHeart), HEART, t.ink.width * 0.7); s.fill(oval(x - 2.2 * f.s, y - 2 * f.s, 1.3 * f.s), WHITE, 0.8); } else if (shut) s.line(happy ? lidArc(x, y + 1.5, 5.4 * f.s * t.eyeHeart, 3 * f.s) : lidArc(x, y, 5.4 * f.s * t.eyeHeart, -2.4 * f.s), ink, Math.max(1.8, t.mark) * Math.min(1.2, f.s));
    else EYES[t.eyes](s, x, y, { k, look: who.eyes === 'looking aside' ? f.flip : 0, wide: who.eyes === 'wide eyes', lid: who.expression === 'angry' ? 1 : who.expression === 'sad' ? -0.7 : 0, iris: who.iris, skin: who.skinHex }, z);
    if (who.eyes === 'crying') {
      const tx = x + k * 2.4 * f.s, ty = y + 6.2 * f.s * t.tear, d = `M ${n1(tx)} ${n1(ty)} C ${n1(tx + 3 * f.s)} ${n1(ty + 5 * f.s)} ${n1(tx + 4 * f.s)} ${n1(ty + 7 * f.s)} ${n1(tx + 3.4 * f.s)} ${n1(ty + 9.5 * f.s)} C ${n1(tx + 2.4 * f.s)} ${n1(ty + 12.5 * f.s)} ${n1(tx - 2.4 * f.s)} ${n1(ty + 12.5 * f.s)} ${n1(tx - 3.4 * f.s)} ${n1(ty + 9.5 * f.s)} C ${n1(tx - 4 * f.s)} ${n1(ty + 7 * f.s)} ${n1(tx - 3 * f.s)} ${n1(ty + 5 * f.s)} ${n1(tx)} ${n1(ty)} Z`;
      s.flat(d, TEAR, t.ink.width * 0.6); s.fill(oval(tx - 1.2 * f.s, ty + 8.6 * f.s, 0.9 * f.s, 1.4 * f.s), WHITE, 0.85);
    }
  }
}

// Brows: [inner end, middle, outer end] in px upwards, for one or both sides
const BROWS = {
  smile: [[0, 2.6, 0]], 'big smile': [[1, 4, 1]], sad: [[5, 3, -2]], angry: [[-5, -1, 4]], surprised: [[5, 8.5, 4]], serious: [[-2, -1.6, -1]],
  'tongue out': [[1, 3.6, 0.5]], screaming: [[6, 4.5, 0]], smirk: [[-2.5, -1.5, -0.5], [4, 6.5, 3]],
};
function brows(s, f, who) {
  const t = s.theme, w = 6.6 * f.s * t.brow, z = f.s * 0.95;
  for (const k of [-1, 1]) {
    const b = BROWS[who.expression], [inner, middle, outer] = b[k === f.flip ? b.length - 1 : 0], x = CX + k * f.eyeX * 1.02, y = f.browY;
    s.line(`M ${n1(x - k * w)} ${n1(y - inner * z)} Q ${n1(x)} ${n1(y - (2 * middle - (inner + outer) / 2) * z)} ${n1(x + k * w)} ${n1(y - outer * z)}`, who.browHex, t.browWidth * Math.min(1.25, f.s));
  }
}

// Mouths: d gives the outline of open mouths; teeth and tongue are inside
function mouth(s, f, who) {
  const t = s.theme, z = f.s * t.mouth, x = CX, y = f.mouthY, w = 9 * z, ink = t.mouthInk(who.skinHex), lw = t.mark * Math.min(1.2, f.s);
  const open = (d, teeth, tongue) => {
    const path = t.rough ? wobbly(d, 0.8) : d;
    s.fill(path, '5d1a2a');
    s.within(path, () => { if (tongue) s.fill(tongue, 'ee7386'); if (teeth) s.fill(teeth, WHITE); });
    if (t.ink.width) s.stroke(path, t.ink.of('5d1a2a') ?? ink, t.ink.width * 0.85);
  };
  const block = (top, h) => `M ${n1(x - w * 1.4)} ${n1(top)} L ${n1(x + w * 1.4)} ${n1(top)} L ${n1(x + w * 1.4)} ${n1(top + h)} L ${n1(x - w * 1.4)} ${n1(top + h)} Z`;
  const tick = (px, py, k) => s.line(`M ${n1(px - 1.4 * k)} ${n1(py - 2.2)} Q ${n1(px + 1.2 * k)} ${n1(py)} ${n1(px - 0.6 * k)} ${n1(py + 1.6)}`, ink, lw * 0.8);
  const M = {
    smile: () => s.line(`M ${n1(x - w)} ${n1(y - 2.4 * z)} Q ${n1(x)} ${n1(y + 7 * z)} ${n1(x + w)} ${n1(y - 2.4 * z)}`, ink, lw),
    'big smile': () => open(`M ${n1(x - w * 1.15)} ${n1(y - 4 * z)} Q ${n1(x)} ${n1(y - 1.2 * z)} ${n1(x + w * 1.15)} ${n1(y - 4 * z)} C ${n1(x + w * 1.1)} ${n1(y + 9 * z)} ${n1(x - w * 1.1)} ${n1(y + 9 * z)} ${n1(x - w * 1.15)} ${n1(y - 4 * z)} Z`, block(y - 5 * z, 5.6 * z), oval(x, y + 7 * z, w * 0.6, 4 * z)),
    sad: () => s.line(`M ${n1(x - w * 0.8)} ${n1(y + 3.4 * z)} Q ${n1(x)} ${n1(y - 5.6 * z)} ${n1(x + w * 0.8)} ${n1(y + 3.4 * z)}`, ink, lw),
    angry: () => (who.gritted ? (open(box(x - w * 0.95, y - 3.2 * z, w * 1.9, 6.8 * z, 2.6 * z), block(y - 5 * z, 12 * z)), s.line([-0.45, 0, 0.45].map((k) => `M ${n1(x + k * w)} ${n1(y - 3 * z)} L ${n1(x + k * w)} ${n1(y + 3.4 * z)}`).join(' ') + ` M ${n1(x - w * 0.9)} ${n1(y + 0.2 * z)} L ${n1(x + w * 0.9)} ${n1(y + 0.2 * z)}`, '8d8794', 0.9)) : s.line(`M ${n1(x - w * 0.75)} ${n1(y + 2 * z)} Q ${n1(x)} ${n1(y - 3.4 * z)} ${n1(x + w * 0.75)} ${n1(y + 2 * z)}`, ink, lw * 1.1)),
    surprised: () => open(oval(x, y + 1 * z, 4.6 * z, 5.6 * z), null, oval(x, y + 6 * z, 3.2 * z, 2.2 * z)),
    serious: () => s.line(`M ${n1(x - w * 0.72)} ${n1(y)} L ${n1(x + w * 0.72)} ${n1(y)}`, ink, lw),
    'tongue out': () => { open(`M ${n1(x - w)} ${n1(y - 3 * z)} Q ${n1(x)} ${n1(y - 0.6 * z)} ${n1(x + w)} ${n1(y - 3 * z)} C ${n1(x + w * 0.9)} ${n1(y + 6 * z)} ${n1(x - w * 0.9)} ${n1(y + 6 * z)} ${n1(x - w)} ${n1(y - 3 * z)} Z`, null); const d = `M ${n1(x - 4.2 * z)} ${n1(y + 0.8 * z)} Q ${n1(x)} ${n1(y - 1.4 * z)} ${n1(x + 4.2 * z)} ${n1(y + 0.8 * z)} L ${n1(x + 4.2 * z)} ${n1(y + 6 * z)} C ${n1(x + 4.2 * z)} ${n1(y + 11.4 * z)} ${n1(x - 4.2 * z)} ${n1(y + 11.4 * z)} ${n1(x - 4.2 * z)} ${n1(y + 6 * z)} Z`; s.flat(d, 'f07a8c', t.ink.width * 0.8); s.line(`M ${n1(x)} ${n1(y + 1.4 * z)} L ${n1(x)} ${n1(y + 6 * z)}`, 'c24a62', 1.2); },
    screaming: () => open(`M ${n1(x)} ${n1(y - 6.6 * z)} C ${n1(x + w * 1.1)} ${n1(y - 6.8 * z)} ${n1(x + w * 0.95)} ${n1(y + 8.6 * z)} ${n1(x)} ${n1(y + 8.6 * z)} C ${n1(x - w * 0.95)} ${n1(y + 8.6 * z)} ${n1(x - w * 1.1)} ${n1(y - 6.8 * z)} ${n1(x)} ${n1(y - 6.6 * z)} Z`, block(y - 8 * z, 4.2 * z), oval(x, y + 8 * z, w * 0.55, 4.6 * z)),
    smirk: () => { const k = f.flip; s.line(`M ${n1(x - k * w * 0.7)} ${n1(y + 1.4 * z)} Q ${n1(x + k * w * 0.45)} ${n1(y + 3.6 * z)} ${n1(x + k * w)} ${n1(y - 4 * z)}`, ink, lw); tick(x + k * (w + 1.4), y - 4.2 * z, k); },
  };
  M[who.expression]();
}

const NOSES = {
  comic: (s, f, skin) => s.line(f.turned('M -.03 .54 C .06 .6 .13 .64 .11 .67 C .08 .7 .0 .7 -.07 .685'), INK, 1.9),
  line: (s, f, skin) => s.line(f.turned('M .0 .5 C .05 .56 .1 .62 .09 .65 C .06 .68 0 .68 -.06 .665'), s.theme.mouthInk(skin), 1.4),
  storybook: (s, f, skin) => { s.fill(oval(f.hx(0), f.noseY, 3.4 * f.s, 2.4 * f.s), mix(skin, 'd0453f', 0.3), 0.75); },
  anime: (s, f, skin) => s.line(f.turned('M .02 .69 L .06 .725 L .0 .735'), mix(skin, '7a2b1e', 0.6), 1.3),
  paper: (s, f, skin) => { s.fill(f.turned('M .0 .46 C .05 .54 .2 .66 .16 .7 C .1 .73 -.06 .73 -.12 .7 C -.06 .62 0 .56 .0 .46 Z'), mix(skin, '7a2b1e', 0.28)); },
  chibi: (s, f, skin) => s.fill(oval(f.hx(0), f.noseY, 1.7 * f.s, 1.1 * f.s), mix(skin, '8a2b2e', 0.45)),
  crayon: (s, f, skin) => s.line(f.turned('M -.02 .55 C .1 .58 .16 .66 .04 .69 C 0 .7 -.05 .69 -.06 .66'), mix(skin, '5a2418', 0.6), 1.7),
};

const BEARDS = {
  beard: 'M -1.01 .46 C -1.08 .84 -.72 1.1 0 1.1 C .72 1.1 1.08 .84 1.01 .46 C .94 .5 .9 .56 .84 .64 C .66 .7 .5 .7 .36 .7 C .2 .67 .08 .67 0 .69 C -.08 .67 -.2 .67 -.36 .7 C -.5 .7 -.66 .7 -.84 .64 C -.9 .56 -.94 .5 -1.01 .46 Z',
  'long beard': 'M -1.01 .46 C -1.1 .86 -.92 1.12 -.56 1.3 C -.38 1.42 -.2 1.46 0 1.54 C .2 1.46 .38 1.42 .56 1.3 C .92 1.12 1.1 .86 1.01 .46 C .94 .5 .9 .56 .84 .64 C .66 .7 .5 .7 .36 .7 C .2 .67 .08 .67 0 .69 C -.08 .67 -.2 .67 -.36 .7 C -.5 .7 -.66 .7 -.84 .64 C -.9 .56 -.94 .5 -1.01 .46 Z',
  moustache: 'M 0 .0 C .14 -.05 .34 -.05 .46 .02 C .54 .06 .6 .05 .66 .0 C .64 .09 .52 .13 .4 .11 C .26 .1 .1 .09 0 .05 C -.1 .09 -.26 .1 -.4 .11 C -.52 .13 -.64 .09 -.66 .0 C -.6 .05 -.54 .06 -.46 .02 C -.34 -.05 -.14 -.05 0 .0 Z',
};
function beard(s, f, who) {
  if (!who.beard || who.beard === 'moustache') return;
  const [from, to] = s.theme.beardSpan ?? [0.46, 1.1], k = (to - from) / 0.64;
  s.shape(mapped(BEARDS[who.beard], f.hx, (y) => f.hy(from + (y - 0.46) * k)), s.theme.ink.width ? who.hairHex : darker(who.hairHex, 0.12));
  if (who.beard === 'long beard') s.line(['M -.4 1.1 L -.32 1.3', 'M 0 1.16 L 0 1.4', 'M .4 1.1 L .32 1.3'].map(f.head).join(' '), detail(who.hairHex), s.theme.strand * f.s);
  const z = f.s * s.theme.mouth, big = ['screaming', 'big smile', 'tongue out'].includes(who.expression);
  s.fill(oval(CX, f.mouthY + 0.6 * z, (big ? 12.4 : 11) * z, (who.expression === 'screaming' ? 9.6 : big ? 7.6 : 5.4) * z), who.skinHex);
}
function moustache(s, f, who) {
  if (!who.beard) return;
  const alone = who.beard === 'moustache', kx = alone ? 1 : 0.74, ky = alone ? 1 : 0.66; // a beard's own one is smaller
  const lip = f.mouthY - (who.expression === 'screaming' ? 10 : alone ? 7.8 : 9) * f.s * s.theme.mouth;
  s.shape(mapped(BEARDS.moustache, (x) => CX + x * kx * f.hw, (y) => lip + y * ky * f.high), who.hairHex, { plain: true });
}

function glasses(s, f, who) {
  if (!who.glasses) return;
  const t = s.theme, r = Math.min(f.eyeX - 2, f.hw * 0.98 - f.eyeX + 3, 10 * f.s * t.lens), y = f.eyeY + 0.5, c = who.glassHex ?? '2b2a33', width = t.frame * Math.min(1.2, f.s);
  const lens = (x) => ({ glasses: () => mapped('M -1.05 -.62 Q -1.02 -.8 -.7 -.8 L .7 -.8 Q 1.02 -.8 1.05 -.62 C 1.05 .3 .7 .8 0 .8 C -.7 .8 -1.05 .3 -1.05 -.62 Z', (v) => x + v * r, (v) => y + v * r), 'round glasses': () => oval(x, y, r), 'square glasses': () => box(x - r * 1.02, y - r * 0.8, r * 2.04, r * 1.6, 1.6), sunglasses: () => mapped('M -1.1 -.66 Q -1.08 -.8 -.8 -.8 L .8 -.8 Q 1.08 -.8 1.1 -.66 C 1.1 .4 .75 .86 0 .86 C -.75 .86 -1.1 .4 -1.1 -.66 Z', (v) => x + v * r, (v) => y + v * r) })[who.glasses]();
  const reach = who.glasses === 'square glasses' ? 1.02 : who.glasses === 'sunglasses' ? 1.08 : 1;
  const arms = [-1, 1].map((k) => `M ${n1(CX + k * (f.eyeX + r * reach))} ${n1(y - 2.4 * f.s)} L ${n1(CX + k * f.hw * 0.98)} ${n1(y - 3 * f.s)}`).join(' ') + ` M ${n1(CX - f.eyeX + r * reach)} ${n1(y - 1.5 * f.s)} Q ${n1(CX)} ${n1(y - 5 * f.s)} ${n1(CX + f.eyeX - r * reach)} ${n1(y - 1.5 * f.s)}`;
  const halo = bright(c) > 0.8 && t.ink.width && t.ink.of('ffffff');
  const d = [-1, 1].map((k) => lens(CX + k * f.eyeX));
  if (halo) for (const p of [arms, ...d]) s.stroke(p, halo, width + 1.6);
  for (const p of d) {
    if (who.glasses === 'sunglasses') { s.fill(p, '25232e'); s.within(p, () => s.fill(shifted(mapped('M -.9 -1 L -.3 -1 L -1 .6 L -1.6 .6 Z M .1 -1 L .3 -1 L -.4 .6 L -.6 .6 Z', (v) => v * r, (v) => v * r), p === d[0] ? CX - f.eyeX + 3 : CX + f.eyeX + 3, y), WHITE, 0.22)); } else s.fill(p, WHITE, t.glassFill ?? 0.22);
    s.line(p, c, width);
  }
  s.line(arms, c, width);
}

// -- themes ------------------------------------------------------------------------------------------------------------------------
const tintOf = (c) => (bright(c) < 0.22 ? '120b16' : mix(darker(c, 0.5), '5a1f2b', 0.12));
const THEME = {
  comic: { words: 'comic', pen: PENS.cel, ink: { width: 2.8, of: () => '17131c' }, eyes: 'comic', eye: 1, eyeHeart: 1.1, tear: 1.05, mark: 2.6, brow: 1.05, browWidth: 4, mouth: 1, mouthInk: () => '17131c', lens: 1, frame: 3, strand: 1.6, neckShade: true, shine: true, blush: 0,
    proportions: { top: 36, chin: 117, hw: 33, face: face(0.8, 0.66), eyeX: 0.42, eyeY: 0.52, browY: 0.37, noseY: 0.66, mouthY: 0.82, shoulders: 52, neckBase: 127, neck: 13.5 } },
  lineDrawing: { words: 'line drawing', pen: PENS.offset, ink: { width: 1.3, of: () => '2a2433' }, eyes: 'line', eye: 1.08, eyeHeart: 1.05, tear: 0.8, mark: 1.8, brow: 0.85, browWidth: 2.2, mouth: 0.96, mouthInk: () => '2a2433', lens: 0.95, frame: 1.6, strand: 1.1, depth: 0.15, neckShade: false, shine: true, blush: 0.3, cheek: 'ff6f61',
    proportions: { top: 38, chin: 116, hw: 30, face: face(0.82, 0.54), eyeX: 0.43, eyeY: 0.53, browY: 0.4, noseY: 0.66, mouthY: 0.82, shoulders: 48, neckBase: 127, neck: 10.5 } },
  storybook: { words: 'storybook', pen: PENS.soft, ink: { width: 0, of: () => null }, eyes: 'storybook', eye: 1.1, eyeHeart: 1.05, tear: 0.85, mark: 2, brow: 0.75, browWidth: 2.4, mouth: 0.92, mouthInk: (skin) => (bright(skin) < 0.36 ? '1c0a10' : mix(skin, '5a1020', 0.78)), lens: 0.95, frame: 2, strand: 1.2, neckShade: true, shine: true, blush: 0.5, cheek: 'f0605f',
    proportions: { top: 38, chin: 117, hw: 37, face: face(0.84, 0.6), eyeX: 0.44, eyeY: 0.56, browY: 0.42, noseY: 0.67, mouthY: 0.81, shoulders: 44, neckBase: 125, neck: 10 } },
  anime: { words: 'anime', pen: PENS.tinted, ink: { width: 1.4, of: tintOf }, eyes: 'anime', eye: 1, eyeHeart: 1.15, tear: 1.1, mark: 1.7, brow: 0.9, browWidth: 1.9, mouth: 0.8, mouthInk: (skin) => (bright(skin) < 0.36 ? '1c0a10' : mix(skin, '4a1420', 0.8)), lens: 1.14, frame: 1.7, strand: 1.1, neckShade: true, halo: true, blush: 0.28, cheek: 'ff5a6a', beardSpan: [0.56, 1.09],
    proportions: { top: 37, chin: 119, hw: 35, face: face(0.74, 0.3, 1), eyeX: 0.47, eyeY: 0.58, browY: 0.4, noseY: 0.73, mouthY: 0.86, shoulders: 46, neckBase: 128, neck: 9.5, pointed: true, smooth: true, afro: 1.5 } },
  paperCut: { words: 'paper cut', pen: PENS.paper, ink: { width: 0, of: () => null }, eyes: 'paper', eye: 1, eyeHeart: 1, tear: 0.95, mark: 2.4, brow: 0.95, browWidth: 3.2, mouth: 0.95, mouthInk: (skin) => (bright(skin) < 0.36 ? '1c0a10' : mix(skin, '3d1018', 0.85)), lens: 1, frame: 2.6, strand: 1.3, depth: 0.3, neckShade: true, blush: 0.35, cheek: 'f2545b',
    proportions: { top: 37, chin: 115, hw: 32, face: face(0.94, 0.92), eyeX: 0.46, eyeY: 0.52, browY: 0.37, noseY: 0.66, mouthY: 0.83, shoulders: 54, neckBase: 125, neck: 15, smooth: true } },
  chibi: { words: 'chibi', pen: PENS.candy, ink: { width: 2, of: (c) => mix(darker(c, 0.62), '4a1838', 0.25) }, eyes: 'chibi', eye: 0.84, eyeHeart: 1, tear: 0.95, mark: 2, brow: 0.7, browWidth: 2.2, mouth: 0.62, mouthInk: (skin) => (bright(skin) < 0.36 ? '1c0a10' : mix(skin, '4a1428', 0.85)), lens: 0.92, frame: 2, strand: 1.1, neckShade: false, halo: true, blush: 0.55, cheek: 'ff7a90', beardSpan: [0.62, 1.07],
    proportions: { top: 36, chin: 121, hw: 44, face: face(0.9, 0.62), eyeX: 0.46, eyeY: 0.62, browY: 0.44, noseY: 0.74, mouthY: 0.84, shoulders: 31, neckBase: 126, neck: 10, pointed: true, afro: 1.42, smooth: true } },
  crayon: { words: 'crayon', pen: PENS.crayon, rough: true, ink: { width: 1.7, of: (c) => (bright(c) < 0.25 ? '17121a' : darker(c, 0.62)) }, eyes: 'crayon', eye: 1, eyeHeart: 1, tear: 0.9, mark: 2.3, brow: 0.85, browWidth: 2.6, mouth: 0.95, mouthInk: (skin) => (bright(skin) < 0.36 ? '1c0a10' : mix(skin, '3d1018', 0.9)), lens: 1, frame: 2.3, strand: 1.5, depth: 0.2, neckShade: false, blush: 0.4, cheek: 'f2545b',
    proportions: { top: 38, chin: 117, hw: 37, face: face(0.86, 0.66), eyeX: 0.42, eyeY: 0.52, browY: 0.38, noseY: 0.66, mouthY: 0.81, shoulders: 46, neckBase: 126, neck: 11, afro: 1.55 } },
};
for (const [name, theme] of Object.entries(THEME)) theme.name = name;
/** Style id -> the style in caption words. */
export const THEMES = Object.fromEntries(Object.entries(THEME).map(([id, theme]) => [id, theme.words]));

// -- choosing ------------------------------------------------------------------------------------------------------------------------
const EXPRESSIONS = Object.keys(BROWS), SHOUTING = ['sad', 'angry', 'surprised', 'serious', 'tongue out', 'screaming', 'smirk'];
const EYE_KINDS = ['closed eyes', 'winking', 'heart eyes', 'looking aside', 'wide eyes', 'crying'];
const FITS = { winking: ['smile', 'big smile', 'tongue out', 'smirk', 'serious'], 'heart eyes': ['smile', 'big smile', 'tongue out', 'surprised', 'smirk'], crying: ['sad', 'screaming', 'serious', 'angry'] };
const IRIS = ['7a4a21', '3f7fbf', '4c9a5b', '8a5fb0', '2f9aa8', 'b0703a'];
const GLASS_KINDS = ['glasses', 'round glasses', 'square glasses', 'sunglasses'], BEARD_KINDS = Object.keys(BEARDS);

function chosen() {
  const expression = chance() < 0.45 ? pick(['smile', 'big smile']) : pick(SHOUTING);
  const glasses = chance() < 0.3 ? pick(GLASS_KINDS) : null;
  const fitting = EYE_KINDS.filter((kind) => !FITS[kind] || FITS[kind].includes(expression));
  const eyes = glasses === 'sunglasses' || chance() < 0.62 ? null : pick(fitting);
  return { theme: key(THEME), hair: key(HAIR), shape: key(HAIRS), skin: key(SKIN), cloth: key(CLOTH), clothing: key(CLOTHES), hat: chance() < 0.12 ? key(HATS) : null, hatColour: key(CLOTH), underHat: pick(UNDER_HATS), glasses, glassColour: chance() < 0.45 ? key(GLASS) : null, beard: chance() < 0.12 ? pick(BEARD_KINDS) : null, expression, eyes, gritted: chance() < 0.5, iris: pick(IRIS) };
}

const near = (a, b, within = 48) => Math.hypot(...rgb(a).map((v, i) => v - rgb(b)[i])) < within;

function tagsOf(who) {
  const hatHidesHair = who.hat && HATS[who.hat].noHair;
  return [
    who.hat && `${who.hatColour} ${who.hat}`,
    !hatHidesHair && (who.shape === 'bald' ? 'bald' : `${who.hair} ${who.shape}`),
    `${who.skin} skin`, `${who.cloth} ${who.clothing}`,
    who.glasses && (who.glassColour ? `${who.glassColour} ${who.glasses}` : who.glasses),
    who.beard && `${who.hair} ${who.beard}`, who.eyes, who.expression,
  ].filter(Boolean);
}

/** A person; wishes fixes any of the choices, for instance {theme: 'anime', shape: 'afro', hair: 'teal', hairHex: '1f9e9a'}. */
export function drawnPerson(wishes = {}) {
  const who = { ...chosen(), ...wishes };
  if (who.hat && !UNDER_HATS.includes(who.shape)) who.shape = who.underHat;
  if (who.hat === 'hijab' || near(who.hairHex ?? HAIR[who.hair], who.skinHex ?? SKIN[who.skin])) who.beard = null; // or it would not show
  if (who.glasses === 'sunglasses') who.eyes = null; // they hide the eyes
  if ((who.beard === 'long beard' && LOW_NECKS.includes(who.clothing)) || (who.hat === 'hijab' && !UNDER_HIJAB.includes(who.clothing))) who.clothing = 'shirt'; // all that shows of it
  if (who.glassColour && near(who.glassHex ?? GLASS[who.glassColour], who.skinHex ?? SKIN[who.skin], 60)) who.glassColour = null; // yellow on yellow
  who.hairHex ??= HAIR[who.hair]; who.skinHex ??= SKIN[who.skin]; who.clothHex ??= CLOTH[who.cloth]; who.hatHex ??= CLOTH[who.hatColour]; who.glassHex ??= GLASS[who.glassColour];
  who.browHex ??= THEME[who.theme].name === 'lineDrawing' ? '2a2433' : mix(who.hairHex, '2a1712', bright(who.hairHex) > 0.5 ? 0.5 : 0.35);
  if (Math.abs(bright(who.browHex) - bright(who.skinHex)) < 0.16) who.browHex = INK;
  return { svg: drawing(who), cls: 'person', group: 'person', style: who.theme, tags: tagsOf(who) };
}

function drawing(who) {
  const theme = THEME[who.theme], s = new Sheet(theme), f = frame(theme), hat = HATS[who.hat], { skinHex: skin } = who;
  const h = hat?.noHair ? {} : HAIRS[who.shape](f);
  const belowBrim = (draw) => (hat ? s.within(f.head(`M -3 ${BRIM - 0.06} L 3 ${BRIM - 0.06} L 3 3 L -3 3 Z`), draw) : draw());
  belowBrim(() => hairBehind(s, f, h, who.hairHex));
  CLOTHES[who.clothing](s, f, who.clothHex, skin);
  if (!hat?.noEars) for (const k of [-1, 1]) { s.shape(oval(f.hx(k * 1.02), f.hy(0.56), f.hw * 0.16, f.high * 0.1), skin, { plain: true, skin: true }); s.line(f.head(`M ${1.08 * k} .52 C ${1.0 * k} .52 ${1.0 * k} .58 ${1.04 * k} .6`), mix(skin, '6a2b1e', 0.45), 1.2 * f.s); }
  s.shape(f.skull, skin, { plain: theme.name === 'anime', skin: true });
  if (theme.blush) for (const k of [-1, 1]) s.fill(oval(f.hx(k * 0.62), f.hy(theme.proportions.noseY + 0.03), f.hw * 0.19, f.hw * 0.13), theme.cheek, theme.blush * (bright(skin) < 0.36 ? 0.45 : bright(skin) < 0.5 ? 0.7 : 1));
  beard(s, f, who);
  NOSES[theme.eyes](s, f, skin);
  mouth(s, f, who);
  moustache(s, f, who);
  eyes(s, f, who);
  belowBrim(() => { hairOver(s, f, h, who.hairHex); hairFront(s, f, h, who.hairHex, skin); });
  brows(s, f, who);
  glasses(s, f, who);
  hat?.over(s, f, who.hatHex);
  return s.svg();
}
