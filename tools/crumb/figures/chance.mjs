// Chance: one generator for all figures, seeded, so that a split is the same each time it is made.
let state = 7;

/** Start again from a text. */
export const seed = (text) => { state = [...text].reduce((a, ch) => (Math.imul(a, 31) + ch.charCodeAt(0)) >>> 0, 7); };

/** A number in [0, 1): mulberry32, whose successive numbers do not depend on each other. */
export function chance() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

export const pick = (list) => list[Math.floor(chance() * list.length)];
export const key = (table) => pick(Object.keys(table));

/** A key of {key: weight}. */
export function weighted(table) {
  let rest = chance() * Object.values(table).reduce((a, b) => a + b, 0);
  for (const [name, weight] of Object.entries(table)) if ((rest -= weight) < 0) return name;
  return Object.keys(table).at(-1);
}
