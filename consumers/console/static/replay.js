// The Replay view: the tape that runs, steered; or the tapes that there are, to start one beside what runs.

import { button, confirmed, token } from "./actions.js";
import { byId, make, say, svg } from "./dom.js";
import * as format from "./format.js";
import { Polling } from "./polling.js";

/** @typedef {import("./stream.js").State} State */
/** @typedef {{name: string, kind: string, first_ts_us: number, last_ts_us: number, symbols: string[], bytes: number, volume: number[]}} Tape */
/** @typedef {{clock_ts_us: number, first_ts_us: number, last_ts_us: number, speed: number, paused: boolean, seek_ts_us: number, ended: boolean}} Course */

const SPEEDS = ["1", "10", "60", "max"];
const RATE_MS = 20_000; // how far back to look for how fast a tape goes that has no speed of its own

/** @param {State} state @returns {Course | null} how the tape runs; `speed` is Infinity where it is as fast as it can */
export function courseOf(state) {
  const role = (state.health?.roles ?? []).find((/** @type {any} */ one) => one.role === "produce");
  const counts = role?.counts ?? {};
  if (state.mode !== "REPLAY") return null;
  const { clock_ts_us = 0, first_ts_us = 0, last_ts_us = 0, speed_milli, paused = 0, seek_ts_us = 0 } = counts;
  const ended = role?.state === "done";
  if (speed_milli === undefined && !ended) return null; // it has said nothing of its tape yet
  return { clock_ts_us, first_ts_us, last_ts_us, speed: speed_milli ? speed_milli / 1000 : Infinity, paused: Boolean(paused), seek_ts_us, ended };
}

/** @param {Course | null} course @returns {string} in a word or two, for the badge */
export function courseInWords(course) {
  if (!course) return "";
  if (course.ended) return "ended";
  return course.seek_ts_us ? "seeking" : course.paused ? "held" : speedInWords(course.speed);
}

/** @param {number} speed */
const speedInWords = (speed) => (speed === Infinity ? "max" : `${speed}×`);

/** The tab. */
export class ReplayView {
  /** @param {import("./actions.js").Orders} orders */
  constructor(orders) {
    this.orders = orders;
    this.answer = byId("replay-answer");
    this.dragging = false;
    this.speed = "60";
    /** @type {Course | null} */
    this.course = null;
    /** Where the tape was when. @type {[number, number][]} */
    this.seen = [];
    this.shownTapes = "";
    this.shownVolume = "";
    this.tapes = new Polling(() => "v1/tapes", (tapes) => this.showTapes(tapes));
    this.running = new Polling(() => "v1/replay", (replay) => this.showRunning(replay));
    this.slider = /** @type {HTMLInputElement} */ (byId("replay-slider"));
    this.slider.addEventListener("input", () => this.drag());
    this.slider.addEventListener("change", () => this.seek());
    byId("replay-hold").addEventListener("click", () => this.steer({ do: this.course?.paused ? "resume" : "pause" }));
    byId("replay-stop").addEventListener("click", () => this.stop());
    byId("replay-end").addEventListener("click", () => this.end());
    byId("replay-speeds").replaceChildren(...SPEEDS.map((speed) => button(speed === "max" ? "max" : `${speed}×`, () => this.steer({ do: "speed", speed }))));
    byId("start-speeds").replaceChildren(...SPEEDS.map((speed) => button(speed === "max" ? "max" : `${speed}×`, () => this.choose(speed))));
    this.choose(this.speed);
  }

  /** @param {State} state */
  render(state) {
    this.course = courseOf(state);
    this.running.look();
    const runs = state.mode === "REPLAY";
    byId("replay-course").hidden = !this.course;
    byId("replay-choose").hidden = runs;
    if (!runs) this.tapes.look();
    say(byId("replay-words"), runs ? words(this.course) : "No tape is running here");
    say(byId("replay-why"), runs ? `${state.source}; the tape's clock shows ${format.dateTime(state.clock_ts_us)}.` : state.mode ? `What you see is ${state.mode.toLowerCase()}: ${state.source}.` : "No source has reported.");
    if (this.course) this.renderCourse(this.course);
  }

  /** @param {Course} course */
  renderCourse(course) {
    const { clock_ts_us, first_ts_us, last_ts_us } = course;
    this.note(clock_ts_us);
    const share = last_ts_us > first_ts_us && clock_ts_us ? Math.min(1, Math.max(0, (clock_ts_us - first_ts_us) / (last_ts_us - first_ts_us))) : 0;
    if (!this.dragging) {
      this.slider.min = String(Math.floor(first_ts_us / 1e6));
      this.slider.max = String(Math.ceil(last_ts_us / 1e6));
      this.slider.value = String(clock_ts_us / 1e6);
      this.slider.setAttribute("aria-valuetext", format.dateTime(clock_ts_us));
      say(byId("replay-at"), format.dateTime(clock_ts_us));
    }
    byId("replay-played").style.width = `${100 * share}%`;
    say(byId("replay-first"), format.dateTime(first_ts_us));
    say(byId("replay-last"), format.dateTime(last_ts_us));
    say(byId("replay-share"), `${(100 * share).toFixed(1)} %`);
    say(byId("replay-left"), course.ended ? "ended" : this.left(course));
    say(byId("replay-hold"), course.paused ? "Resume" : "Pause");
    for (const [at, one] of [...byId("replay-speeds").children].entries()) one.setAttribute("aria-pressed", String(SPEEDS[at] === (course.speed === Infinity ? "max" : String(course.speed))));
  }

