// The Outlook view: a stock is chosen, a button asks, and what comes is shown with what it is worth.

import { linked, make, say } from "./dom.js";
import * as format from "./format.js";
import { OutlookChart } from "./outlook_chart.js";

const WORDS = { buy: "Buy", hold: "Hold", sell: "Sell" };
const TRIES = 6; // of a computation that takes long: a first one on a busy machine
const EXPLAINED = "Four months of returns and headlines go into a small network; out comes the return of the month to come. Nothing is computed until you ask.";

/** The tab. */
export class OutlookView {
  /** @param {HTMLElement} box that it fills */
  constructor(box) {
    this.box = box;
    this.busy = false;
    /** @type {any} */
    this.shown = null;
    /** @type {OutlookChart | null} */
    this.chart = null;
    this.asked = false;
    /** @type {string[]} */
    this.offered = [];
    this.build();
  }

  build() {
    this.field = /** @type {HTMLInputElement} */ (control("input", { id: "outlook-symbol", list: "outlook-symbols", placeholder: "Ticker", autocomplete: "off", spellcheck: "false", maxlength: "16", "aria-label": "Stock" }));
    this.list = control("datalist", { id: "outlook-symbols" });
    this.button = /** @type {HTMLButtonElement} */ (control("button", { type: "submit", class: "ask" }, "Compute outlook"));
    const form = make("form", { class: "ask-form" }, this.field, this.list, this.button);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
    this.words = control("p", { id: "outlook-words", class: "sentence" }, "What may a stock do within a month?");
    this.status = control("p", { id: "outlook-status", class: "note-line muted", role: "status" }, EXPLAINED);
    this.result = control("div", { id: "outlook-result", class: "outlook" });
    this.result.hidden = true;
    this.box.replaceChildren(make("section", {}, make("div", { class: "page-head" }, this.words, form), this.status), this.result);
  }

  /** @param {string} chosen the stock that is shown elsewhere on the page @param {string[]} known */
  render(chosen, known) {
    this.offer(known);
    if (!this.asked) this.look(chosen);
  }

  /** Ask once where prices come from. @param {string} chosen */
  async look(chosen) {
    this.asked = true;
    const response = await fetch("v1/outlook").catch(() => null);
    if (!response?.ok) {
      this.asked = false; // the frame says that the connection is lost; the next look asks again
      return;
    }
    const { feed = "", symbols = [] } = await response.json();
    this.offer(symbols);
    if (this.field && !this.field.value) this.field.value = chosen || symbols[0] || "";
    if (!feed) this.tell("There is no feed of daily prices here: set TICKCAST_OUTLOOK to a folder of files, or be online for Yahoo Finance.", true);
    else if (!this.shown) this.tell(`${EXPLAINED} Prices and headlines come from ${feed}.`);
  }

  /** @param {string[]} symbols */
  offer(symbols) {
    const all = [...new Set([...this.offered, ...symbols])].sort();
    if (all.length === this.offered.length) return;
    this.offered = all;
    this.list?.replaceChildren(...all.map((symbol) => control("option", { value: symbol })));
  }

  async ask() {
    const symbol = this.field?.value.trim().toUpperCase() ?? "";
    if (!symbol || this.busy) return;
    this.work(true);
    this.tell(`Fetching prices and headlines of ${symbol}, reading the headlines, computing. The first answer takes some seconds.`);
    const response = await patiently(`v1/outlook/${encodeURIComponent(symbol)}`);
    const content = await response?.json().catch(() => null);
    this.work(false);
    if (response?.ok) this.show(content);
    else this.tell(response ? `No outlook of ${symbol}: ${content?.detail ?? response.statusText}.` : "The console does not answer; see whether it still runs.", true);
  }

  /** @param {boolean} busy */
  work(busy) {
    this.busy = busy;
    if (this.button) this.button.disabled = busy;
    this.box.setAttribute("aria-busy", String(busy));
  }

  /** @param {string} text @param {boolean} [late] */
  tell(text, late = false) {
    if (this.status) say(this.status, text, `note-line ${late ? "late" : "muted"}`);
  }

  /** @param {any} outlook */
  show(outlook) {
    this.shown = outlook;
    const chart = control("div", { id: "outlook-chart", role: "img", "aria-label": summary(outlook) });
    if (this.words) say(this.words, `${outlook.symbol}, until ${outlook.target}`);
    this.tell(`Prices and headlines from ${outlook.feed}, up to the close of ${outlook.as_of}.`);
    if (!this.result) return;
    this.result.hidden = false;
    this.result.replaceChildren(verdict(outlook), charted(outlook, chart), seen(outlook), headlines(outlook));
    this.chart = new OutlookChart(chart);
    this.chart.show(outlook);
  }

  repaint() {
    if (!this.chart) return;
    this.chart.repaint();
    this.chart.show(this.shown);
  }
}

/** Ask, and join the same computation again where it outlasts one request. @param {string} address @returns {Promise<Response | null>} */
async function patiently(address) {
  for (let asked = 1; ; asked += 1) {
    const response = await fetch(address, { method: "POST" }).catch(() => null);
    if (response?.status !== 504 || asked === TRIES) return response;
  }
}

