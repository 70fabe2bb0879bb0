// Where things lie on the court, in the picture's own units: a hexagon's side is 40.

export const SIDE = 40;
const WIDE = Math.sqrt(3) * SIDE;

export function centre(size, cell) {
  const row = Math.floor(cell / size);
  return { x: WIDE * ((cell % size) + 0.5 * (row & 1)), y: 1.5 * SIDE * row };
}

export function corner({ x, y }, index, scale = 1) {
  const angle = (Math.PI / 180) * (30 + 60 * index);
  return { x: x + SIDE * scale * Math.cos(angle), y: y + SIDE * scale * Math.sin(angle) };
}

export function hexagon(middle, scale = 1) {
  return [0, 1, 2, 3, 4, 5].map((index) => corner(middle, index, scale)).map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
}

export function bounds(size) {
  const margin = 0.35 * SIDE;
  const left = -WIDE / 2 - margin - 10;
  const top = -SIDE - margin;
  return [left, top, WIDE * (size + 0.5) + 2 * margin + 10, SIDE * (1.5 * size + 0.5) + 2 * margin].map((value) => value.toFixed(1)).join(" ");
}

function axial(size, cell) {
  const row = Math.floor(cell / size);
  return [(cell % size) - (row - (row & 1)) / 2, row];
}

export function distance(size, one, two) {
  const [q, r] = axial(size, one);
  const [s, t] = axial(size, two);
  return (Math.abs(q - s) + Math.abs(q + r - s - t) + Math.abs(r - t)) / 2;
}

export const basketOf = (size) => Math.floor(size / 2) * size;

// A point a share of the way from one to another.
export const between = (one, two, share) => ({ x: one.x + (two.x - one.x) * share, y: one.y + (two.y - one.y) * share });
