// The Market view: symbols, the chosen symbol's chart, the verdict on its forecasts, and its headlines.

import { PriceChart } from "./chart.js";
import { byId, linked, make, say, svg } from "./dom.js";
import { isHeld, matured, maturedTimes } from "./fan.js";
import * as format from "./format.js";
import { Polling } from "./polling.js";

/** @typedef {import("./stream.js").SymbolState} SymbolState */
/** @typedef {import("./stream.js").State} State */
/** @typedef {import("./stream.js").Forecast} Forecast */
/** @typedef {import("./stream.js").Skill} Skill */

/** @param {import("./fan.js").Seen[]} seen @param {number} at_us @returns {string} */
function pastWords(seen, at_us) {
  if (!seen.length) return "No past fan yet: the first forecasts have not matured";
  const held = seen.filter(({ forecasts, realised }) => isHeld(forecasts[forecasts.length - 1], realised)).length;
  if (!at_us) return `Past fans: ${held} of ${seen.length} closes inside 80 %`;
  const [{ forecasts, realised }] = seen;
  return `As seen at ${format.hourMinute(at_us)} UTC: ${format.price(forecasts[forecasts.length - 1].mean)} was expected, ${format.price(realised)} came, ${held ? "inside" : "outside"} 80 %`;
}

const ROLES = ["champion", "challenger", "baseline"]; // whose forecast is shown: the first that there is
const MODELS_MS = 60_000; // between two looks at which models there are
const ENOUGH = 100; // scores below which a skill figure says nothing

/** The newest forecasts of the leading role, all made at one time, nearest horizon first. @param {SymbolState} symbol @returns {Forecast[]} */
function leading(symbol) {
  const all = [...symbol.forecasts.values()];
  const role = ROLES.find((name) => all.some((forecast) => forecast.role === name));
  const own = all.filter((forecast) => forecast.role === role);
  const newest = Math.max(...own.map((forecast) => forecast.as_of_ts_us));
  const best = new Map();
  for (const forecast of own) {
    const better = forecast.as_of_ts_us === newest && (!best.has(forecast.horizon_min) || !forecast.provisional);
    if (better) best.set(forecast.horizon_min, forecast);
  }
  return [...best.values()].sort((a, b) => a.horizon_min - b.horizon_min);
}

/** @param {Forecast | undefined} forecast @returns {number | undefined} */
const expectedMove = (forecast) => forecast && forecast.mean / forecast.last_price - 1;

/** The horizon that is chosen, on every tab the same, and the buttons that choose it. */
export class Horizon {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.chosen = 5;
  }

  /** @param {State} state whose forecasts say which horizons there are */
  offer(state) {
    const seen = new Set([...state.symbols.values()].flatMap((symbol) => [...symbol.forecasts.values()].map((forecast) => forecast.horizon_min)));
    const horizons = (seen.size ? [...seen] : [1, 5, 15]).sort((a, b) => a - b);
    if (!horizons.includes(this.chosen)) this.chosen = horizons[horizons.length - 1];
    for (const group of document.querySelectorAll(".horizon-buttons")) this.draw(group, horizons);
  }

  /** @param {Element} group @param {number[]} horizons */
  draw(group, horizons) {
    const wanted = horizons.map((horizon) => `${horizon} min`);
    if (wanted.join() !== [...group.children].map((button) => button.textContent).join()) group.replaceChildren(...horizons.map((horizon) => this.button(horizon)));
    for (const button of group.children) button.setAttribute("aria-pressed", String(button.textContent === `${this.chosen} min`));
  }

  /** @param {number} horizon */
  button(horizon) {
    const button = make("button", { text: `${horizon} min` });
    button.setAttribute("type", "button");
    button.addEventListener("click", () => {
      this.chosen = horizon;
      this.changed();
    });
    return button;
  }
}

