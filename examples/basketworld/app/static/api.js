// Talks to the server: requests, and the live connection that takes itself up again.

export class Refused extends Error {
  constructor(status, { error, hint } = {}) {
    super(error || `The server answered ${status}.`);
    this.status = status;
    this.hint = hint || "";
  }
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refused(0, { error: "The server cannot be reached.", hint: "is the command still running?" });
  }
  const body = response.status === 204 ? null : await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

export const start = () => ask("/api/start");
export const runs = (search) => ask(`/api/runs?search=${encodeURIComponent(search)}`);
export const policies = (run) => ask(`/api/runs/${encodeURIComponent(run)}/policies`);
export const open = (wanted) =>
  ask("/api/sessions", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(wanted) });
export const close = (session) => ask(`/api/sessions/${session}`, { method: "DELETE" }).catch(() => {});
export const filmOf = (session) => `/api/sessions/${session}/film.gif`;

const REPLACED = 4409;
const UNKNOWN = 4404;

// One order is under way at a time: what is sent meanwhile is dropped, so that a held key cannot run ahead.
export class Live {
  constructor(session, { onState, onProblem, onLost, onGone }) {
    Object.assign(this, { session, onState, onProblem, onLost, onGone, tries: 0, waits: true, ended: false });
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/api/sessions/${this.session}/live`);
    this.socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    this.socket.onclose = ({ code }) => this.closed(code);
  }

  // Shown on the body as well: whoever drives the page can wait for its answer.
  set waits(value) {
    document.body.toggleAttribute("data-waits", value);
    this.under = value;
  }

  get waits() {
    return this.under;
  }

  take(message) {
    this.waits = false;
    this.tries = 0;
    if (message.type === "state") this.onState(message);
    else this.onProblem(message);
  }

  closed(code) {
    if (this.ended) return;
    this.waits = true;
    if (code === UNKNOWN || code === REPLACED) {
      this.ended = true;
      this.onGone(code === REPLACED);
      return;
    }
    this.onLost();
    this.tries += 1;
    setTimeout(() => !this.ended && this.connect(), Math.min(5000, 250 * 2 ** this.tries));
  }

  send(order) {
    if (this.waits || this.socket.readyState !== WebSocket.OPEN) return false;
    this.waits = true;
    this.socket.send(JSON.stringify(order));
    return true;
  }

  end() {
    this.ended = true;
    this.socket.close();
  }
}
