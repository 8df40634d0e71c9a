// The Replay view: whether a tape is running; it is started and steered by commands.

import { byId, say } from "./dom.js";
import * as format from "./format.js";

/** @param {import("./stream.js").State} state */
export function renderReplay(state) {
  const running = state.mode === "REPLAY";
  say(byId("replay-words"), running ? "A tape is running" : "No replay is running");
  say(byId("replay-why"), running ? `${state.source}; the tape's clock shows ${format.dateTime(state.clock_ts_us)}.` : state.mode ? `What you see is ${state.mode.toLowerCase()}: ${state.source}.` : "No source has reported.");
}
