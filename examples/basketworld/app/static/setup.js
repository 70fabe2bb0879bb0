// The dialog where a run and two players are chosen.

import * as api from "./api.js";
import { $, element } from "./panels.js";

let chosen = null; // the run's id; null is no run
let asked = 0;
let touched = false; // whether a run has been chosen, by anyone

export function openSetup(canCancel) {
  $("cancel").hidden = !canCancel;
  if (!$("setup").open) $("setup").showModal();
  search();
}

export function prepareSetup(run, onStart) {
  chosen = run;
  let timer = 0;
  $("search").value = run ?? "";
  $("search").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 250); });
  $("search").addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  $("cancel").addEventListener("click", () => $("setup").close());
  $("setup-form").addEventListener("submit", (event) => {
    event.preventDefault();
    begin(onStart);
  });
  if (run) choose(run);
  else fillPlayers([]);
}

async function begin(onStart) {
  $("start").disabled = true;
  try {
    await onStart(await api.open(wanted()));
    $("setup").close();
  } catch (problem) {
    tell(problem);
  } finally {
    $("start").disabled = false;
  }
}

function wanted() {
  const side = (value) => (value.startsWith("policy ") ? { kind: "policy", alternation: Number(value.slice(7)) } : { kind: value });
  return {
    run: chosen,
    a: side($("player-a").value),
    b: side($("player-b").value),
    seed: Number($("setup-seed").value),
    players: Number($("players").value),
    deterministic: $("deterministic").checked,
  };
}

function tell(problem) {
  $("setup-problem").hidden = !problem;
  $("setup-problem").textContent = problem ? [problem.message, problem.hint].filter(Boolean).join(" ") : "";
}

async function search() {
  const mine = ++asked;
  $("runs").setAttribute("aria-busy", "true");
  try {
    const found = await api.runs($("search").value.trim());
    if (mine !== asked) return;
    tell(null);
    suggest(found);
    drawRuns(found);
  } catch (problem) {
    if (mine !== asked) return;
    drawRuns([]);
    tell(problem);
  } finally {
    if (mine === asked) $("runs").removeAttribute("aria-busy");
  }
}

// The newest run with policies is chosen as long as nobody has chosen anything.
function suggest(found) {
  const first = found.find((run) => run.policies);
  if (touched || !first) return;
  touched = true;
  choose(first.id);
}

const counted = (policies) => (policies === null ? "" : ` · ${policies} ${policies === 1 ? "policy" : "policies"}`);

function drawRuns(found) {
  const rows = found.map((run) => row(run.id, run.name || run.id, run.status, `${run.id.slice(0, 12)}${counted(run.policies)}`));
  const none = row(null, "No run", "", "only the random and the greedy player");
  $("runs").replaceChildren(...rows, none);
  if (!found.length && $("search").value.trim()) $("runs").prepend(element("p", { text: "No run of that name or id.", className: "quiet" }));
}

function row(id, name, status, detail) {
  const radio = element("input", { type: "radio", name: "run", value: id ?? "", checked: id === chosen });
  radio.addEventListener("change", () => choose(id));
  const words = element("span", { className: "run-name", children: [element("b", { text: name }), element("small", { text: detail })] });
  const children = [radio, words];
  if (status) children.push(element("span", { text: status.toLowerCase(), className: `status ${status.toLowerCase()}` }));
  return element("label", { className: "run", children });
}

async function choose(id) {
  touched = true;
  chosen = id;
  tell(null);
  if (id === null) return fillPlayers([]);
  try {
    const found = await api.policies(id);
    if (chosen === id) fillPlayers(found);
    if (chosen === id && !found.length) tell(new Error("This run has no policies yet."));
  } catch (problem) {
    if (chosen === id) fillPlayers([]);
    if (chosen === id) tell(problem);
  }
}

function fillPlayers(policies) {
  const numbers = policies.map((policy) => policy.alternation).sort((one, two) => two - one);
  const options = () => [
    ...numbers.map((number) => element("option", { value: `policy ${number}`, text: `Policy ${number}${number === numbers[0] ? " (last)" : ""}` })),
    element("option", { value: "greedy", text: "Greedy" }),
    element("option", { value: "random", text: "Random" }),
  ];
  for (const id of ["player-a", "player-b"]) $(id).replaceChildren(...options());
  $("player-b").selectedIndex = numbers.length ? numbers.length - 1 : 1;
  $("players").disabled = numbers.length > 0;
}
