// Draws the court and what happens on it.

import { basketOf, between, bounds, centre, corner, distance, hexagon, SIDE } from "./geometry.js";
import { DIRECTIONS, neighbour, PASS, playerName, SHOOT, teamOf } from "./names.js";

const NS = "http://www.w3.org/2000/svg";

function add(parent, name, attributes = {}, text = "") {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  parent.append(element);
  return element;
}

const place = (element, { x, y }) => { element.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`; };
const percent = (value) => `${Math.round(100 * value)}`;

export class Court {
  // `onCell` and `onPlayer` are told what was clicked.
  constructor(svg, { onCell, onPlayer }) {
    Object.assign(this, { svg, onCell, onPlayer, drawn: "" });
  }

  render(state, view) {
    this.build(state);
    this.drawChart(state, view);
    this.drawOptions(state, view);
    this.drawArrows(state, view);
    this.drawPlayers(state, view);
    this.svg.setAttribute("aria-label", this.words(state));
  }

  words(state) {
    const where = state.game.cells.map((cell, player) =>
      `${playerName(state, player)} ${distance(state.size, cell, basketOf(state.size))} from the basket`);
    return `The court. ${playerName(state, state.game.holder)} has the ball. ${where.join(", ")}.`;
  }

  build(state) {
    const kind = `${state.size}/${state.three_distance}/${state.players}`;
    if (this.drawn === kind) return;
    this.drawn = kind;
    this.svg.replaceChildren();
    this.svg.setAttribute("viewBox", bounds(state.size));
    this.floor(state);
    for (const layer of ["options", "arrows", "marks"]) this[layer] = add(this.svg, "g", { class: layer });
    this.people = Array.from({ length: 2 * state.players }, (_, player) => this.person(player));
    this.ball = this.makeBall();
    for (const layer of ["labels", "chart"]) this[layer] = add(this.svg, "g", { class: layer });
  }

  floor({ size, three_distance: three }) {
    const defs = add(this.svg, "defs");
    const planks = add(defs, "pattern", { id: "planks", width: 260, height: 72, patternUnits: "userSpaceOnUse" });
    for (const [index, tone] of ["p0", "p1", "p2", "p3"].entries()) {
      add(planks, "rect", { class: tone, x: 0, y: 18 * index, width: 260, height: 18 });
      add(planks, "line", { class: "joint", x1: (index * 97) % 260, x2: (index * 97) % 260, y1: 18 * index, y2: 18 * index + 18 });
    }
    const arrow = add(defs, "marker", { id: "tip", viewBox: "0 0 10 10", refX: 6, refY: 5, markerWidth: 2.6, markerHeight: 2.6, orient: "auto-start-reverse" });
    add(arrow, "path", { d: "M0 0 10 5 0 10z", class: "tip" });
    const floor = add(this.svg, "g", { class: "floor" });
    const basket = basketOf(size);
    this.hexes = Array.from({ length: size * size }, (_, cell) => {
      const far = distance(size, cell, basket);
      const lane = far < three && Math.abs(Math.floor(cell / size) - Math.floor(size / 2)) <= 1;
      const hex = add(floor, "polygon", { points: hexagon(centre(size, cell), 1.005), class: `hex${lane ? " lane" : ""}${far >= three ? " far" : ""}`, fill: "url(#planks)", "data-cell": cell });
      hex.addEventListener("click", () => this.onCell(cell));
      return hex;
    });
    for (let cell = 0; cell < size * size; cell += 1) this.tints(floor, size, three, basket, cell);
    this.line(floor, size, (cell) => distance(size, cell, basket) < three, "three", false);
    this.line(floor, size, () => true, "edge", true);
    this.hoop(floor, centre(size, basket), basket);
  }

  tints(floor, size, three, basket, cell) {
    const lane = distance(size, cell, basket) < three && Math.abs(Math.floor(cell / size) - Math.floor(size / 2)) <= 1;
    add(floor, "polygon", { points: hexagon(centre(size, cell)), class: lane ? "tint lane" : "tint" });
  }

  // Draws the border of a set of cells; side k of a hexagon faces its neighbour in direction k.
  line(parent, size, inside, name, atEdge) {
    const parts = [];
    for (let cell = 0; cell < size * size; cell += 1) {
      for (let direction = 0; inside(cell) && direction < 6; direction += 1) {
        const next = neighbour(size, cell, direction);
        if (next < 0 ? !atEdge : inside(next)) continue;
        const [from, to] = [6 - direction - 1, 6 - direction].map((index) => corner(centre(size, cell), index % 6));
        parts.push(`M${from.x.toFixed(1)} ${from.y.toFixed(1)}L${to.x.toFixed(1)} ${to.y.toFixed(1)}`);
      }
    }
    add(parent, "path", { d: parts.join(""), class: name });
  }

  hoop(parent, at, cell) {
    this.basket = add(parent, "g", { class: "hoop" });
    place(this.basket, at);
    add(this.basket, "line", { class: "backboard", x1: -21, x2: -21, y1: -22, y2: 22 });
    add(this.basket, "line", { class: "arm", x1: -21, x2: -13, y1: 0, y2: 0 });
    add(this.basket, "circle", { class: "rim", r: 13 });
    this.basket.addEventListener("click", () => this.onCell(cell));
  }

  person(player) {
    const group = add(this.svg, "g", { class: "player" });
    add(group, "ellipse", { class: "shade", cx: 2, cy: 5, rx: 25, ry: 24 });
    add(group, "circle", { class: "ring", r: 31 });
    add(group, "circle", { class: "disc", r: 24 });
    add(group, "text", { class: "number", "text-anchor": "middle", dy: "0.36em" });
    group.addEventListener("click", () => this.onPlayer(player));
    return group;
  }

  makeBall() {
    const ball = add(this.svg, "g", { class: "ball" });
    add(ball, "circle", { r: 12 });
    add(ball, "path", { d: "M-12 0H12M0 -12V12M-8.500 -8.500C-3 -3 -3 3 -8.500 8.500M8.500 -8.500C3 -3 3 3 8.500 8.500" });
    return ball;
  }

  drawPlayers(state, view) {
    state.game.cells.forEach((cell, player) => {
      const group = this.people[player];
      const classes = ["player", teamOf(state, player) === "A" ? "a" : "b"];
      if (player === view.selected) classes.push("selected");
      if (view.passTo.has(player)) classes.push("mate");
      if (view.orders[player] !== undefined) classes.push("ordered");
      group.setAttribute("class", classes.join(" "));
      group.querySelector(".number").textContent = (player % state.players) + 1;
      place(group, centre(state.size, cell));
    });
    this.moveBall(state);
    this.drawLabels(state, view);
  }

  moveBall({ game, size }) {
    const hoop = centre(size, basketOf(size));
    const holder = centre(size, game.cells[Math.max(0, game.holder)]);
    const at = { true: hoop, false: { x: hoop.x + 46, y: hoop.y + 58 } }[String(game.event?.made)];
    place(this.ball, at ?? { x: holder.x + 20, y: holder.y + 18 });
    this.ball.classList.toggle("shot", at !== undefined);
  }

  // Expected points above each attacker.
  drawLabels(state, view) {
    this.labels.replaceChildren();
    if (!view.showQuality) return;
    for (const { player, cell, expected } of state.game.quality) {
      const group = add(this.labels, "g", { class: "worth" });
      place(group, this.freeSpot(state, cell, player === view.selected && view.showChances ? 58 : 40));
      add(group, "rect", { x: -24, y: -12, width: 48, height: 22, rx: 11, class: teamOf(state, player) === "A" ? "a" : "b" });
      add(group, "text", { "text-anchor": "middle", dy: "0.3em" }, expected.toFixed(2));
    }
  }

  // Above a player, or below where others would be covered.
  freeSpot(state, cell, off) {
    const { x, y } = centre(state.size, cell);
    const spots = [{ x, y: y - off }, { x, y: y + off + 2 }, { x, y: y - 40 }, { x, y: y + 42 }];
    const covers = (spot, one) => one !== cell && Math.abs(centre(state.size, one).x - spot.x) < 49 && Math.abs(centre(state.size, one).y - spot.y) < 37;
    const lowest = 1.5 * SIDE * state.size - 6; // below it the picture ends
    return spots.find((spot) => spot.y < lowest && !state.game.cells.some((one) => covers(spot, one))) ?? spots[0];
  }

  // Hexagons that the chosen player may be sent to.
  drawOptions(state, view) {
    this.options.replaceChildren();
    this.basket.classList.toggle("may", view.mayShoot);
    for (const cell of view.moves) {
      const hex = add(this.options, "polygon", { points: hexagon(centre(state.size, cell), 0.86), class: `option ${teamOf(state, view.selected) === "A" ? "a" : "b"}` });
      hex.addEventListener("click", () => this.onCell(cell));
    }
    this.marks.replaceChildren();
    for (const [player, action] of Object.entries(view.orders)) this.drawOrder(state, Number(player), action);
  }

  drawOrder(state, player, action) {
    const from = centre(state.size, state.game.cells[player]);
    const cell = this.target(state, player, action);
    if (cell >= 0) add(this.marks, "line", { class: "order", ...ends(between(from, centre(state.size, cell), 0.3), between(from, centre(state.size, cell), 0.92)) });
  }

  target(state, player, action) {
    if (action === SHOOT) return basketOf(state.size);
    if (action >= PASS) return state.game.cells[state.game.receivers[action]] ?? -1;
    return action > 0 ? neighbour(state.size, state.game.cells[player], action - 1) : -1;
  }

  // The chosen player's chances: an arrow a move or pass, a ring for the shot.
  drawArrows(state, view) {
    this.arrows.replaceChildren();
    this.standing = state.game.cells.map((cell) => centre(state.size, cell));
    const chances = view.showChances ? state.game.chances?.[view.selected] : undefined;
    if (!chances) return;
    const team = teamOf(state, view.selected) === "A" ? "a" : "b";
    const from = centre(state.size, state.game.cells[view.selected]);
    chances.forEach((chance, action) => {
      if (chance < 0.01 || action === 0) return;
      if (action === SHOOT) this.ring(from, chance, team);
      else this.arrow(from, this.aim(state, view.selected, action), chance, `${team}${action >= PASS ? " pass" : ""}`);
    });
  }

  aim(state, player, action) {
    const from = centre(state.size, state.game.cells[player]);
    const cell = this.target(state, player, action);
    if (cell >= 0) return between(from, centre(state.size, cell), action >= PASS ? 0.9 : 1);
    const angle = -(Math.PI / 3) * ((action - (action >= PASS ? PASS : 1)) % DIRECTIONS.length);
    return { x: from.x + 2 * SIDE * Math.cos(angle), y: from.y + 2 * SIDE * Math.sin(angle) };
  }

  arrow(from, to, chance, name) {
    const long = Math.hypot(to.x - from.x, to.y - from.y) || 1;
    const line = add(this.arrows, "line", { class: `arrow ${name}`, ...ends(between(from, to, 30 / long), between(from, to, 1 - 8 / long)) });
    line.setAttribute("stroke-width", (2.5 + 11 * chance).toFixed(1));
    line.setAttribute("opacity", (0.45 + 0.55 * chance).toFixed(2));
    if (chance < 0.08 || (name.includes("pass") && long < 2.6 * SIDE) || this.isTaken(to)) return;
    const label = name.includes("pass") ? between(from, to, 0.55) : between(from, to, 1 + 9 / long);
    add(this.arrows, "text", { class: "share", x: label.x, y: label.y, "text-anchor": "middle", dy: "0.35em" }, percent(chance));
  }

  // Whether a player stands there: a label would lie under it.
  isTaken(at) {
    return this.standing.some(({ x, y }) => Math.hypot(x - at.x, y - at.y) < SIDE / 2);
  }

  ring(at, chance, team) {
    const around = 2 * Math.PI * 36;
    const ring = add(this.arrows, "circle", { class: `shoot ${team}`, cx: at.x, cy: at.y, r: 36 });
    ring.setAttribute("stroke-dasharray", `${(around * chance).toFixed(1)} ${around.toFixed(1)}`);
    ring.setAttribute("transform", `rotate(-90 ${at.x} ${at.y})`);
  }

  drawChart(state, view) {
    this.chart.replaceChildren();
    this.svg.classList.toggle("charted", view.showChart);
    if (!view.showChart) return;
    for (const [cell, { made, taken }] of view.tally) {
      const middle = centre(state.size, cell);
      const hex = add(this.chart, "polygon", { points: hexagon(middle, Math.min(0.92, 0.42 + 0.17 * Math.sqrt(taken))), class: "spot" });
      hex.style.setProperty("--made", `${Math.round((100 * made) / taken)}%`);
      add(hex, "title", {}, `${made} of ${taken} made`);
      add(this.chart, "text", { class: "spot-text", x: middle.x, y: middle.y, "text-anchor": "middle", dy: "0.36em" }, `${made}/${taken}`);
    }
  }
}

const ends = (from, to) => ({ x1: from.x.toFixed(1), y1: from.y.toFixed(1), x2: to.x.toFixed(1), y2: to.y.toFixed(1) });