/** Symbols, chart, verdict and headlines of the symbol and horizon chosen. */
export class MarketView {
  /** @param {import("./stream.js").Store} store @param {Horizon} horizon */
  constructor(store, horizon) {
    this.store = store;
    this.symbol = "";
    this.horizons = horizon;
    this.chart = new PriceChart(byId("chart"));
    /** @type {Map<string, HTMLElement>} */
    this.rows = new Map();
    this.body = /** @type {HTMLElement} */ (byId("symbols").querySelector("tbody"));
    this.picker = /** @type {HTMLSelectElement} */ (byId("picker"));
    this.picker.addEventListener("change", () => this.choose(this.picker.value));
    this.body.addEventListener("keydown", (event) => this.move(event));
    this.shownNews = "";
    this.sort = { by: "symbol", down: false };
    this.pinned = 0; // the minute whose headlines are marked
    for (const button of byId("symbols").querySelectorAll("[data-sort]")) button.addEventListener("click", () => this.sortBy(/** @type {HTMLElement} */ (button)));
    this.withPast = false; // whether matured fans are shown
    /** @type {Forecast[]} */
    this.made = [];
    this.seenAt_us = 0; // the time whose fan is shown; 0: fans of all times
    /** @type {number[]} */
    this.times = [];
    this.slider = /** @type {HTMLInputElement} */ (byId("seen"));
    this.slider.addEventListener("input", () => this.seeAt(this.times[Number(this.slider.value)] ?? 0));
    this.asksRole = "baseline";
    this.past = new Polling(() => `v1/forecasts?limit=1000&role=${this.asksRole}&symbol=${encodeURIComponent(this.symbol)}`, ({ items }) => {
      this.made = items;
      this.store.changed();
    });
    /** Until when the data go that a stored model learnt from, by its id. @type {Map<string, number>} */
    this.learntUntil = new Map();
    this.models = new Polling(() => "v1/models", ({ families }) => {
      this.learntUntil = new Map(families.flatMap((/** @type {any} */ family) => family.stored).map((/** @type {any} */ card) => [card.model_id, card.data_cutoff_ts_us]));
      this.store.changed();
    }, undefined, MODELS_MS);
    byId("past").addEventListener("click", () => this.togglePast());
    addEventListener("keydown", (event) => event.key === "p" && isFree(event) && !byId("tab-market").hidden && this.togglePast());
    this.chart.listen((minute) => this.hover(minute), (minute) => this.pin(minute));
  }

  togglePast() {
    this.withPast = !this.withPast;
    byId("past").setAttribute("aria-pressed", String(this.withPast));
    this.store.changed();
  }

  /** Show the fans that have matured against what came, where that is wanted. @param {SymbolState} symbol @param {Forecast | undefined} newest */
  renderPast(symbol, newest) {
    if (this.withPast && newest) {
      this.asksRole = newest.role;
      this.past.look();
    }
    const own = this.withPast ? this.made.filter((forecast) => forecast.symbol === symbol.symbol && forecast.model_id === newest?.model_id) : [];
    this.times = maturedTimes(own, symbol.bars, this.horizon);
    const at_us = this.times.includes(this.seenAt_us) ? this.seenAt_us : 0;
    const seen = matured(own, symbol.bars, this.horizon, at_us);
    this.chart.past.showSeen(seen, at_us > 0);
    this.renderSlider(at_us);
    say(byId("past-words"), this.withPast ? pastWords(seen, at_us) : "");
  }

  /** The last place of the slider is all times. @param {number} at_us */
  renderSlider(at_us) {
    byId("seen-box").hidden = !this.times.length;
    const [last, place] = [this.times.length, at_us ? this.times.indexOf(at_us) : this.times.length].map(String);
    if (this.slider.max !== last) this.slider.max = last;
    if (this.slider.value !== place) this.slider.value = place;
    const told = at_us ? `${format.hourMinute(at_us)} UTC` : "all times";
    this.slider.setAttribute("aria-valuetext", told);
    say(byId("seen-at"), told);
  }

  /** @param {number} at_us 0: all times */
  seeAt(at_us) {
    this.seenAt_us = at_us;
    if (at_us) this.chart.reveal(at_us);
    this.store.changed();
  }

