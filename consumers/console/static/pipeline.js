// The Pipeline view: the flow as a picture with live rates, processes, topics, lag, dead letters with their bytes, alerts.

import { button, confirmed } from "./actions.js";
import { byId, make, say, svg } from "./dom.js";
import * as format from "./format.js";
import { LogTail } from "./logs.js";
import { Polling } from "./polling.js";

/** @typedef {import("./stream.js").State} State */

const BOX = { width: 150, height: 56 };
/** Where each role stands in the picture. @type {Record<string, [number, number]>} */
const PLACES = {
  produce: [10, 112],
  stream: [285, 34],
  forecast: [560, 34],
  score: [835, 34],
  sentiment: [285, 190],
  train: [560, 190],
  console: [835, 190],
  archive: [285, 290],
};
/** From, to, the topic between them, the way, and where its name stands. @type {[string, string, string, string, number, number, string][]} */
const EDGES = [
  ["produce", "stream", "ticks", "M160 130 H205 V62 H280", 218, 54, "start"],
  ["produce", "sentiment", "headlines", "M160 150 H205 V218 H280", 211, 236, "start"],
  ["sentiment", "stream", "sentiment", "M360 190 V95", 370, 146, "start"],
  ["stream", "forecast", "features", "M435 62 H555", 495, 54, "middle"],
  ["forecast", "score", "forecasts", "M710 62 H830", 770, 54, "middle"],
  ["train", "forecast", "models", "M635 190 V95", 645, 146, "start"],
  ["score", "console", "scores", "M910 90 V185", 920, 146, "start"],
  ["produce", "archive", "", "M85 168 V318 H280", 95, 310, "start"],
];

const HIDDEN = /_ts_us$|^(speed_milli|paused|replay_page)$/; // counts of a status that Replay shows, as what they are
const NEVER = ["too_late", "from_the_future"]; // nothing makes them timely

/** The tab. */
export class PipelineView {
  /** @param {import("./actions.js").Orders} orders */
  constructor(orders) {
    this.orders = orders;
    this.logs = new LogTail();
    this.opensLog = (/** @type {string} */ role) => this.logs.open(role);
    this.shownLetters = "";
    this.audit = new Polling(() => "v1/audit", showBalance);
  }

  /** @param {State} state */
  render({ health, flow, now_us }) {
    this.audit.look();
    byId("flow-empty").hidden = Boolean(health);
    if (!health) return;
    const rates = new Map((flow?.topics ?? []).map((/** @type {any} */ row) => [row.topic, row]));
    const lags = flow?.lags ?? [];
    renderFlow(health, rates, lags, this.opensLog);
    renderRoles(health.roles, now_us, this.opensLog);
    this.logs.look();
    fill("topics", [...rates.values()].map(topicRow));
    fill("lags", lags.map(lagRow));
    byId("lags-empty").hidden = lags.length > 0;
    byId("lags").hidden = lags.length === 0;
    this.renderLetters(health);
    renderAlerts(health.alerts);
  }

  /** An open letter stays as it is: its list is made anew only when a letter comes. @param {any} health */
  renderLetters(health) {
    const shape = health.letters.map((/** @type {any} */ letter) => letter.number).join();
    const of = health.dead_letters > health.letters.length ? `, the last ${health.letters.length}` : "";
    say(byId("letters-title"), `Dead letters: ${format.count(health.dead_letters)}${of}`);
    byId("letters-empty").hidden = health.letters.length > 0;
    if (shape === this.shownLetters) return;
    this.shownLetters = shape;
    byId("letters").replaceChildren(...[...health.letters].reverse().map((letter) => letterItem(letter, () => this.redrive(letter))));
  }

  /** @param {any} letter */
  async redrive({ topic, partition, offset, stage }) {
    const name = `${topic}/${partition}/${offset}/${stage}`;
    if (await confirmed(`Send ${name} into ${topic} again? Its bytes go as they were, once; where nothing was fixed it dies again.`, "Send again")) this.orders.give("redrive", { name }, byId("letters-answer"));
  }
}

/** @param {string} table @param {Node[]} rows */
function fill(table, rows) {
  byId(table).querySelector("tbody")?.replaceChildren(...rows);
}