  /** Remember where the tape is: that is how its speed is known where it runs as fast as it can. @param {number} clock_ts_us */
  note(clock_ts_us) {
    const now_ms = performance.now();
    if (this.seen.length && clock_ts_us < this.seen[this.seen.length - 1][1]) this.seen = [];
    if (clock_ts_us && clock_ts_us !== this.seen.at(-1)?.[1]) this.seen.push([now_ms, clock_ts_us]);
    while (this.seen.length > 2 && now_ms - this.seen[0][0] > RATE_MS) this.seen.shift();
  }

  /** @param {Course} course @returns {string} */
  left({ clock_ts_us, last_ts_us, speed, paused }) {
    if (paused) return "held";
    const [[first_ms, first_us], [last_ms, last_us]] = [this.seen[0] ?? [0, 0], this.seen.at(-1) ?? [0, 0]];
    const rate = speed !== Infinity ? speed : last_ms > first_ms ? (last_us - first_us) / 1e3 / (last_ms - first_ms) : 0;
    return rate > 0 ? format.duration((last_ts_us - clock_ts_us) / 1e6 / rate) : "–";
  }

  drag() {
    this.dragging = true;
    say(byId("replay-at"), `→ ${format.dateTime(Number(this.slider.value) * 1e6)}`);
  }

  async seek() {
    const to_ts_us = Math.round(Number(this.slider.value)) * 1_000_000;
    const back = this.course && (this.course.ended || to_ts_us < this.course.clock_ts_us);
    const meant = !back || (await confirmed(`To go back to ${format.dateTime(to_ts_us)} the tape begins again, in topics of its own: that takes a start and the way there.`, "Go back"));
    this.dragging = false;
    if (meant) this.steer({ do: "seek", to_ts_us });
  }

  /** @param {object} body */
  steer(body) {
    this.orders.give("replay", body, this.answer);
  }

  async stop() {
    if (await confirmed("Stop this replay? Its page goes with it.", "Stop")) this.steer({ do: "stop" });
  }

  end() {
    this.orders.give("replay/end", {}, byId("start-answer"));
  }

  /** @param {string} speed of the replay to start */
  choose(speed) {
    this.speed = speed;
    for (const [at, one] of [...byId("start-speeds").children].entries()) one.setAttribute("aria-pressed", String(SPEEDS[at] === speed));
  }

  /** @param {Tape[]} tapes */
  showTapes(tapes) {
    byId("tapes").hidden = !tapes.length;
    byId("tapes-empty").hidden = tapes.length > 0;
    const shape = JSON.stringify(tapes);
    if (shape === this.shownTapes) return;
    this.shownTapes = shape;
    byId("tapes").querySelector("tbody")?.replaceChildren(...tapes.map((tape) => this.tapeRow(tape)));
  }

  /** @param {Tape} tape */
  tapeRow(tape) {
    const start = button("Start", () => this.orders.give("replay/start", { tape: tape.name, speed: this.speed }, byId("start-answer")), `replay ${tape.name} beside what runs`);
    const symbols = tape.symbols.join(", ") || "–";
    const cells = [make("td", { class: "clip", text: tape.name, title: tape.name }), make("td", { text: tape.kind }), make("td", { text: format.dateTime(tape.first_ts_us) }), make("td", { text: format.dateTime(tape.last_ts_us) }), make("td", { class: "clip", text: symbols, title: symbols })];
    return make("tr", {}, ...cells, make("td", { class: "number", text: format.bytes(tape.bytes) }), make("td", {}, start));
  }

  /** @param {{page: number, tape: Tape | null}} replay */
  showRunning({ page, tape }) {
    byId("replay-beside").hidden = !page;
    const link = byId("replay-link");
    const address = `${location.protocol}//${location.hostname}:${page}/`;
    link.setAttribute("href", `${address}#token=${encodeURIComponent(token())}`);
    say(link, address);
    const shape = JSON.stringify(tape?.volume ?? []);
    if (shape === this.shownVolume) return;
    this.shownVolume = shape;
    byId("replay-volume").replaceChildren(...(tape?.volume.length ? [volume(tape.volume)] : []));
  }
}

/** @param {Course | null} course @returns {string} */
function words(course) {
  if (!course) return "A tape is about to run";
  if (course.ended) return "The tape has ended";
  if (course.seek_ts_us) return `The tape runs to ${format.dateTime(course.seek_ts_us)} as fast as it can`;
  if (course.paused) return "The tape is held";
  return course.speed === Infinity ? "The tape runs as fast as rows become final" : `The tape runs at ${course.speed} times its speed`;
}

/** @param {number[]} parts @returns {SVGElement} the volume traded in each part of the tape's time */
function volume(parts) {
  const most = Math.max(...parts) || 1;
  const bars = parts.map((part, at) => svg("rect", { x: at, y: 40 - (38 * part) / most, width: 0.8, height: (38 * part) / most }));
  return svg("svg", { viewBox: `0 0 ${parts.length} 40`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...bars);
}