  /** @param {HTMLElement} button */
  sortBy(button) {
    const by = button.dataset.sort ?? "symbol";
    this.sort = { by, down: this.sort.by === by ? !this.sort.down : by !== "symbol" };
    for (const other of byId("symbols").querySelectorAll("th")) other.removeAttribute("aria-sort");
    button.parentElement?.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
    this.store.changed();
  }

  /** @param {State} state @returns {string[]} the symbols in the order that is chosen; what has no figure goes last */
  ordered(state) {
    const names = [...state.symbols.keys()].sort();
    const { by, down } = this.sort;
    if (by === "symbol") return down ? names.reverse() : names;
    const value = (/** @type {string} */ name) => {
      const symbol = /** @type {SymbolState} */ (state.symbols.get(name));
      const found = by === "price" ? symbol.price : by === "change" ? symbol.change : expectedMove(leading(symbol).find((forecast) => forecast.horizon_min === this.horizon));
      return found ?? (down ? -Infinity : Infinity);
    };
    const values = new Map(names.map((name) => [name, value(name)]));
    return names.sort((a, b) => (down ? -1 : 1) * (/** @type {number} */ (values.get(a)) - /** @type {number} */ (values.get(b)) || 0));
  }

  /** Show the headlines of the minute under the pointer where the summary is. @param {number | null} minute_ts_us */
  hover(minute_ts_us) {
    const told = minute_ts_us === null ? [] : this.own(this.store.state).filter((headline) => minuteOf(headline) === minute_ts_us);
    byId("chart-news").hidden = !told.length;
    say(byId("chart-news"), told.map((headline) => `${scored(headline, this.symbol)} ${headline.text} (${explained(scoreOf(headline, this.symbol))})`).join(" · "));
  }

  /** Mark the headlines of a minute in the list, and show them. @param {number} minute_ts_us */
  pin(minute_ts_us) {
    this.pinned = this.pinned === minute_ts_us ? 0 : minute_ts_us;
    this.shownNews = "";
    this.renderNews(this.store.state);
    byId("news").querySelector(".pinned")?.scrollIntoView({ block: "nearest" });
  }

  /** @param {State} state @returns {import("./stream.js").Headline[]} the headlines of the chosen symbol */
  own(state) {
    return [...state.headlines.values()].filter((headline) => headline.symbols.includes(this.symbol));
  }

  get horizon() {
    return this.horizons.chosen;
  }

  /** @param {string} symbol */
  choose(symbol) {
    this.symbol = symbol;
    this.store.changed();
  }

