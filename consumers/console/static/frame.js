// The frame around every tab: mode, clock, banner and the status bar.

import { byId, say } from "./dom.js";
import * as format from "./format.js";
import { courseInWords, courseOf } from "./replay.js";

/** @typedef {import("./stream.js").State} State */

const LATE_MS = 5_000; // the server says something every second

/** @param {State} state */
export function renderFrame(state) {
  say(byId("mode"), state.mode || "NO SOURCE", `badge ${state.mode.toLowerCase()}`);
  document.body.dataset.mode = state.mode.toLowerCase();
  say(byId("course"), courseInWords(courseOf(state)));
  say(byId("source"), state.source);
  byId("source").title = state.source;
  say(byId("clock"), format.dateTime(state.clock_ts_us));
  renderLink(state);
  if (state.health) renderStatus(state);
}

/** @param {State} state */
function renderStatus({ health, flow }) {
  say(byId("rate"), `${health.ticks_per_s.toFixed(1)} /s`);
  say(byId("feature-latency"), format.latency(health.tick_to_feature));
  say(byId("forecast-latency"), format.latency(health.tick_to_forecast));
  say(byId("largest-lag"), flow?.at_us ? format.count(Math.max(0, ...flow.lags.map((/** @type {any} */ row) => row.lag))) : "–");
  say(byId("letter-count"), format.count(health.dead_letters), health.dead_letters ? "late" : "");
  say(byId("alert-count"), format.count(health.alerts.length), health.alerts.length ? "late" : "");
  byId("malformed-box").hidden = health.malformed === 0;
  say(byId("malformed"), format.count(health.malformed));
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
