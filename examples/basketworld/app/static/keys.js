// The keyboard: one table of what each key does, which is also the help.

import { $, element } from "./panels.js";

const MOVES = { d: 0, e: 1, w: 2, a: 3, z: 4, x: 5 };

export const HELP = [
  ["Space", "play or pause"],
  ["→  ←", "one turn forward, one back"],
  ["Home", "replay from the start"],
  ["N", "next episode"],
  ["+  −", "faster, slower"],
  ["1 – 6", "choose a player; 0 follows the ball"],
  ["V  Q  C", "show chances, shot quality, shot chart"],
  ["T", "take over the attackers, or hand them back"],
  ["Y", "take over the defenders, or hand them back"],
  ["W E A D Z X", "move NW, NE, W, E, SW, SE"],
  ["Shift + these", "pass in that direction"],
  ["F", "shoot"],
  ["S", "stay"],
  ["Enter", "play the turn"],
  ["G", "save the episode as GIF"],
  ["L", "light or dark"],
  ["?", "these keys"],
];

export function listen(doings) {
  $("key-list").replaceChildren(...HELP.flatMap(([keys, words]) => [element("dt", { text: keys }), element("dd", { text: words })]));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input, select, textarea")) return;
    const isButton = event.target.closest("button, a") !== null;
    if (isButton && (event.key === " " || event.key === "Enter")) return;
    const doing = meaning(event, doings);
    if (!doing) return;
    event.preventDefault();
    doing();
  });
}

function meaning(event, doings) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key in MOVES) return () => doings.order((event.shiftKey ? 8 : 1) + MOVES[key]);
  if (/^[0-6]$/.test(key)) return () => doings.choose(key === "0" ? null : Number(key) - 1);
  return {
    " ": doings.toggle, ArrowRight: doings.step, ArrowLeft: doings.back, Home: doings.replay, n: doings.next,
    "+": () => doings.speed(1), "=": () => doings.speed(1), "-": () => doings.speed(-1),
    v: doings.chances, q: doings.quality, c: doings.chart, t: doings.takeAttack, y: doings.takeDefence,
    f: () => doings.order(7), s: () => doings.order(0), Enter: doings.go, g: doings.film, l: doings.theme, "?": doings.help,
  }[key];
}