  /** @param {KeyboardEvent} event */
  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const names = [...this.rows.keys()];
    const next = names[Math.max(0, Math.min(names.length - 1, names.indexOf(this.symbol) + step))];
    this.choose(next);
    this.rows.get(next)?.focus();
  }

  /** @param {State} state */
  render(state) {
    if (!state.symbols.has(this.symbol)) this.symbol = [...state.symbols.keys()].sort()[0] ?? "";
    const symbol = state.symbols.get(this.symbol);
    this.renderSymbols(state);
    byId("symbols-empty").hidden = state.symbols.size > 0;
    byId("symbols-note").hidden = state.symbols.size === 0;
    byId("chart-empty").hidden = Boolean(symbol?.bars.size);
    if (symbol) this.renderSymbol(symbol);
    this.models.look();
    this.renderVerdict(symbol);
    this.renderNews(state);
  }

  /** @param {State} state */
  renderSymbols(state) {
    const names = this.ordered(state);
    if (names.join("\n") !== [...this.rows.keys()].join("\n")) this.layOut(names);
    for (const name of names) this.renderRow(/** @type {SymbolState} */ (state.symbols.get(name)));
    this.picker.value = this.symbol;
    const leftOut = state.health?.symbols_left_out ?? 0;
    byId("left-out").hidden = !leftOut;
    say(byId("left-out"), `The first ${format.count(names.length)} symbols are shown; this page has no room for ${format.count(leftOut)} more, which are on the topics.`);
    say(byId("expected-title"), `In ${this.horizon} min`);
  }

  /** @param {string[]} names */
  layOut(names) {
    const focused = names.find((name) => this.rows.get(name) === document.activeElement);
    this.rows = new Map(names.map((name) => [name, this.rows.get(name) ?? this.makeRow(name)]));
    this.body.replaceChildren(...this.rows.values());
    if (focused) this.rows.get(focused)?.focus();
    this.picker.replaceChildren(...[...names].sort().map((name) => make("option", { text: name })));
  }

  /** @param {string} name */
  makeRow(name) {
    const line = svg("polyline", {});
    const spark = make("td", {}, svg("svg", { class: "spark", viewBox: "0 0 64 20", preserveAspectRatio: "none", "aria-hidden": "true" }, line));
    const cells = ["number", "number"].map((name) => make("td", { class: name }));
    const row = make("tr", {}, make("td", { class: "name clip", text: name, title: name }), ...cells, spark, make("td", { class: "number expected" }));
    row.addEventListener("click", () => this.choose(name));
    row.addEventListener("focus", () => this.symbol !== name && this.choose(name));
    return row;
  }

  /** @param {SymbolState} symbol */
  renderRow(symbol) {
    const row = /** @type {HTMLElement} */ (this.rows.get(symbol.symbol));
    const chosen = symbol.symbol === this.symbol;
    row.setAttribute("aria-selected", String(chosen));
    row.tabIndex = chosen ? 0 : -1;
    const [, last, change, , expected] = row.children;
    say(last, format.price(symbol.price));
    say(change, format.signedPercent(symbol.change), `number ${format.direction(symbol.change)}`);
    row.querySelector("polyline")?.setAttribute("points", sparkPoints(symbol.spark));
    const forecast = leading(symbol).find((candidate) => candidate.horizon_min === this.horizon);
    const move = expectedMove(forecast);
    const arrow = { up: "↗", down: "↘", "": "→" }[format.direction(move)];
    const proven = [...symbol.skills.values()].some((skill) => skill.model_id === forecast?.model_id && skill.horizon_min === this.horizon && skill.verdict === "edge");
    say(expected, move === undefined ? "–" : `${arrow} ${format.signedPercent(move, 3)}`, `number expected ${proven ? format.direction(move) : ""}`);
  }

  /** @param {SymbolState} symbol */
  renderSymbol(symbol) {
    this.store.loadHistory(symbol.symbol);
    const bars = [...symbol.bars.values()].sort((a, b) => a.minute_ts_us - b.minute_ts_us);
    const fan = leading(symbol).filter((forecast) => forecast.horizon_min <= this.horizon);
    const last = bars[bars.length - 1];
    say(byId("chart-title"), symbol.symbol);
    say(byId("price"), format.price(symbol.price));
    say(byId("change"), symbol.change === null ? "" : `${format.signedPercent(symbol.change)} in 30 min`, format.direction(symbol.change));
    say(byId("ohlc"), last ? `${format.hourMinute(last.minute_ts_us)} UTC  O ${format.price(last.open)}  H ${format.price(last.high)}  L ${format.price(last.low)}  C ${format.price(last.close)}` : "");
    say(byId("chart-summary"), summary(symbol.symbol, bars.length, fan[fan.length - 1]));
    this.renderPast(symbol, fan.at(-1));
    this.chart.show(`${symbol.symbol} ${symbol.historyComplete} ${fan.at(-1)?.horizon_min}`, bars, fan);
  }

  /** @param {SymbolState | undefined} symbol */
  renderVerdict(symbol) {
    const forecast = symbol && leading(symbol).find((candidate) => candidate.horizon_min === this.horizon);
    const skills = symbol ? [...symbol.skills.values()].filter((skill) => skill.horizon_min === this.horizon) : [];
    const skill = skills.find((candidate) => candidate.model_id === forecast?.model_id) ?? ROLES.map((role) => skills.find((candidate) => candidate.role === role)).find(Boolean);
    const [words, why] = verdict(skill, Boolean(forecast), this.horizon);
    say(byId("verdict-title"), symbol ? `Verdict · ${symbol.symbol} · ${this.horizon} min` : "Verdict");
    say(byId("verdict-words"), words);
    say(byId("verdict-why"), why);
    byId("coverage").replaceChildren(...(skill ? coverage(skill) : []));
    byId("verdict-facts").replaceChildren(...(forecast ? facts(forecast, this.learntUntil.get(forecast.model_id) ?? 0, this.store.state.clock_ts_us) : []));
  }

  /** @param {State} state */
  renderNews(state) {
    const own = this.own(state);
    const shown = (own.length ? own : [...state.headlines.values()]).sort((a, b) => b.event_ts_us - a.event_ts_us).slice(0, 50);
    say(byId("news-scope"), own.length ? `· ${this.symbol}` : shown.length ? "· all symbols" : "");
    byId("news-empty").hidden = shown.length > 0;
    say(byId("news-empty"), "No headline yet. Headlines come from the source; --headlines names another one.");
    const shape = shown.map((headline) => `${headline.id} ${headline.scores.length}`).join("\n") + this.symbol + this.pinned;
    if (shape === this.shownNews) return;
    this.shownNews = shape;
    byId("news").replaceChildren(...shown.map((headline) => this.headline(headline)));
    this.chart.showSentiment(sticks(own, this.symbol));
  }

  /** @param {import("./stream.js").Headline} headline */
  headline(headline) {
    const score = scoreOf(headline, this.symbol) ?? headline.scores[0];
    const mark = make("span", { class: `score ${score && !format.isQuiet(score.score) ? format.direction(score.score) : "muted"}`, text: score ? format.score(score.score) : "···", title: explained(score) });
    const about = make("span", { class: "about", text: `${format.dateTime(headline.event_ts_us)} · ${headline.symbols.join(", ")} · ${headline.source}` });
    return make("li", { class: minuteOf(headline) === this.pinned ? "pinned" : "" }, mark, linked(headline.text, headline.url), about);
  }
}

