// Renders figures: node render.mjs SPLIT COUNT OUT [SEED] -> OUT.rgba (COUNT x 160 x 160 x 4 bytes) and OUT.jsonl
//   people   what crumb is trained on: people of drawing styles, and robots
//   icons    what crumb is trained on: animals, food, things, vehicles and plants
//   heldout  people that crumb never sees: other styles, and unusual colours of hair and clothes
// Each line of OUT.jsonl: {cls, group, style, tags}. tags are the truth about the figure in the words of captions.
//   node render.mjs --list FILE OUT renders the figures of FILE: one JSON [style, options, cls, style name, tags] a line.
import { Resvg } from '@resvg/resvg-js';
import fs from 'node:fs';
import { seed, weighted } from './figures/chance.mjs';
import { HELD_OUT, TRAINED, oddPerson, person, robot, svgOf } from './figures/dicebear.mjs';

const SIZE = 160;

// -- shares in percent ---------------------------------------------------------------------------------------------------
const OTHERS = TRAINED.filter((style) => style !== 'avataaars');
const PEOPLE = { avataaars: 28, drawn: 25, bottts: 8, ...Object.fromEntries(OTHERS.map((style) => [style, 39 / OTHERS.length])) };
const HELD = { odd: 46, ...Object.fromEntries(HELD_OUT.map((style) => [style, 18])) };

// Each split makes its maker of figures: the drawings of our own are loaded only where they are drawn.
const SPLITS = {
  async people() {
    const ours = fs.existsSync(new URL('./figures/people.mjs', import.meta.url)) ? await import('./figures/people.mjs') : null;
    const makers = { drawn: ours?.drawnPerson, bottts: robot };
    const shares = ours ? PEOPLE : { ...PEOPLE, drawn: 0 };
    return () => {
      const style = weighted(shares);
      return makers[style]?.() ?? person(style);
    };
  },
  async icons() {
    const { icon } = await import('./figures/icons.mjs');
    return icon;
  },
  async heldout() {
    return () => {
      const style = weighted(HELD);
      return style === 'odd' ? oddPerson() : person(style);
    };
  },
};

// -- writing -------------------------------------------------------------------------------------------------------------
function write(out, figures) {
  const pixels = fs.openSync(out + '.rgba.tmp', 'w'), lines = fs.openSync(out + '.jsonl', 'w');
  for (const { svg, size = SIZE, cls, group, style, tags } of figures) {
    fs.writeSync(pixels, new Resvg(svg, { fitTo: { mode: 'width', value: size }, font: { loadSystemFonts: false } }).render().pixels);
    fs.writeSync(lines, JSON.stringify({ cls, group, style, tags }) + '\n');
  }
  fs.closeSync(pixels);
  fs.closeSync(lines);
  fs.renameSync(out + '.rgba.tmp', out + '.rgba'); // only whole files have their name
}

function* repeat(maker, count) { for (let i = 0; i < count; i++) yield maker(); }

function* listed(file) {
  for (const line of fs.readFileSync(file, 'utf8').trim().split('\n')) {
    const [name, options, cls, style, tags] = JSON.parse(line);
    yield { svg: svgOf(name, options), size: options.size, cls, group: cls, style, tags };
  }
}

const [split, count, out, seedText] = process.argv.slice(2);
if (split === '--list' && out) {
  write(out, listed(count));
} else if (Object.hasOwn(SPLITS, split ?? '') && out) {
  const maker = await SPLITS[split]();
  seed(seedText ?? out.split('/').pop());
  write(out, repeat(maker, +count));
} else {
  console.error(`usage: node render.mjs ${Object.keys(SPLITS).join('|')} COUNT OUT [SEED]  or  node render.mjs --list FILE OUT`);
  process.exit(2);
}
