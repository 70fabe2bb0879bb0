// What players and actions are called, and how they lie on the court.

export const DIRECTIONS = ["E", "NE", "NW", "W", "SW", "SE"];
export const SHOOT = 7;
export const PASS = 8;
export const ACTIONS = ["Stay", ...DIRECTIONS.map((d) => `Move ${d}`), "Shoot", ...DIRECTIONS.map((d) => `Pass ${d}`)];

export const other = (team) => (team === "A" ? "B" : "A");

export function teamOf(state, player) {
  return player < state.players ? state.game.attacking : other(state.game.attacking);
}

export function playerName(state, player) {
  return `${teamOf(state, player)}${(player % state.players) + 1}`;
}

// An action of a player in words; a pass names who would get it.
export function actionName(state, player, action) {
  const mate = action >= PASS ? state.game.receivers[action] : undefined;
  const isHolder = player === state.game.holder;
  return isHolder && mate !== undefined ? `Pass to ${playerName(state, mate)} (${DIRECTIONS[action - PASS]})` : ACTIONS[action];
}

export function neighbour(size, cell, direction) {
  const row = Math.floor(cell / size);
  const column = cell % size;
  const odd = row & 1;
  const [down, right] = [[0, 1], [-1, odd], [-1, odd - 1], [0, -1], [1, odd - 1], [1, odd]][direction];
  const [r, c] = [row + down, column + right];
  return r < 0 || r >= size || c < 0 || c >= size ? -1 : r * size + c;
}
