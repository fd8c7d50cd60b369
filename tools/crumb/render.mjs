// Renders figures: node render.mjs SPLIT COUNT OUT [SEED [NUMBERS]] -> OUT.rgba (COUNT x 160 x 160 x 4 bytes) and OUT.jsonl
//   people   what crumb is trained on: people of drawing styles, and robots
//   icons    what crumb is trained on: animals, food, things, vehicles and plants
//   heldout  what crumb never sees: other styles and concepts, unusual colours of hair and clothes
// NUMBERS, separated by commas, are figures to leave out: resvg ends the process at some drawings.
// Each line of OUT.jsonl: {cls, group, style, tags}. tags are the truth about the figure in the words of captions.
//   node render.mjs --list FILE OUT renders the figures of FILE, one a line: {maker, ...}, and pixels as `size` (160)
//     dicebear  {style, options, cls}: a DiceBear figure
//     drawn     {wishes, seed}: a person of our own drawing; the same seed draws the same shapes
//     icon      {concept, set, name, colour, turn, mirror, over}: see figure() in figures/icons.mjs
import { Resvg } from '@resvg/resvg-js';
import fs from 'node:fs';
import { seed, weighted } from './figures/chance.mjs';
import { HELD_OUT, TRAINED, oddPerson, person, robot, svgOf } from './figures/dicebear.mjs';

const SIZE = 160;

// -- shares in percent ---------------------------------------------------------------------------------------------------
const OTHERS = TRAINED.filter((style) => style !== 'avataaars');
const PEOPLE = { avataaars: 24, drawn: 32, bottts: 7, ...Object.fromEntries(OTHERS.map((style) => [style, 37 / OTHERS.length])) };
const HELD = { odd: 16, icon: 30, ...Object.fromEntries(HELD_OUT.map((style) => [style, 18])) };

// Each split makes its maker of figures: the drawings of our own are loaded only where they are drawn.
const SPLITS = {
  async people() {
    const { drawnPerson } = await import('./figures/people.mjs');
    const makers = { drawn: drawnPerson, bottts: robot };
    return () => {
      const style = weighted(PEOPLE);
      return makers[style]?.() ?? person(style);
    };
  },
  async icons() {
    const { icon } = await import('./figures/icons.mjs');
    return icon;
  },
  async heldout() {
    const { heldoutIcon } = await import('./figures/icons.mjs');
    return () => {
      const style = weighted(HELD);
      return style === 'icon' ? heldoutIcon() : style === 'odd' ? oddPerson() : person(style);
    };
  },
};

// resvg gives colours multiplied by alpha: composed as straight ones, every edge would have a dark rim.
function straight(pixels) {
  for (let i = 0; i < pixels.length; i += 4) {
    const alpha = pixels[i + 3];
    if (alpha > 0 && alpha < 255) for (let c = i; c < i + 3; c++) pixels[c] = Math.min(255, Math.round(pixels[c] * 255 / alpha));
  }
  return pixels;
}

// -- writing -------------------------------------------------------------------------------------------------------------
function write(out, figures) {
  const pixels = fs.openSync(out + '.rgba.tmp', 'w'), lines = fs.openSync(out + '.jsonl', 'w');
  for (const { svg, size = SIZE, cls, group, style, tags } of figures) {
    // The line is written first: resvg ends the whole process at some drawings, and the last line tells which.
    fs.writeSync(lines, JSON.stringify({ cls, group, style, tags }) + '\n');
    fs.writeSync(pixels, straight(new Resvg(svg, { fitTo: { mode: 'width', value: size }, font: { loadSystemFonts: false } }).render().pixels));
  }
  fs.closeSync(pixels);
  fs.closeSync(lines);
  fs.renameSync(out + '.rgba.tmp', out + '.rgba'); // only whole files have their name
}

/** Figures of a maker; those at the numbers of `left` are made, so that chance goes on as before, and left out. */
function* repeat(maker, count, left) {
  for (let i = 0, made = 0; made < count; i++) {
    const figure = maker();
    if (!left.has(i)) { made++; yield figure; }
  }
}

// Each maker of listed figures gives the maker of a figure from its line.
const LISTED = {
  async dicebear() {
    return ({ style, options, cls = 'person', tags = [] }) => ({ svg: svgOf(style, options), cls, group: cls, style, tags });
  },
  async drawn() {
    const { drawnPerson } = await import('./figures/people.mjs');
    return ({ wishes, seed: text }) => { seed(text); return drawnPerson(wishes); };
  },
  async icon() {
    const { conceptOf, figure } = await import('./figures/icons.mjs');
    return ({ concept, set, name, ...look }) => figure(conceptOf(concept), set, name, look);
  },
};

async function listed(file) {
  const lines = fs.readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line)), makers = {};
  for (const { maker } of lines) makers[maker] ??= await LISTED[maker]();
  return (function* figures() { for (const { maker, size, ...line } of lines) yield { ...makers[maker](line), size }; })();
}

const [split, count, out, seedText, leftOut = ''] = process.argv.slice(2);
if (split === '--list' && out) {
  write(out, await listed(count));
} else if (Object.hasOwn(SPLITS, split ?? '') && out) {
  const maker = await SPLITS[split]();
  seed(seedText ?? out.split('/').pop());
  write(out, repeat(maker, +count, new Set(leftOut.split(',').filter(Boolean).map(Number))));
} else {
  console.error(`usage: node render.mjs ${Object.keys(SPLITS).join('|')} COUNT OUT [SEED [NUMBERS]]  or  node render.mjs --list FILE OUT`);
  process.exit(2);
}
