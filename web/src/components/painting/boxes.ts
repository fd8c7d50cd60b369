/** Boxes in percent of a picture, and how they are moved and resized. */

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}
/** Which edges a handle moves; none: the whole box is moved. */
export type Edges = Partial<Record<keyof Box, true>>;

const LEAST = 4;
const SNAP = 1.2;
const STOPS = [0, 100 / 3, 50, 200 / 3, 100];

const limited = (value: number, least: number, most: number) => Math.min(most, Math.max(least, value));
export const rounded = (value: number) => Math.round(value * 100) / 100;
const snapped = (value: number) => STOPS.find((stop) => Math.abs(stop - value) < SNAP) ?? value;

/** A box moved as a whole or by some of its edges; it stays in the picture. `ratio` is its width by its height, in percent. */
export function changed(box: Box, edges: Edges, dx: number, dy: number, snap: boolean, ratio?: number): Box {
  const near = snap ? snapped : (value: number) => value;
  if (Object.keys(edges).length === 0) {
    const [width, height] = [box.right - box.left, box.bottom - box.top];
    const left = limited(near(box.left + dx), 0, 100 - width);
    const top = limited(near(box.top + dy), 0, 100 - height);
    return all({ left, top, right: left + width, bottom: top + height });
  }
  const next = { ...box };
  if (edges.left) next.left = limited(near(box.left + dx), 0, box.right - LEAST);
  if (edges.right) next.right = limited(near(box.right + dx), box.left + LEAST, 100);
  if (edges.top) next.top = limited(near(box.top + dy), 0, box.bottom - LEAST);
  if (edges.bottom) next.bottom = limited(near(box.bottom + dy), box.top + LEAST, 100);
  return all(ratio ? inRatio(next, edges, ratio) : next);
}

function inRatio(box: Box, edges: Edges, ratio: number): Box {
  const [width, height] = [box.right - box.left, box.bottom - box.top];
  const byWidth = edges.left || edges.right ? !(edges.top || edges.bottom) || width / height > ratio : false;
  const side = byWidth ? width : height * ratio;
  const most = Math.min(side, edges.left ? box.right : 100 - box.left, (edges.top ? box.bottom : 100 - box.top) * ratio);
  return {
    left: edges.left ? box.right - most : box.left,
    right: edges.left ? box.right : box.left + most,
    top: edges.top ? box.bottom - most / ratio : box.top,
    bottom: edges.top ? box.bottom : box.top + most / ratio,
  };
}

const all = (box: Box): Box => ({ left: rounded(box.left), top: rounded(box.top), right: rounded(box.right), bottom: rounded(box.bottom) });

/** The box between two corners, in whichever order. */
export function between(a: [number, number], b: [number, number]): Box {
  const [x, y] = [[a[0], b[0]], [a[1], b[1]]].map((pair) => pair.map((one) => limited(one, 0, 100)).sort((p, q) => p - q)) as [[number, number], [number, number]];
  return changed({ left: x[0], top: y[0], right: x[1], bottom: y[1] }, { right: true, bottom: true }, 0, 0, true);
}

export const isDrawn = (box: Box) => box.right - box.left > LEAST && box.bottom - box.top > LEAST;
