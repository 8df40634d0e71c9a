// How the machinery is: mode, clock, banner, the table of processes, dead letters, and the status bar.

import { byId, make, say } from "./dom.js";
import * as format from "./format.js";

/** @typedef {import("./stream.js").State} State */

const LATE_MS = 5_000; // the server says something every second

/** @param {State} state */
export function renderHealth(state) {
  renderFrame(state);
  const health = state.health;
  if (!health) return;
  renderRoles(health.roles, state.now_us);
  renderLetters(health);
  say(byId("rate"), `${health.ticks_per_s.toFixed(1)} /s`);
  say(byId("feature-latency"), format.latency(health.tick_to_feature));
  say(byId("forecast-latency"), format.latency(health.tick_to_forecast));
  byId("malformed-box").hidden = health.malformed === 0;
  say(byId("malformed"), format.count(health.malformed));
}

/** @param {State} state */
function renderFrame(state) {
  say(byId("mode"), state.mode || "NO SOURCE", `badge ${state.mode.toLowerCase()}`);
  say(byId("source"), state.source);
  byId("source").title = state.source;
  say(byId("clock"), format.dateTime(state.clock_ts_us));
  renderLink(state);
}

/** Say how old the data is, and what needs a person; called every second too, for nothing arrives when the line is dead. @param {State} state */
export function renderLink(state) {
  const age_ms = performance.now() - state.received_ms;
  const late = state.received_ms > 0 && (!state.connected || age_ms > LATE_MS);
  say(byId("link"), late ? `data is ${Math.round(age_ms / 1000)} s old` : state.received_ms ? "live" : "connecting", late ? "late" : "muted");
  const warning = problem(state, late, age_ms);
  byId("banner").hidden = !warning;
  say(byId("banner"), warning);
}

/** @param {State} state @param {boolean} late @param {number} age_ms @returns {string} */
function problem(state, late, age_ms) {
  if (late) return `Connection to the console lost: what you see is ${Math.round(age_ms / 1000)} s old. Reconnecting; if it stays, see whether tickcast is still running.`;
  if (!state.received_ms) return "";
  if (!state.caught_up) return "Rebuilding from the topics: what you see is still from the past.";
  const ill = (state.health?.roles ?? []).filter((/** @type {any} */ role) => role.silent || role.state === "failed");
  if (ill.some((/** @type {any} */ role) => role.role === "console")) return "The broker does not answer: nothing new can arrive. `tickcast doctor` says what is wrong.";
  if (!ill.length) return "";
  return `${ill.map((/** @type {any} */ role) => `${role.role} is ${role.silent ? "silent" : "failed"}`).join(", ")}. \`tickcast doctor\` says what is wrong.`;
}

/** @param {any[]} roles @param {number} now_us */
function renderRoles(roles, now_us) {
  byId("roles-empty").hidden = roles.length > 0;
  byId("roles").hidden = roles.length === 0;
  byId("roles").querySelector("tbody")?.replaceChildren(...roles.map((role) => roleRow(role, now_us)));
}

/** @param {any} role @param {number} now_us */
function roleRow(role, now_us) {
  const state = role.silent ? "silent" : role.state || "running";
  const counts = Object.entries(role.counts).flatMap(([name, count]) => [document.createTextNode(`${name.replaceAll("_", " ")} `), make("b", { text: format.count(/** @type {number} */ (count)) })]);
  const said = make("td", { class: "clip", title: role.detail }, make("span", { class: `state ${state}`, text: state }));
  const seen = make("td", { class: "number", text: format.age(now_us - role.wall_ts_us), title: format.dateTime(role.wall_ts_us) });
  return make("tr", {}, make("td", { text: role.role }), said, seen, make("td", {}, ...counts));
}

/** @param {any} health */
function renderLetters(health) {
  say(byId("letter-count"), format.count(health.dead_letters), health.dead_letters ? "late" : "");
  const details = byId("letters");
  say(/** @type {Element} */ (details.querySelector("summary")), health.dead_letters ? `Dead letters: the last ${health.letters.length} of ${format.count(health.dead_letters)}` : "No dead letter");
  const rows = [...health.letters].reverse().map((letter) => make("li", { text: `${letter.topic}/${letter.partition}@${letter.offset}, ${letter.stage}: ${letter.error_class}, ${letter.message}` }));
  details.querySelector("ol")?.replaceChildren(...rows);
}
