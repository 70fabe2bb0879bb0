// The page: keeps what is shown, sends orders, and draws what comes back.

import * as api from "./api.js";
import { Court } from "./court.js";
import { listen } from "./keys.js";
import { actionName, neighbour, other, playerName, SHOOT, teamOf } from "./names.js";
import { basketOf } from "./geometry.js";
import { $, drawBars, drawBoard, drawChips, drawLegend, drawLog, drawQuality, drawVerdict, tally } from "./panels.js";
import { openSetup, prepareSetup } from "./setup.js";

const SPEEDS = [0.25, 0.5, 1, 2, 4, 8];
const TURN_MS = 800;
const KEPT = "basketworld-session";
const ui = { state: null, live: null, pinned: null, orders: {}, playing: false, timer: 0, speed: 2, chances: true, quality: true, chart: false };
const court = new Court($("court"), { onCell: clickCell, onPlayer: clickPlayer });

// What is chosen: a pinned player, else whoever has the ball.
const selected = () => ui.pinned ?? Math.max(0, ui.state.game.holder);
const isMine = (player) => ui.state.teams[teamOf(ui.state, player)].human;
const mayOrder = () => isMine(selected()) && !ui.state.game.ended;
const anyHuman = () => ui.state.teams.A.human || ui.state.teams.B.human;
const turnMs = () => TURN_MS / SPEEDS[ui.speed];

function view() {
  const { state } = ui;
  const player = selected();
  const may = mayOrder() ? state.game.legal[player] : [];
  const isHolder = player === state.game.holder;
  const moves = [0, 1, 2, 3, 4, 5].filter((direction) => may[1 + direction]).map((direction) => neighbour(state.size, state.game.cells[player], direction));
  const passes = Object.entries(state.game.receivers).filter(([action]) => isHolder && may[action]);
  const shown = tally(state.shots, $("chart-team").value);
  return {
    selected: player, moves, passTo: new Map(passes.map(([action, mate]) => [mate, Number(action)])), mayShoot: Boolean(may[SHOOT]),
    orders: ui.orders, showChances: ui.chances, showQuality: ui.quality && !ui.chart, showChart: ui.chart, tally: shown,
  };
}

function render() {
  if (!ui.state) return;
  const shown = view();
  drawBoard(ui.state);
  court.render(ui.state, shown);
  drawChips(ui.state, shown.selected, (player) => choose(player));
  drawBars(ui.state, shown.selected, ui.orders, order);
  drawQuality(ui.state);
  drawLog(ui.state);
  drawVerdict(ui.state);
  drawLegend(ui.chart, shown.tally);
  drawControls();
  drawOrders();
}

function drawControls() {
  const { game } = ui.state;
  $("play").textContent = ui.playing ? "Pause" : "Play";
  $("play").setAttribute("aria-label", ui.playing ? "Pause" : "Play");
  $("back").disabled = $("first").disabled = game.at === 0;
  $("step").disabled = game.ended;
  for (const name of ["chances", "quality", "chart"]) $(`show-${name}`).setAttribute("aria-pressed", ui[name]);
  $("film").href = api.filmOf(ui.state.session);
  document.body.dataset.at = game.at;
  document.body.dataset.episode = game.episode;
}

function drawOrders() {
  $("orders").hidden = !anyHuman();
  if (!anyHuman()) return;
  const given = Object.entries(ui.orders).map(([player, action]) => `${playerName(ui.state, Number(player))}: ${actionName(ui.state, Number(player), action).toLowerCase()}`);
  const ask = ui.state.game.ended ? "The episode is over: begin the next one (N)." : "Choose one of your players, then a marked hexagon, a ringed team-mate, or the basket.";
  $("orders-text").textContent = given.length ? given.join(" · ") : ask;
  $("go").disabled = ui.state.game.ended;
}

function take(state) {
  const turned = !ui.state || state.game.at !== ui.state.game.at || state.game.episode !== ui.state.game.episode;
  if (!ui.state || state.game.episode !== ui.state.game.episode) ui.pinned = null;
  if (turned) ui.orders = {};
  ui.state = state;
  notice("");
  sessionStorage.setItem(KEPT, state.session);
  document.documentElement.style.setProperty("--turn", `${Math.min(500, turnMs() * 0.75)}ms`);
  render();
  schedule();
}

function schedule() {
  clearTimeout(ui.timer);
  if (!ui.playing) return;
  const { ended } = ui.state.game;
  if (ended && !$("play-on").checked) return pause();
  ui.timer = setTimeout(() => send({ type: ended ? "next" : "step" }), ended ? 1.8 * turnMs() + 200 : turnMs());
}

const send = (order) => ui.live?.send(order);

function pause() {
  ui.playing = false;
  clearTimeout(ui.timer);
  render();
}

function play() {
  ui.playing = true;
  const { ended } = ui.state.game;
  render();
  send({ type: ended ? "next" : "step" });
}

function choose(player) {
  if (!ui.state || (player !== null && player >= ui.state.game.cells.length)) return;
  ui.pinned = player === ui.pinned ? null : player;
  render();
}

