// The Skill view: does the model earn its keep? In a sentence, small multiples, a table with p-values, and a reliability plot.

import { byId, make, say, svg } from "./dom.js";
import * as format from "./format.js";
import { Polling } from "./polling.js";

/** @typedef {{target_ts_us: number, ratio: number}} Ratio */
/** @typedef {{symbol: string, skill: import("./stream.js").Skill & {pt_p_value: number | null}, bands: Record<string, [number, number]>, ratios: Ratio[]}} Course */

const ROLES = ["champion", "challenger", "baseline"];
const ENOUGH = 100; // scores below which a verdict says nothing
const PICTURE = { width: 220, height: 84 };

/** The tab. */
export class SkillView {
  /** @param {import("./market.js").Horizon} horizon */
  constructor(horizon) {
    this.horizon = horizon;
    this.polling = new Polling(() => `v1/skill?horizon_min=${horizon.chosen}&limit=24`, (page) => this.show(page));
  }

  render() {
    this.polling.look();
  }

  /** @param {{items: Course[], next: string | null}} page */
  show({ items, next }) {
    const courses = items.sort((a, b) => a.symbol.localeCompare(b.symbol) || ROLES.indexOf(a.skill.role) - ROLES.indexOf(b.skill.role));
    const models = leaders(courses);
    say(byId("skill-words"), sentence(models, this.horizon.chosen));
    for (const id of ["skill-multiples-box", "skill-table-box", "reliability-box"]) byId(id).hidden = !courses.length;
    byId("skill-empty").hidden = courses.length > 0;
    byId("skill-more").hidden = !next;
    say(byId("skill-more"), "The first 24 symbols; /v1/skill has the others.");
    const scale = scaleOf(models);
    byId("multiples").replaceChildren(...models.map((course) => multiple(course, scale)));
    byId("skill-table").querySelector("tbody")?.replaceChildren(...courses.map(tableRow));
    renderReliability(models, this.horizon.chosen);
  }
}

/** What each symbol is forecast by: the highest role there is, the one with most scores of it. @param {Course[]} courses @returns {Course[]} */
function leaders(courses) {
  const best = new Map();
  for (const course of courses) {
    const known = best.get(course.symbol);
    const [rank, before] = [course, known].map((one) => (one ? ROLES.indexOf(one.skill.role) : Infinity));
    if (rank < before || (rank === before && count(course) > count(known))) best.set(course.symbol, course);
  }
  return [...best.values()];
}

/** @param {Course} course */
const count = (course) => course.skill.rolling_n;

/** @param {Course} course @returns {string} */
function verdictOf(course) {
  return course.skill.verdict === "" || count(course) < ENOUGH ? "too few scores" : course.skill.verdict;
}

/** @param {Course[]} models @param {number} horizon @returns {string} */
function sentence(models, horizon) {
  if (!models.length) return `No score at ${horizon} min yet`;
  const told = models.map(verdictOf);
  const number = (/** @type {string} */ verdict) => told.filter((one) => one === verdict).length;
  const judged = models.length - number("too few scores");
  if (!judged) return `At ${horizon} min there are too few scores to say anything: ${ENOUGH} of a symbol are wanted`;
  const edges = number("edge") ? `an edge over the random walk with ${number("edge")} of ${judged} symbols` : `no demonstrated edge over the random walk with any of ${judged} symbols`;
  const worse = number("worse than naive") ? `; worse than it with ${number("worse than naive")}` : "";
  const open = models.length > judged ? `; of ${models.length - judged} there are too few scores` : "";
  return `At ${horizon} min: ${edges}${worse}${open}`;
}

/** @param {Course[]} models @returns {[number, number]} of all pictures: the ratios that occur, and 1 */
function scaleOf(models) {
  const all = models.flatMap((course) => course.ratios.map((point) => point.ratio));
  return [Math.min(0.98, ...all) - 0.005, Math.max(1.02, ...all) + 0.005];
}

/** @param {Course} course @param {[number, number]} scale @returns {HTMLElement} */
function multiple(course, scale) {
  const last = course.ratios.at(-1);
  const verdict = verdictOf(course);
  const head = make("div", { class: "multiple-head" }, make("b", { class: "clip", text: course.symbol, title: course.symbol }), make("span", { class: "number", text: last ? last.ratio.toFixed(3) : "–", title: last ? format.dateTime(last.target_ts_us) : "" }));
  const foot = make("p", { class: `verdict-line ${verdict.split(" ")[0]}`, text: verdict, title: `${course.skill.model_id}, ${course.skill.role}` });
  return make("figure", { class: "multiple" }, head, ratioPicture(course, scale), foot, coverageStrip(course));
}

/** @param {Course} course @param {[number, number]} scale */
function ratioPicture(course, [low, high]) {
  const { width, height } = PICTURE;
  const y = (/** @type {number} */ ratio) => height - ((ratio - low) / (high - low)) * height;
  const step = width / Math.max(1, course.ratios.length - 1);
  const points = course.ratios.map((point, at) => `${(at * step).toFixed(1)},${y(point.ratio).toFixed(1)}`).join(" ");
  const one = svg("line", { x1: 0, x2: width, y1: y(1), y2: y(1), class: "one" });
  const line = svg("polyline", { points, class: "ratio" });
  const last = course.ratios.at(-1);
  const label = `Error ratio of ${course.symbol}: ${last ? `now ${last.ratio.toFixed(3)}` : "none yet"}`;
  const marks = [high - 0.005, low + 0.005].map((ratio, at) => mark(ratio.toFixed(2), at ? height - 3 : 10));
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, one, line, ...marks);
}