/** @param {KeyboardEvent} event @returns {boolean} whether a letter is meant for the page, not for a field */
const isFree = (event) => !(event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]"));

/** @param {import("./stream.js").Headline} headline @returns {number} the start of its minute */
const minuteOf = (headline) => headline.event_ts_us - (headline.event_ts_us % 60_000_000);

/** @param {import("./stream.js").Headline} headline @param {string} symbol @returns {string} */
function scored(headline, symbol) {
  const found = scoreOf(headline, symbol);
  return found ? format.score(found.score) : "···";
}

/** @param {import("./stream.js").Headline} headline @param {string} symbol */
const scoreOf = (headline, symbol) => headline.scores.find((candidate) => candidate.symbol === symbol);

/** @param {import("./stream.js").Headline["scores"][0] | undefined} score @returns {string} the probabilities, and who says so */
function explained(score) {
  return score ? `positive ${score.p_positive.toFixed(2)}, neutral ${score.p_neutral.toFixed(2)}, negative ${score.p_negative.toFixed(2)}, by ${score.model_id}` : "not scored yet";
}

/** @param {import("./stream.js").Headline[]} headlines @param {string} symbol @returns {Map<number, number>} minute to the mean score of its headlines */
function sticks(headlines, symbol) {
  /** @type {Map<number, number[]>} */
  const scores = new Map();
  for (const headline of headlines) {
    const found = scoreOf(headline, symbol);
    if (found) scores.set(minuteOf(headline), [...(scores.get(minuteOf(headline)) ?? []), found.score]);
  }
  return new Map([...scores].map(([minute, values]) => [minute, values.reduce((sum, value) => sum + value, 0) / values.length]));
}

/** @param {number[]} closes @returns {string} */
function sparkPoints(closes) {
  const [low, high] = [Math.min(...closes), Math.max(...closes)];
  const height = high - low || 1;
  const width = Math.max(1, closes.length - 1);
  return closes.map((close, at) => `${((64 * at) / width).toFixed(1)},${(18 - (16 * (close - low)) / height).toFixed(1)}`).join(" ");
}