function order(action) {
  if (!ui.state) return;
  const player = selected();
  const name = playerName(ui.state, player);
  if (ui.state.game.ended) return notice("This episode is over.", "Begin the next one with N.");
  if (!isMine(player)) return notice(`${name} is not yours to play.`, "Take its team over first.");
  if (!ui.state.game.legal[player][action]) return notice(`${name} cannot do that now: ${actionName(ui.state, player, action).toLowerCase()}.`);
  ui.orders[player] = action;
  if ($("at-once").checked) return go();
  const next = ui.state.game.cells.map((_, one) => one).find((one) => isMine(one) && ui.orders[one] === undefined);
  ui.pinned = next ?? player;
  return render();
}

function go() {
  if (!ui.state.game.ended) send({ type: "step", orders: ui.orders });
}

function clickCell(cell) {
  if (!ui.state) return;
  const { size, game } = ui.state;
  const player = selected();
  if (!mayOrder()) return;
  const direction = [0, 1, 2, 3, 4, 5].find((one) => neighbour(size, game.cells[player], one) === cell);
  if (direction !== undefined && game.legal[player][1 + direction]) order(1 + direction);
  else if (cell === basketOf(size) && game.legal[player][SHOOT]) order(SHOOT);
}

function clickPlayer(player) {
  const pass = view().passTo.get(player);
  if (pass !== undefined) order(pass);
  else choose(player);
}

function takeOver(team) {
  pause();
  const human = !ui.state.teams[team].human;
  ui.orders = {};
  if (human && (ui.pinned !== null ? teamOf(ui.state, ui.pinned) : ui.state.game.attacking) !== team) {
    ui.pinned = team === ui.state.game.attacking ? null : ui.state.players;
  }
  send({ type: "control", team, human });
}

function notice(text, hint = "") {
  $("notice").textContent = [text, hint].filter(Boolean).join(" ");
  $("notice").hidden = !text;
}

function setSpeed(value) {
  ui.speed = Math.max(0, Math.min(SPEEDS.length - 1, value));
  $("speed").value = ui.speed;
  $("speed-label").textContent = `${SPEEDS[ui.speed]}×`;
  $("speed").setAttribute("aria-valuetext", `${SPEEDS[ui.speed]} times`);
  if (ui.state) schedule();
}

function toggleTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("basketworld-theme", root.dataset.theme);
}

function show(name) {
  ui[name] = !ui[name];
  render();
}

// Ends what was watched, and watches this session.
function watch(session) {
  ui.live?.end();
  Object.assign(ui, { state: null, pinned: null, orders: {}, playing: false });
  ui.live = new api.Live(session, {
    onState: take,
    onProblem: ({ error, hint }) => { ui.orders = {}; pause(); notice(error, hint); },
    onLost: () => notice("The connection is lost.", "Trying to take the session up again …"),
    onGone: (wasReplaced) => {
      sessionStorage.removeItem(KEPT);
      if (wasReplaced) return notice("This session was opened in another window.", "Choose teams to open another one.");
      notice("");
      openSetup(false);
    },
  });
}

function begin(state) {
  const old = ui.state?.session;
  watch(state.session);
  if (old) api.close(old);
}

const doings = {
  toggle: () => (ui.playing ? pause() : play()),
  step: () => { pause(); if (!ui.state.game.ended) send({ type: "step" }); },
  back: () => { pause(); send({ type: "back" }); },
  replay: () => { ui.playing = true; send({ type: "goto", at: 0 }); },
  next: () => send({ type: "next" }),
  speed: (by) => setSpeed(ui.speed + by),
  choose, order, go,
  chances: () => show("chances"), quality: () => show("quality"), chart: () => show("chart"),
  takeAttack: () => takeOver(ui.state.game.attacking), takeDefence: () => takeOver(other(ui.state.game.attacking)),
  film: () => $("film").click(), theme: toggleTheme, help: () => $("keys").showModal(),
};
// Before a session is there, only these can be done.
const ALWAYS = new Set(["theme", "help", "speed"]);
for (const [name, doing] of Object.entries(doings)) doings[name] = (...given) => (ui.state || ALWAYS.has(name) ? doing(...given) : undefined);

function connectButtons() {
  const buttons = { first: "replay", back: "back", play: "toggle", step: "step", next: "next", "show-chances": "chances", "show-quality": "quality", "show-chart": "chart", theme: "theme", help: "help", go: "go" };
  for (const [id, name] of Object.entries(buttons)) $(id).addEventListener("click", () => doings[name]());
  $("take-a").addEventListener("click", () => ui.state && takeOver("A"));
  $("take-b").addEventListener("click", () => ui.state && takeOver("B"));
  $("speed").addEventListener("input", () => setSpeed(Number($("speed").value)));
  $("chart-team").addEventListener("change", render);
  $("new-match").addEventListener("click", () => { if (ui.state) pause(); openSetup(true); });
  $("seed-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (ui.state) send({ type: "next", seed: Number($("seed").value) });
  });
}

async function main() {
  const theme = localStorage.getItem("basketworld-theme");
  if (theme) document.documentElement.dataset.theme = theme;
  connectButtons();
  listen(doings);
  setSpeed(ui.speed);
  const { run } = await api.start().catch(() => ({ run: null }));
  prepareSetup(run, begin);
  const kept = sessionStorage.getItem(KEPT);
  if (kept) watch(kept);
  else openSetup(false);
  document.body.dataset.ready = "yes";
}

main();
