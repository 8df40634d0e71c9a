// What happened to the models, on one line of time: stored, promoted, drifted. By the wall clock; each mark tells its reason.

import { byId, label, say, svg } from "./dom.js";
import * as format from "./format.js";

/** @typedef {{at_us: number, kind: string, words: string}} Mark */

const [WIDEST, HEIGHT, LEFT, RIGHT] = [1120, 92, 76, 16];
const NARROW = 480; // where the two ends would meet if the first stood under its mark
/** @type {[string, string, number][]} what, how it is called, how high it stands */
const LANES = [["stored", "Stored", 18], ["promoted", "Champion", 42], ["drift", "Drift", 66]];

/** @param {any[]} families @param {any[]} drifts */
export function drawTimeline(families, drifts) {
  const marks = marksOf(families, drifts);
  byId("line-box").hidden = marks.length < 2;
  const box = byId("line");
  const width = Math.min(WIDEST, box.clientWidth);
  const shape = JSON.stringify([width, marks]);
  if (box.dataset.shape === shape) return;
  box.dataset.shape = shape;
  box.replaceChildren(...(marks.length < 2 || width < 200 ? [] : [picture(marks, width)]));
}

/** @param {any[]} families @param {any[]} drifts @returns {Mark[]} in the order of time; what has no time is left out */
function marksOf(families, drifts) {
  const stored = families.flatMap((family) => family.stored.map((/** @type {any} */ card) => ({ at_us: card.stored_at_us, kind: "stored", words: `${card.model_id} was stored` })));
  const promoted = families.flatMap((family) => family.promotions.map((/** @type {any} */ one) => ({ at_us: one.at_us, kind: "promoted", words: `${one.model_id} became champion: ${one.reason}` })));
  const drifted = drifts.map((event) => ({ at_us: event.wall_ts_us, kind: "drift", words: event.detail }));
  return [...stored, ...promoted, ...drifted].filter((mark) => mark.at_us).sort((a, b) => a.at_us - b.at_us);
}

/** @param {Mark[]} marks @param {number} width */
function picture(marks, width) {
  const [first, last] = [marks[0].at_us, marks[marks.length - 1].at_us];
  const place = (/** @type {number} */ at_us) => LEFT + ((width - LEFT - RIGHT) * (at_us - first)) / Math.max(1, last - first);
  const lanes = LANES.flatMap(([, name, y]) => [svg("line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y, class: "lane" }), label(0, y + 4, name, "lane-name", "start")]);
  const ends = [label(width < NARROW ? 0 : LEFT, HEIGHT - 4, format.dateTime(first), "axis-time", "start"), label(width - RIGHT, HEIGHT - 4, format.dateTime(last), "axis-time", "end")];
  return svg("svg", { width, height: HEIGHT, role: "group", "aria-label": `${marks.length} events` }, ...lanes, ...ends, ...marks.map((mark) => draw(mark, place(mark.at_us))));
}

/** @param {Mark} mark @param {number} x */
function draw(mark, x) {
  const [, , y] = LANES.find(([kind]) => kind === mark.kind) ?? LANES[0];
  const words = `${format.dateTime(mark.at_us)}: ${mark.words}`;
  const title = svg("title", {});
  title.textContent = words;
  const dot = svg("circle", { cx: x, cy: y, r: 6, class: `mark ${mark.kind}`, tabindex: 0, role: "button", "aria-label": words }, title);
  for (const event of ["click", "focus"]) dot.addEventListener(event, () => say(byId("line-words"), words));
  return dot;
}