/** @param {string} name @param {number} n_bars @param {Forecast | undefined} forecast @returns {string} */
function summary(name, n_bars, forecast) {
  if (!n_bars) return `No bar of ${name} yet.`;
  if (!forecast) return `${n_bars} bars of ${name}. No forecast yet: the first bars are still forming.`;
  const [low, high] = [forecast.quantiles["0.1"], forecast.quantiles["0.9"]];
  const range = low && high ? `; 80 % between ${format.price(low)} and ${format.price(high)}` : "";
  return `${forecast.provisional ? "Provisional" : "Final"} forecast of ${format.price(forecast.mean)} at ${format.hourMinute(forecast.target_ts_us)} UTC${range}; chance of a rise ${Math.round(forecast.prob_up * 100)} %.`;
}

/** What the scores say, in words: the scorer's own verdict, of a Diebold-Mariano test at 5 %. @param {Skill | undefined} skill @param {boolean} hasForecast @param {number} horizon @returns {[string, string]} */
function verdict(skill, hasForecast, horizon) {
  if (!skill) return ["No verdict yet", hasForecast ? `The first forecasts mature ${horizon} min after they are made.` : "No forecast yet: the first bars are still forming."];
  const figures = skill.rolling_skill === null ? `${skill.rolling_n} scores` : `skill ${format.signedPercent(skill.rolling_skill, 1)} against the random walk over ${format.count(skill.rolling_n)} scores`;
  if (skill.verdict === "" || skill.rolling_n < ENOUGH) return ["Too few scores to say", `${figures}; ${ENOUGH} are wanted.`];
  const tested = skill.dm_p_value === null ? "" : `; Diebold-Mariano p = ${skill.dm_p_value < 0.001 ? "below 0.001" : skill.dm_p_value.toFixed(3)}`;
  return [skill.verdict[0].toUpperCase() + skill.verdict.slice(1), `${figures}${tested}.`];
}

/** @param {Skill} skill @returns {Node[]} each interval's coverage as a bar with its nominal mark */
function coverage(skill) {
  return Object.entries(skill.covered).sort().flatMap(([interval, [held, n]]) => {
    const line = make("div", { class: "coverage-line" }, make("span", { class: "muted", text: `${interval} % interval held` }), make("span", { text: `${Math.round((100 * held) / n)} % of ${format.count(n)}` }));
    return [line, bullet(held / n, Number(interval) / 100)];
  });
}

/** @param {number} share @param {number} nominal */
function bullet(share, nominal) {
  const rail = svg("rect", { x: 0, y: 4, width: 100, height: 4, fill: "var(--line)" });
  const bar = svg("rect", { x: 0, y: 4, width: 100 * share, height: 4, fill: "var(--forecast)" });
  const mark = svg("rect", { x: 100 * nominal - 0.3, y: 0, width: 0.6, height: 12, fill: "var(--text)" });
  return svg("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", role: "img", "aria-label": `${Math.round(100 * share)} % against nominal ${Math.round(100 * nominal)} %` }, rail, bar, mark);
}

/** @param {Forecast} forecast @param {number} learntUntil_us 0: its model is not stored here, or learns nothing @param {number} now_us of the stream @returns {Node[]} */
function facts(forecast, learntUntil_us, now_us) {
  const rows = [
    ["Expected", `${format.price(forecast.mean)} (${format.signedPercent(expectedMove(forecast), 3)})`],
    ["Model", `${forecast.model_id} (${forecast.role})`],
    ["As of", format.dateTime(forecast.as_of_ts_us) + (forecast.provisional ? ", provisional" : "")],
  ];
  const age = learntUntil_us > now_us ? format.dateTime(learntUntil_us) : format.age(now_us - learntUntil_us); // a tape is older than today's model
  const learnt = learntUntil_us ? [make("dt", { text: "Learnt until" }), make("dd", { text: age, title: format.dateTime(learntUntil_us) })] : [];
  return [...rows.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]), ...learnt];
}