/** @param {any} health @param {Map<string, any>} rates @param {any[]} lags @param {(role: string) => void} openLog */
function renderFlow(health, rates, lags, openLog) {
  const roles = new Map(health.roles.map((/** @type {any} */ role) => [role.role, role]));
  const edges = EDGES.flatMap((edge) => drawEdge(edge, rates));
  const boxes = Object.entries(PLACES).map(([name, place]) => drawBox(name, place, roles.get(name), about(name, health, lags), openLog));
  const letters = drawLetters(health.dead_letters);
  const head = svg("marker", { id: "head", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" }, svg("path", { d: "M0 0.5 L7 4 L0 7.5", class: "edge-head" }));
  const told = EDGES.filter(([, , topic]) => topic).map(([from, to, topic]) => `${topic} from ${from} to ${to}: ${rateOf(rates.get(topic))}`);
  const picture = svg("svg", { viewBox: "0 24 995 326", role: "img", "aria-label": `Flow. ${told.join("; ")}.` }, svg("defs", {}, head), ...edges, ...boxes, letters);
  byId("flow").replaceChildren(picture);
}

/** @param {[string, string, string, string, number, number, string]} edge @param {Map<string, any>} rates @returns {SVGElement[]} */
function drawEdge([, , topic, way, x, y, anchor], rates) {
  const line = svg("path", { d: way, class: rates.get(topic)?.per_s > 0 ? "edge flowing" : "edge", "marker-end": "url(#head)" });
  const name = topic || "ticks, headlines, sentiment";
  const label = svg("text", { x, y, class: "edge-name", "text-anchor": anchor });
  label.textContent = name;
  const rate = svg("text", { x, y: y + (y < 100 || !topic ? 24 : 15), class: topic ? "edge-rate" : "edge-name", "text-anchor": anchor });
  rate.textContent = topic ? rateOf(rates.get(topic)) : "and final features";
  return [line, label, rate];
}

/** @param {any} topic @returns {string} */
function rateOf(topic) {
  return topic?.per_s === null || topic?.per_s === undefined ? "–" : `${format.rate(topic.per_s)} /s`;
}

/** @param {string} name @param {[number, number]} place @param {any} role @param {string} words @param {(role: string) => void} openLog @returns {SVGElement} */
function drawBox(name, [x, y], role, words, openLog) {
  const state = stateOf(role);
  const frame = svg("rect", { x, y, width: BOX.width, height: BOX.height, rx: 4, class: "box" });
  const dot = svg("circle", { cx: x + 15, cy: y + 20, r: 4, class: `dot ${state}` });
  const title = svg("text", { x: x + 26, y: y + 24, class: "box-name" });
  title.textContent = name;
  const right = svg("text", { x: x + BOX.width - 10, y: y + 24, class: `box-state ${state}`, "text-anchor": "end" });
  right.textContent = role ? state : "";
  const below = svg("text", { x: x + 11, y: y + 44, class: "box-about" });
  below.textContent = role ? words : "not heard of";
  const box = svg("g", { class: "opens" }, frame, dot, title, right, below);
  box.addEventListener("click", () => openLog(name));
  return box;
}

/** @param {number} count @returns {SVGElement} */
function drawLetters(count) {
  const link = svg("text", { x: 835, y: 322, class: count ? "box-name late" : "box-about" });
  link.textContent = count ? `${format.count(count)} dead letter${count === 1 ? "" : "s"}` : "no dead letter";
  return link;
}

/** @param {any} role @returns {string} */
function stateOf(role) {
  return !role ? "not heard" : role.silent ? "silent" : role.state || "running";
}

/** @param {string} name @param {any} health @param {any[]} lags @returns {string} what matters most of a box */
function about(name, health, lags) {
  const own = lags.filter((row) => row.group === name);
  if (name === "produce") return `${format.rate(health.ticks_per_s)} ticks/s`;
  if (name === "stream" && health.tick_to_feature) return `${format.latency(health.tick_to_feature)}`;
  if (own.length) return `${format.count(own.reduce((sum, row) => sum + row.lag, 0))} behind`;
  if (name === "console") return "this page";
  return "";
}

/** @param {any[]} roles @param {number} now_us @param {(role: string) => void} openLog */
function renderRoles(roles, now_us, openLog) {
  byId("roles-empty").hidden = roles.length > 0;
  byId("roles").hidden = roles.length === 0;
  const focused = document.activeElement?.closest("#roles") ? document.activeElement.textContent : null;
  fill("roles", roles.map((role) => roleRow(role, now_us, openLog)));
  if (focused) [...byId("roles").querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
}

/** @param {any} role @param {number} now_us @param {(role: string) => void} openLog */
function roleRow(role, now_us, openLog) {
  const state = stateOf(role);
  const counts = Object.entries(role.counts).filter(([name]) => !HIDDEN.test(name)).map(([name, count]) => make("span", { class: "count", text: `${name.replaceAll("_", " ")} ` }, make("b", { text: format.count(/** @type {number} */ (count)) })));
  const said = make("td", { class: "clip", title: role.detail }, make("span", { class: `state ${state}`, text: state }));
  const seen = make("td", { class: "number", text: format.age(now_us - role.wall_ts_us), title: format.dateTime(role.wall_ts_us) });
  return make("tr", {}, make("td", {}, button(role.role, () => openLog(role.role), `the end of the log of ${role.role}`)), said, seen, make("td", { class: "counts" }, ...counts));
}

/** @param {any} row */
function topicRow(row) {
  const rate = row.per_s === null ? "–" : format.rate(row.per_s);
  return make("tr", {}, make("td", { text: row.topic }), make("td", { class: "number", text: rate }), make("td", { class: "number", text: format.count(row.records) }));
}

/** @param {any} row */
function lagRow(row) {
  const cells = [make("td", { class: "clip", text: row.group, title: row.group }), make("td", { text: `${row.topic}/${row.partition}` })];
  return make("tr", {}, ...cells, make("td", { class: "number", text: format.count(row.committed) }), make("td", { class: "number", text: format.count(row.lag) }));
}

/** @param {any} letter @param {() => void} redrive */
function letterItem(letter, redrive) {
  const summary = make("summary", {}, make("b", { text: `${letter.topic}/${letter.partition}@${letter.offset}` }), make("span", { text: ` ${letter.stage}: ${letter.error_class}` }));
  const body = make("div", { class: "letter" }, make("p", { text: letter.message }), make("p", { class: "muted", text: letter.timestamp_us ? `written ${format.dateTime(letter.timestamp_us)}` : "" }));
  if (!NEVER.includes(letter.error_class)) body.append(button("Send again", redrive, "its bytes into the topic that they came from"));
  const item = make("details", {}, summary, body);
  item.addEventListener("toggle", () => /** @type {HTMLDetailsElement} */ (item).open && !body.dataset.asked && showBytes(body, letter.number));
  return make("li", {}, item);
}

/** @param {HTMLElement} body @param {number} number */
async function showBytes(body, number) {
  body.dataset.asked = "yes";
  const response = await fetch(`v1/dead_letters/${number}`).catch(() => null);
  if (!response?.ok) {
    body.append(make("p", { class: "muted", text: "Its bytes are not here any more: `tickcast tail dead_letters` has them." }));
    return;
  }
  const { letter, truncated } = await response.json();
  const bytes = Uint8Array.from(atob(letter.value_base64.slice(0, 16_384)), (char) => char.charCodeAt(0));
  const cut = truncated || letter.value_base64.length > 16_384 ? " The first 12 kB of it:" : "";
  body.append(make("p", { class: "muted", text: `${bytes.length ? "Its bytes, as text and hexadecimal." : "It has no bytes."}${cut}` }));
  body.append(make("pre", { text: new TextDecoder().decode(bytes) }), make("pre", { class: "muted", text: hex(bytes) }));
}

/** @param {Uint8Array} bytes @returns {string} the first 128 */
function hex(bytes) {
  const text = [...bytes.slice(0, 128)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return bytes.length > 128 ? `${text} …` : text;
}

const SUMS = ["in", "out", "filtered", "dead", "waiting", "missing", "doubled"];

/** @param {{balance: any[]}} counted */
function showBalance({ balance }) {
  byId("audit-empty").hidden = balance.length > 0;
  byId("audit").hidden = !balance.length;
  fill("audit", balance.map(balanceRow));
  const wrong = balance.filter(({ counts }) => counts.missing || counts.doubled).map(({ role }) => role);
  const words = wrong.length ? `Does not add up: ${wrong.join(", ")}.` : "In = out + filtered + dead + waiting, nothing missing, nothing doubled.";
  say(byId("audit-words"), balance.length ? `${words} Counted ${format.dateTime(balance[0].wall_ts_us)}, of the last minutes.` : "");
}

/** @param {any} line */
function balanceRow({ role, detail, counts }) {
  const cells = SUMS.map((name) => make("td", { class: `number ${counts[name] && (name === "missing" || name === "doubled") ? "late" : ""}`, text: format.count(counts[name] ?? 0) }));
  return make("tr", {}, make("td", { text: role }), make("td", { text: detail }), ...cells);
}

/** @param {any[]} alerts */
function renderAlerts(alerts) {
  byId("alerts-empty").hidden = alerts.length > 0;
  byId("alerts").replaceChildren(...[...alerts].reverse().map((alert) => make("li", {}, make("span", { class: "muted", text: `${format.dateTime(alert.wall_ts_us)} · ${alert.role}` }), make("p", { text: alert.detail }))));
}
