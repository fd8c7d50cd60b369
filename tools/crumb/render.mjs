// Renders figures: node render.mjs SPLIT COUNT OUT [SEED] -> OUT.rgba (COUNT x 160 x 160 x 4 bytes) and OUT.jsonl
//   base     what crumb is trained on: avataaars 68 %, bottts 12 %, open-peeps 10 %, pixel-art 10 %
//   other    styles that only the VAE sees now and then, so that it can draw them
//   heldout  what crumb never sees and the tagger must know: unusual hair, colours, tops, other styles
// Each line of OUT.jsonl: {cls, style, tags}. tags are the truth about the figure in the words of captions.
//   node render.mjs --list FILE OUT renders the figures of FILE: one JSON [style, options, cls, style name, tags] a line.
import * as collection from '@dicebear/collection';
import { createAvatar } from '@dicebear/core';
import { Resvg } from '@resvg/resvg-js';
import fs from 'node:fs';

const SIZE = 160;

// -- colours ---------------------------------------------------------------------------------------------------
const HAIR = { auburn: 'a55728', black: '2c1b18', blonde: 'd6b370', brown: '724133', pink: 'f59797', platinum: 'ecdcbf', red: 'c93305', silver: 'e8e1e1', blue: '3b6fd4', green: '3f9b46', purple: '8a4fbf' };
const SKIN = { dark: '614335', brown: 'ae5d29', tan: 'd08b5b', light: 'edb98a', pale: 'ffdbb4', yellow: 'f8d25c' };
const CLOTH = { black: '262e33', blue: '5199e4', navy: '25557c', white: 'f2f2f2', gray: '929598', cyan: '65c9ff', mint: 'a7ffc4', pink: 'ffafb9', yellow: 'ffe14d', magenta: 'ff488e', red: 'e63946', orange: 'ff8c42', green: '2a9d55', purple: '7b4bb7', brown: '7a4a2b' };
const ROBOT = { yellow: 'fdd835', purple: '8e24aa', red: 'd81b60', blue: '1e88e5', green: '43a047', orange: 'fb8c00', gray: '757575', teal: '00acc1', brown: '6d4c41' };
const INK_CLOTH = { red: 'e78276', orange: 'ffcf77', yellow: 'fdea6b', green: '78e185', cyan: '9ddadb', blue: '8fa7df', pink: 'e279c7' };
const PIXEL_CLOTH = { red: 'd83737', navy: '03396c', cyan: '5bc0de', blue: '428bca', yellow: 'ffd969', mint: '88d8b0', pink: 'ff6f69', white: 'f4f4f4', black: '222222' };
// held out
const ODD_HAIR = { teal: '1f9e9a', lavender: 'b9a3e3', coral: 'ff7a5c' };
const ODD_CLOTH = { teal: '0f8f8c', maroon: '7d1f35', olive: '7c7f2a', lavender: 'b497e7', gold: 'd4a017', lime: 'b6e21e' };
const GLASS = { red: 'e63946', blue: '2f6fe0', white: 'f5f5f5', pink: 'ff6fa8', green: '2a9d55' };