/** @param {string} text @param {number} y @returns {SVGElement} */
function mark(text, y) {
  const written = svg("text", { x: 2, y, class: "axis" });
  written.textContent = text;
  return written;
}

/** Coverage of each interval as a dot on its binomial band. @param {Course} course @returns {HTMLElement} */
function coverageStrip(course) {
  const strips = Object.entries(course.skill.covered).sort().map(([interval, [held, n]]) => {
    const share = held / n;
    const [low, high] = course.bands[interval];
    const kept = share >= low && share <= high;
    const band = svg("rect", { x: 100 * low, y: 3, width: Math.max(0.8, 100 * (high - low)), height: 6, class: "band" });
    const nominal = svg("rect", { x: Number(interval) - 0.4, y: 1, width: 0.8, height: 10, class: "nominal" });
    const dot = svg("rect", { x: 100 * share - 1.2, y: 0, width: 2.4, height: 12, class: kept ? "held" : "missed" });
    const rail = svg("rect", { x: 0, y: 5.5, width: 100, height: 1, class: "rail" });
    const label = `${interval} % interval held ${Math.round(100 * share)} % of ${n}; band ${Math.round(100 * low)} to ${Math.round(100 * high)} %`;
    const picture = svg("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", role: "img", "aria-label": label }, rail, band, nominal, dot);
    return make("div", { class: "strip", title: label }, make("span", { class: "muted", text: interval }), picture, make("span", { class: `number ${kept ? "" : "late"}`, text: `${Math.round(100 * share)} %` }));
  });
  return make("div", { class: "strips" }, ...strips);
}

/** @param {Course} course */
function tableRow({ symbol, skill, bands }) {
  const [held, n] = skill.covered["80"] ?? [0, 0];
  const [low, high] = bands["80"] ?? [0, 1];
  const cell = (/** @type {string} */ text, name = "number") => make("td", { class: name, text });
  const walk = skill.role === "baseline" && skill.rolling_skill === 0;
  const verdict = walk ? "is the random walk" : skill.verdict === "" || skill.rolling_n < ENOUGH ? "too few scores" : skill.verdict;
  const within = !n || (held / n >= low && held / n <= high);
  return make("tr", {},
    cell(symbol, "name clip"), cell(skill.role, ""), make("td", { class: "clip model", text: skill.model_id, title: skill.model_id }), cell(format.count(skill.rolling_n)),
    cell(skill.rolling_skill === null ? "–" : format.signedPercent(skill.rolling_skill, 1)), cell(format.probability(skill.dm_p_value)), cell(format.probability(skill.pt_p_value)),
    cell(n ? `${Math.round((100 * held) / n)} %` : "–", within ? "number" : "number late"), cell(verdict, `verdict-line ${verdict.split(" ")[0]}`));
}

/** Nominal against held, over all symbols together. @param {Course[]} models @param {number} horizon */
function renderReliability(models, horizon) {
  /** @type {Map<string, [number, number]>} */
  const sums = new Map();
  for (const { skill } of models) {
    for (const [interval, [held, n]] of Object.entries(skill.covered)) {
      const [hits, all] = sums.get(interval) ?? [0, 0];
      sums.set(interval, [hits + held, all + n]);
    }
  }
  const points = [...sums].sort().map(([interval, [held, n]]) => ({ promised: Number(interval), held: (100 * held) / n, n }));
  byId("reliability").replaceChildren(reliabilityPicture(points));
  const told = points.map((point) => `${point.promised} % intervals held ${point.held.toFixed(1)} % of ${format.count(point.n)} prices`);
  say(byId("reliability-words"), `${horizon} min, the leading models, all symbols here together: ${told.join(", ")}. On the diagonal an interval holds what it promises; above it is too wide, below too narrow.`);
}

/** @param {{promised: number, held: number}[]} points */
function reliabilityPicture(points) {
  const grid = [0, 25, 50, 75, 100].flatMap((at) => {
    const [x, y] = [30 + 2 * at, 210 - 2 * at];
    const label = svg("text", { x, y: 226, class: "axis", "text-anchor": "middle" });
    const side = svg("text", { x: 24, y: y + 4, class: "axis", "text-anchor": "end" });
    label.textContent = side.textContent = String(at);
    return [svg("line", { x1: 30, x2: 230, y1: y, y2: y, class: "rail-line" }), label, side];
  });
  const diagonal = svg("line", { x1: 30, y1: 210, x2: 230, y2: 10, class: "one" });
  const marks = points.map(({ promised, held }) => svg("circle", { cx: 30 + 2 * promised, cy: 210 - 2 * held, r: 4, class: "held" }));
  const line = svg("polyline", { points: points.map(({ promised, held }) => `${30 + 2 * promised},${210 - 2 * held}`).join(" "), class: "ratio" });
  return svg("svg", { viewBox: "0 0 240 232", role: "img", "aria-label": "Share of prices inside, against the share promised" }, ...grid, diagonal, line, ...marks);
}
