// Chance: one generator, seeded, so that a split is the same each time it is made.
let state = 7;
export const seed = (text) => { state = [...text].reduce((a, ch) => (a * 31 + ch.charCodeAt(0)) >>> 0, 7); };
export const chance = () => { state = (state * 1664525 + 1013904223) >>> 0; return state / 4294967296; };
export const pick = (list) => list[Math.floor(chance() * list.length)];
export const key = (table) => pick(Object.keys(table));
