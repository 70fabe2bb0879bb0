// Fills the panels beside the court.

import { ACTIONS, actionName, other, playerName, teamOf } from "./names.js";

export const $ = (id) => document.getElementById(id);

export function element(name, { text, children = [], ...properties } = {}) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

const percent = (value) => `${(100 * value).toFixed(value < 0.1 && value > 0 ? 1 : 0)} %`;

function bar(share, name) {
  const fill = element("div", { className: `fill ${name}` });
  fill.style.width = `${Math.min(100, 100 * share)}%`;
  return element("div", { className: "track", children: [fill] });
}

export function drawBoard(state) {
  const { game } = state;
  for (const team of ["A", "B"]) {
    const key = team.toLowerCase();
    $(`name-${key}`).textContent = `${team} · ${state.teams[team].name}`;
    $(`name-${key}`).title = state.teams[team].name;
    $(`role-${key}`).textContent = game.attacking === team ? "attacks" : "defends";
    $(`points-${key}`).textContent = state.points[team];
    const take = $(`take-${key}`);
    take.setAttribute("aria-pressed", state.teams[team].human);
    take.textContent = state.teams[team].human ? `Hand ${team} back` : `Play as ${team}`;
  }
  $("episode").textContent = `Episode ${game.episode + 1}`;
  $("turn").textContent = `turn ${game.at} of ${game.length} · seed ${game.seed}`;
  $("wins").textContent = `episodes won ${state.wins.A} : ${state.wins.B}`;
  $("clock-label").textContent = game.clock;
  $("clock-bar").style.width = `${(100 * game.clock) / state.shot_clock}%`;
  $("clock-bar").classList.toggle("low", game.clock <= 5);
  if (document.activeElement !== $("seed")) $("seed").value = game.seed;
}

export function drawChips(state, selected, onChoose) {
  $("chips").replaceChildren(...state.game.cells.map((_, player) => {
    const chip = element("button", { text: playerName(state, player), className: teamOf(state, player).toLowerCase() });
    if (player === state.game.holder) chip.append(element("span", { text: " ●", className: "has", title: "has the ball" }));
    chip.setAttribute("aria-pressed", player === selected);
    chip.dataset.player = player;
    chip.addEventListener("click", () => onChoose(player));
    return chip;
  }));
  $("chosen").textContent = playerName(state, selected);
}

export function drawBars(state, selected, orders, onOrder) {
  const legal = state.game.legal[selected];
  const chances = state.game.chances?.[selected] ?? ACTIONS.map(() => 0);
  const mine = state.teams[teamOf(state, selected)].human;
  const shown = ACTIONS.map((_, action) => action).filter((action) => legal[action]).sort((one, two) => chances[two] - chances[one]);
  const rows = shown.map((action) => actionRow(state, selected, action, chances[action], mine, orders, onOrder));
  $("bars").replaceChildren(...(rows.length ? rows : [element("li", { text: "The episode is over.", className: "quiet" })]));
  $("bars").classList.toggle("mine", mine);
}

function actionRow(state, selected, action, chance, mine, orders, onOrder) {
  const label = actionName(state, selected, action);
  const children = [element("span", { text: label, className: "label" }), bar(chance, teamOf(state, selected).toLowerCase()), element("span", { text: percent(chance), className: "value" })];
  if (!mine) return element("li", { children: [element("div", { className: "row", children })] });
  const button = element("button", { className: "row", children, title: `Order: ${label}` });
  button.dataset.action = action;
  button.setAttribute("aria-pressed", orders[selected] === action);
  button.addEventListener("click", () => onOrder(action));
  return element("li", { children: [button] });
}

export function drawQuality(state) {
  const rows = state.game.quality.map(({ player, points, open, chance, pressure, expected }) => {
    const name = playerName(state, player);
    const team = teamOf(state, player).toLowerCase();
    const detail = `${points} pts × ${percent(chance)}` + (pressure > 0.005 ? ` (open ${percent(open)}, pressure −${percent(pressure)})` : " (open)");
    return element("li", { children: [
      element("div", { className: "row", children: [element("b", { text: name, className: team }), bar(expected / 2, team), element("span", { text: expected.toFixed(2), className: "value" })] }),
      element("small", { text: detail }),
    ] });
  });
  $("quality").replaceChildren(...(rows.length ? rows : [element("li", { text: "The episode is over.", className: "quiet" })]));
}

let logged = "";

export function drawLog(state) {
  const kept = JSON.stringify(state.log);
  if (kept === logged) return;
  logged = kept;
  $("log").replaceChildren(...state.log.map(({ at, text, kind, team }) => element("li", {
    className: `${kind} ${team ? team.toLowerCase() : ""}`,
    children: [element("span", { text: at, className: "at", title: `turn ${at}` }), element("span", { text })],
  })));
  $("log").lastElementChild?.scrollIntoView?.({ block: "nearest" });
  $("log").scrollTop = $("log").scrollHeight;
}

export function drawVerdict(state) {
  const { game } = state;
  const verdict = $("verdict");
  verdict.hidden = !game.ended;
  if (!game.ended || !game.event) return;
  const attackers = game.attacking;
  const words = { made: `+${game.event.points} for ${attackers}`, missed: "Missed", stolen: "Stolen", out: "Out of bounds", intercepted: "Intercepted", clock: "Shot clock", lane: `+1 for ${attackers}: illegal defence` };
  verdict.textContent = words[game.event.ending] ?? "Over";
  verdict.className = `verdict ${(game.event.points > 0 ? attackers : other(attackers)).toLowerCase()}`;
}

export function tally(shots, team) {
  const cells = new Map();
  for (const shot of shots.filter((one) => team === "AB" || one.team === team)) {
    const spot = cells.get(shot.cell) ?? { made: 0, taken: 0 };
    cells.set(shot.cell, { made: spot.made + (shot.made ? 1 : 0), taken: spot.taken + 1 });
  }
  return cells;
}

export function drawLegend(shown, cells) {
  $("legend").hidden = !shown;
  $("facts").hidden = shown;
  const spots = [...cells.values()];
  const [made, taken] = ["made", "taken"].map((key) => spots.reduce((sum, spot) => sum + spot[key], 0));
  $("chart-sum").textContent = taken ? `${made} of ${taken} (${Math.round((100 * made) / taken)} %)` : "no shots yet";
}