/** @param {string} tag @param {Record<string, string>} attributes @param {string} [text] @returns {HTMLElement} */
function control(tag, attributes, text) {
  const element = make(tag, text === undefined ? {} : { text });
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** @param {any} outlook @returns {HTMLElement} */
function verdict(outlook) {
  const [buy, sell, usual] = [outlook.buy_from, outlook.sell_from, outlook.usual_return].map((one) => format.signedPercent(one, 1));
  const threshold = `Buy from an expected return of ${buy} on (the mean of all months, ${usual}, is nothing to buy for), sell from ${sell} down, hold between.`;
  return make("section", { class: "outlook-verdict" },
    make("h2", { text: "Suggestion" }),
    control("p", { id: "outlook-suggestion", class: "verdict-words" }, /** @type {any} */ (WORDS)[outlook.suggestion]),
    make("p", { class: "muted", text: threshold }),
    control("p", { id: "outlook-warning", class: "outlook-warning" }, warning(outlook)),
    make("p", { class: "muted", text: outlook.verdict_why }),
    make("dl", { class: "facts" }, ...facts(outlook)),
    ...outlook.notes.map((/** @type {string} */ text) => make("p", { class: "note-line late", text })),
  );
}

/** @param {any} outlook @returns {string} */
function warning({ verdict: words }) {
  const plain = words[0].toUpperCase() + words.slice(1);
  return words === "edge" ? "An edge was demonstrated on the past; it may be gone." : `${plain}: on the past the model was not reliably better than saying that nothing changes. Do not act on this.`;
}

/** @param {any} outlook @returns {Node[]} */
function facts(outlook) {
  const between = (/** @type {string} */ share) => outlook.price_intervals[share].map(format.price).join(" to ");
  const returns = (/** @type {string} */ share) => outlook.return_intervals[share].map((/** @type {number} */ one) => format.signedPercent(one, 1)).join(" to ");
  const rows = [
    ["Last price", `${format.price(outlook.last_price)} on ${outlook.as_of}`],
    ["Expected price", format.price(outlook.expected_price)],
    ["Expected return", format.signedPercent(outlook.expected_return, 1)],
    ["50 % interval", between("50")],
    ["80 % interval", between("80")],
    ["", returns("80")],
    ["95 % interval", between("95")],
    ["Volatility", `${(100 * outlook.volatility).toFixed(1)} % a month`],
    ["Networks differ by", `${(100 * outlook.ensemble_spread).toFixed(1)} points`],
    ["Model", outlook.model_id],
    ["Headlines read by", outlook.sentiment_model_id],
  ];
  return rows.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]);
}

/** @param {any} outlook @param {HTMLElement} chart @returns {HTMLElement} */
function charted(outlook, chart) {
  const legend = make("div", { class: "legend" },
    make("span", { class: "key fan", text: "50 · 80 · 95 %" }),
    make("span", { class: "key mean", text: "Expected" }),
    make("span", { class: "key walk", text: "No change" }),
    linked("Charts by TradingView Lightweight Charts™", "https://www.tradingview.com/"),
  );
  legend.lastElementChild?.classList.add("muted", "attribution");
  return make("section", { class: "outlook-chart-box" }, make("h2", { text: `${outlook.symbol}: daily closes, and the month to come` }), chart, legend, make("p", { class: "summary", text: summary(outlook) }));
}

/** @param {any} outlook @returns {string} */
function summary(outlook) {
  const [low, high] = outlook.price_intervals["80"].map(format.price);
  return `${outlook.symbol} closed at ${format.price(outlook.last_price)} on ${outlook.as_of}; ${format.price(outlook.expected_price)} is expected on ${outlook.target}, 80 % between ${low} and ${high}.`;
}

/** @param {any} outlook @returns {HTMLElement} what the network saw */
function seen(outlook) {
  const rows = outlook.months.map((/** @type {any} */ month) => make("tr", {},
    make("td", { text: month.end }),
    make("td", { class: `number ${format.direction(month.change)}`, text: month.change === null ? "no price" : format.signedPercent(month.change, 1) }),
    make("td", { class: "number", text: month.quiet ? "neutral" : format.score(month.sentiment), title: month.quiet ? "fewer than three headlines" : "mean of P(positive) - P(negative)" }),
    make("td", { class: "number", text: format.count(month.headlines) })));
  const heads = [["Month to", ""], ["Return", "number"], ["Sentiment", "number"], ["Headlines", "number"]].map(([text, name]) => make("th", { text, class: name }));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  table.id = "outlook-months";
  return make("section", { class: "outlook-months" }, make("h2", { text: "What the network sees" }), table);
}

/** @param {any} outlook @returns {HTMLElement} */
function headlines(outlook) {
  const items = outlook.headlines.map((/** @type {any} */ one) => make("li", {},
    make("span", { class: `score ${one.score !== null && !format.isQuiet(one.score) ? format.direction(one.score) : "muted"}`, text: one.score === null ? "···" : format.score(one.score), title: one.score === null ? "the model knows no word of it" : "P(positive) - P(negative)" }),
    linked(one.title, one.url),
    make("span", { class: "about muted", text: format.dateTime(one.event_ts_us) })));
  const list = make("ol", { class: "scored" }, ...items);
  list.id = "outlook-news";
  const none = make("p", { class: "empty", text: "No headline of these months is known to the feed." });
  return make("section", { class: "outlook-news" }, make("h2", { text: "Headlines of these months, the newest first" }), items.length ? list : none);
}
