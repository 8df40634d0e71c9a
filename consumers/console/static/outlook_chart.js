// A year of closes, and what the month to come may bring.

import { createChart, LineSeries } from "./vendor/lightweight-charts.standalone.production.mjs";
import { Fan } from "./fan.js";
import { colour } from "./dom.js";

const DAY_S = 86_400;
const ON_BAR_US = 60_000_000; // the fan draws what is known at the end of a minute on the bar of its start
const LEVELS = { 50: ["0.25", "0.75"], 80: ["0.1", "0.9"], 95: ["0.025", "0.975"] };

/** @param {string} day ISO @returns {number} its midnight, seconds */
const midnight = (day) => Date.parse(`${day}T00:00:00Z`) / 1000;

/** The chart. */
export class OutlookChart {
  /** @param {HTMLElement} container */
  constructor(container) {
    this.chart = createChart(container, {
      autoSize: true,
      layout: { attributionLogo: false, fontSize: 12 },
      rightPriceScale: { borderVisible: false },
      timeScale: { borderVisible: false },
      handleScale: false,
      handleScroll: false,
    });
    this.closes = this.chart.addSeries(LineSeries, { lineWidth: 2, priceLineVisible: false, lastValueVisible: false });
    this.future = this.chart.addSeries(LineSeries, { lastValueVisible: false, priceLineVisible: false });
    this.fan = new Fan();
    this.closes.attachPrimitive(this.fan);
    this.repaint();
  }

  /** Take the colours of the present theme. */
  repaint() {
    const [text, line] = ["--muted", "--line"].map(colour);
    this.chart.applyOptions({ layout: { background: { color: colour("--background") }, textColor: text }, grid: { vertLines: { color: line }, horzLines: { color: line } } });
    this.closes.applyOptions({ color: colour("--text") });
    this.fan.colours = { fan: colour("--forecast"), walk: colour("--walk") };
  }

  /** @param {any} outlook */
  show(outlook) {
    const [begin, end] = [midnight(outlook.as_of), midnight(outlook.target)];
    this.closes.setData(outlook.history.map((/** @type {any} */ one) => ({ time: midnight(one.day), value: one.close })));
    const ahead = Math.round((end - begin) / DAY_S);
    this.future.setData(Array.from({ length: ahead }, (_, day) => ({ time: begin + (day + 1) * DAY_S })));
    this.fan.show([asForecast(outlook, begin, end)]);
    this.chart.timeScale().setVisibleLogicalRange({ from: 0, to: outlook.history.length + ahead });
  }
}

/** @param {any} outlook @param {number} begin_s @param {number} end_s @returns {any} what the fan draws */
function asForecast(outlook, begin_s, end_s) {
  const pairs = Object.entries(LEVELS).flatMap(([share, names]) => names.map((name, at) => [name, outlook.price_intervals[share][at]]));
  return { as_of_ts_us: begin_s * 1e6 + ON_BAR_US, target_ts_us: end_s * 1e6 + ON_BAR_US, last_price: outlook.last_price, mean: outlook.expected_price, quantiles: Object.fromEntries(pairs) };
}