// -- parts of avataaars, and what captions call them ---------------------------------------------------------------
const HATS = { hat: 'fedora hat', hijab: 'hijab', turban: 'turban', winterHat1: 'winter hat', winterHat02: 'bobble hat', winterHat03: 'beanie', winterHat04: 'snow cap' };
const TOPS = { ...HATS, bob: 'bob cut', bun: 'hair bun', curly: 'curly hair', curvy: 'wavy hair', dreads: 'dreadlocks', fro: 'afro', froBand: 'afro with headband', longButNotTooLong: 'medium hair', shavedSides: 'side shave', straight02: 'long hair', straight01: 'long straight hair', straightAndStrand: 'long hair with strand', dreads01: 'short dreads', frizzle: 'frizzy hair', shaggy: 'shaggy hair', shaggyMullet: 'mullet', shortCurly: 'short curly hair', shortFlat: 'flat top', shortRound: 'short round hair', shortWaved: 'short wavy hair', sides: 'balding', theCaesar: 'caesar cut', theCaesarAndSidePart: 'side part', bigHair: 'big hair' };
const CLOTHES = { blazerAndShirt: 'blazer and shirt', blazerAndSweater: 'blazer and sweater', collarAndSweater: 'collared sweater', graphicShirt: 'graphic shirt', hoodie: 'hoodie', overall: 'overalls', shirtCrewNeck: 'crew neck shirt', shirtScoopNeck: 'scoop neck shirt', shirtVNeck: 'v-neck shirt' };
const GRAPHICS = { bat: 'bat', bear: 'bear', deer: 'deer', diamond: 'diamond', pizza: 'pizza', skull: 'skull' };
const GLASSES = { prescription01: 'glasses', prescription02: 'square glasses', round: 'round glasses', sunglasses: 'sunglasses', wayfarers: 'wayfarer sunglasses', kurt: 'white sunglasses' };
const EYES = { closed: 'closed eyes', cry: 'crying', default: null, eyeRoll: 'rolling eyes', happy: 'happy eyes', hearts: 'heart eyes', side: 'looking aside', squint: 'squinting', surprised: 'surprised eyes', wink: 'winking', xDizzy: 'dizzy eyes' };
const MOUTHS = { concerned: 'concerned', default: 'slight smile', disbelief: 'disbelief', eating: 'eating', grimace: 'grimace', sad: 'sad', screamOpen: 'screaming', serious: 'serious', smile: 'big smile', tongue: 'tongue out', twinkle: 'smile' };
const BROWS = { default: null, defaultNatural: null, angry: 'angry', raisedExcited: 'raised eyebrows', sadConcerned: 'worried' };
const BEARDS = { beardLight: 'light beard', beardMajestic: 'long beard', beardMedium: 'beard', moustacheFancy: 'fancy moustache', moustacheMagnum: 'moustache' };
// held out
const ODD_TOPS = { frida: 'hair with flowers', miaWallace: 'blunt bob', dreads02: 'long dreads' };
const ODD_GRAPHICS = { cumbia: 'boombox', hola: 'hola', resist: 'resist' };

const FRAME_HEADS = { round01: 'round head', round02: 'round head', square01: 'square head', square02: 'square head', square03: 'square head', square04: 'square head' };

// -- chance: one generator, seeded, so that a split is the same each time it is made --------------------------------
let state = 7;
const seed = (text) => { state = [...text].reduce((a, ch) => (a * 31 + ch.charCodeAt(0)) >>> 0, 7); };
const chance = () => { state = (state * 1664525 + 1013904223) >>> 0; return state / 4294967296; };
const pick = (list) => list[Math.floor(chance() * list.length)];
const key = (table) => pick(Object.keys(table));
const words = (name) => name.replace(/([A-Z])/g, ' $1').replace(/\d+/g, '').toLowerCase();
const options = (style) => collection[style].schema.properties;
const part = (style, name) => pick(options(style)[name].items.enum);

// -- figures: [dicebear style, its options, class, style in captions, tags] -----------------------------------------
function avataaars({ top, hair, hairHex, skin, clothing, cloth, clothHex, eyes, mouth, brows, glasses, glassHex, beard, graphic, hatHex }) {
  return {
    size: SIZE, top: [top], topProbability: 100, hairColor: [hairHex ?? HAIR[hair]], skinColor: [SKIN[skin]],
    clothing: [clothing], clothesColor: [clothHex ?? CLOTH[cloth]], eyes: [eyes], mouth: [mouth], eyebrows: [brows], hatColor: [hatHex],
    accessories: glasses ? [glasses] : [], accessoriesProbability: glasses ? 100 : 0, accessoriesColor: [glassHex ?? '262e33'],
    facialHair: beard ? [beard] : [], facialHairProbability: beard ? 100 : 0, facialHairColor: [hairHex ?? HAIR[hair]],
    clothingGraphic: graphic ? [graphic] : [], style: ['default'], backgroundColor: ['transparent'],
  };
}

function person() {
  const top = key(TOPS), hair = key(HAIR), skin = key(SKIN), clothing = key(CLOTHES), cloth = key(CLOTH);
  const eyes = chance() < 0.45 ? 'default' : key(EYES);
  const mouth = chance() < 0.5 ? pick(['default', 'smile', 'twinkle']) : key(MOUTHS);
  const brows = chance() < 0.6 ? 'default' : key(BROWS);
  const hat = key(CLOTH);
  const glasses = chance() < 0.3 ? key(GLASSES) : null, beard = chance() < 0.2 ? key(BEARDS) : null;
  const graphic = clothing === 'graphicShirt' ? key(GRAPHICS) : null;
  const o = { seed: 's' + chance(), ...avataaars({ top, hair, skin, clothing, cloth, eyes, mouth, brows, glasses, beard, graphic, hatHex: CLOTH[hat] }) };
  const tags = [`${top in HATS ? hat : hair} ${TOPS[top]}`, `${skin} skin`, graphic ? `${cloth} shirt with ${GRAPHICS[graphic]}` : `${cloth} ${CLOTHES[clothing]}`];
  const more = [GLASSES[glasses], beard && `${hair} ${BEARDS[beard]}`, EYES[eyes], MOUTHS[mouth], BROWS[brows]];
  return ['avataaars', o, 'person', 'flat', [...tags, ...more.filter(Boolean)]];
}

function robot() {
  const colour = key(ROBOT), face = part('bottts', 'face'), eyes = part('bottts', 'eyes'), mouth = part('bottts', 'mouth'), top = part('bottts', 'top');
  const o = { seed: 's' + chance(), size: SIZE, baseColor: [ROBOT[colour]], face: [face], eyes: [eyes], mouth: [mouth], top: [top] };
  const tags = [`${colour} robot`, FRAME_HEADS[face], `${words(eyes)} eyes`.replace('eyes eyes', 'eyes'), `${words(mouth)} mouth`, `${words(top)} on top`];
  return ['bottts', o, 'robot', 'flat', tags];
}

function ink() {
  const head = part('openPeeps', 'head'), face = part('openPeeps', 'face'), cloth = key(INK_CLOTH), skin = key(SKIN);
  const accessory = chance() < 0.3 ? part('openPeeps', 'accessories') : null;
  const o = { seed: 's' + chance(), size: SIZE, head: [head], face: [face], clothingColor: [INK_CLOTH[cloth]], skinColor: [SKIN[skin]], accessories: accessory ? [accessory] : [], accessoriesProbability: accessory ? 100 : 0, maskProbability: 0 };
  const tags = [`${words(head)} hair`.replace('hijab hair', 'hijab'), `${skin} skin`, `${cloth} shirt`, words(face)];
  return ['openPeeps', o, 'person', 'ink', accessory ? [...tags, words(accessory)] : tags];
}

function pixel() {
  const hair = key(HAIR), skin = key(SKIN), cloth = key(PIXEL_CLOTH), shape = part('pixelArt', 'hair');
  const glasses = chance() < 0.25, hat = chance() < 0.2;
  const o = { seed: 's' + chance(), size: SIZE, hair: [shape], hairColor: [HAIR[hair]], skinColor: [SKIN[skin]], clothingColor: [PIXEL_CLOTH[cloth]], glassesProbability: glasses ? 100 : 0, hatProbability: hat ? 100 : 0, beardProbability: 0, accessoriesProbability: 0 };
  const tags = [`${hair} ${shape.startsWith('long') ? 'long' : 'short'} hair`, `${skin} skin`, `${cloth} shirt`];
  return ['pixelArt', o, 'person', 'pixel', tags.concat(glasses ? ['glasses'] : [], hat ? ['hat'] : [])];
}

function base() {
  const r = chance();
  return r < 0.68 ? person() : r < 0.8 ? robot() : r < 0.9 ? ink() : pixel();
}

const OTHER = ['toonHead', 'personas', 'micah', 'adventurer', 'bigSmile', 'bigEars', 'lorelei', 'notionists', 'miniavs'];

function other() {
  const style = pick(OTHER);
  return [style, { seed: 's' + chance(), size: SIZE }, 'person', style, []];
}

// -- held out ---------------------------------------------------------------------------------------------------------
function oddPerson() {
  const oddHair = chance() < 0.4, oddCloth = chance() < 0.5, oddTop = chance() < 0.6;
  const tops = oddTop ? ODD_TOPS : TOPS, hairs = oddHair ? ODD_HAIR : HAIR, cloths = oddCloth ? ODD_CLOTH : CLOTH;
  const top = key(tops), hair = key(hairs), skin = key(SKIN), clothing = key(CLOTHES), cloth = key(cloths);
  const eyes = chance() < 0.45 ? 'default' : key(EYES);
  const mouth = chance() < 0.5 ? pick(['default', 'smile', 'twinkle']) : key(MOUTHS);
  const brows = chance() < 0.6 ? 'default' : key(BROWS);
  const hat = key(CLOTH), r = chance();
  const glasses = r < 0.3 ? 'eyepatch' : r < 0.7 ? pick(['prescription01', 'prescription02', 'round']) : null;
  const tint = glasses && glasses !== 'eyepatch' ? key(GLASS) : null;
  const beard = chance() < 0.15 ? key(BEARDS) : null;
  const graphics = chance() < 0.5 ? ODD_GRAPHICS : GRAPHICS, graphic = clothing === 'graphicShirt' ? key(graphics) : null;
  const o = { seed: 's' + chance(), ...avataaars({ top, hairHex: hairs[hair], skin, clothing, clothHex: cloths[cloth], eyes, mouth, brows, glasses, glassHex: GLASS[tint], beard, graphic, hatHex: CLOTH[hat] }) };
  const tags = [`${top in HATS ? hat : hair} ${tops[top]}`, `${skin} skin`, graphic ? `${cloth} shirt with ${graphics[graphic]}` : `${cloth} ${CLOTHES[clothing]}`];
  const more = [glasses && (tint ? `${tint} ${GLASSES[glasses]}` : 'eyepatch'), beard && `${hair} ${BEARDS[beard]}`, EYES[eyes], MOUTHS[mouth], BROWS[brows]];
  return ['avataaars', o, 'person', 'flat', [...tags, ...more.filter(Boolean)]];
}

// A style's own names for what colours it can be given; each becomes a tag, as far as the style knows it.
const TINTS = {
  adventurer: { hair: 'hairColor', skin: 'skinColor' },
  bigSmile: { hair: 'hairColor', skin: 'skinColor' },
  micah: { hair: 'hairColor', skin: 'baseColor', cloth: 'shirtColor' },
  personas: { hair: 'hairColor', skin: 'skinColor', cloth: 'clothingColor' },
  toonHead: { hair: 'hairColor', skin: 'skinColor', cloth: 'clothesColor' },
  lorelei: {}, notionists: {}, bigEars: {}, miniavs: {},
};
const HATLIKE = /mrClean|turban|bald|cap|beanie|shaved/;

function tinted(style, { hair, skin, cloth, shape, glasses }) {
  const tints = TINTS[style], o = { size: SIZE }, tags = [];
  if (shape) { o.hair = [shape]; o.hairProbability = 100; }
  if (tints.hair) { o.hairColor = [HAIR[hair]]; if (!HATLIKE.test(shape ?? '')) tags.push(`${hair} hair`); }
  if (tints.skin) { o.skinColor = o.baseColor = [SKIN[skin]]; tags.push(`${skin} skin`); }
  if (tints.cloth) { o[tints.cloth] = [CLOTH[cloth]]; tags.push(`${cloth} shirt`); }
  if (style === 'adventurer') {
    o.glassesProbability = glasses ? 100 : 0;
    tags[0] = `${hair} ${shape.startsWith('long') ? 'long' : 'short'} hair`;
    if (glasses) tags.push('glasses');
  }
  return [o, tags];
}

function otherStyle() {
  const style = chance() < 0.3 ? 'adventurer' : pick(OTHER);
  const shape = options(style).hair?.items?.enum ? part(style, 'hair') : null;
  const [o, tags] = tinted(style, { hair: key(HAIR), skin: key(SKIN), cloth: key(CLOTH), shape, glasses: chance() < 0.3 });
  return [style, { seed: 's' + chance(), ...o }, 'person', style, tags];
}

const heldout = () => (chance() < 0.6 ? oddPerson() : otherStyle());

// -- writing ------------------------------------------------------------------------------------------------------------
function write(out, figures) {
  const pixels = fs.openSync(out + '.rgba.tmp', 'w'), lines = fs.openSync(out + '.jsonl', 'w');
  for (const [style, o, cls, name, tags] of figures) {
    const svg = createAvatar(collection[style], o).toString();
    fs.writeSync(pixels, new Resvg(svg, { fitTo: { mode: 'width', value: o.size ?? SIZE } }).render().pixels);
    fs.writeSync(lines, JSON.stringify({ cls, style: name, tags }) + '\n');
  }
  fs.closeSync(pixels);
  fs.renameSync(out + '.rgba.tmp', out + '.rgba'); // only whole files have their name
}

function* repeat(maker, count) { for (let i = 0; i < count; i++) yield maker(); }

const [split, count, out, seedText] = process.argv.slice(2);
if (split === '--list') {
  write(out, fs.readFileSync(count, 'utf8').trim().split('\n').map((line) => JSON.parse(line)));
} else if ({ base, other, heldout }[split] && out) {
  seed(seedText ?? out.split('/').pop());
  write(out, repeat({ base, other, heldout }[split], +count));
} else {
  console.error('usage: node render.mjs base|other|heldout COUNT OUT [SEED]  or  node render.mjs --list FILE OUT');
  process.exit(2);
}
