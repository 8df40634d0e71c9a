// The forecast fan, drawn on the chart: the newest one, and past ones against what came.

import { Primitive } from "./primitive.js";

/** @typedef {import("./stream.js").Forecast} Forecast */
/** @typedef {import("./stream.js").Bar} Bar */

const MINUTE_US = 60_000_000;
const INTERVALS = [["0.025", "0.975", 0.16], ["0.1", "0.9", 0.2], ["0.25", "0.75", 0.28]];

/** A price known at the end of a minute is drawn on that minute's bar, which is stamped at its start. @param {number} end_ts_us */
export const onBar = (end_ts_us) => (end_ts_us - MINUTE_US) / 1e6;

/** The fan as a series primitive: bands of one hue, the mean, and the random walk. */
export class Fan extends Primitive {
  constructor() {
    super();
    /** @type {Forecast[]} */
    this.forecasts = [];
    this.colours = { fan: "", walk: "" };
  }

  /** @param {Forecast[]} forecasts of one model and one time, nearest horizon first */
  show(forecasts) {
    this.forecasts = forecasts;
    this.requestUpdate?.();
  }

  autoscaleInfo() {
    return scaleOf(this.forecasts);
  }

  /** @param {(forecast: Forecast) => number | undefined} pick @param {Forecast[]} [forecasts] @returns {[number, number][]} from the last known price on */
  line(pick, forecasts = this.forecasts) {
    const first = forecasts[0];
    const points = [[onBar(first.as_of_ts_us), first.last_price], ...forecasts.map((forecast) => [onBar(forecast.target_ts_us), pick(forecast)])];
    return points.map(([time, price]) => [this.chart.timeScale().timeToCoordinate(time), price === undefined ? null : this.series.priceToCoordinate(price)]);
  }

  /** @param {CanvasRenderingContext2D} context */
  draw(context) {
    if (!this.forecasts.length) return;
    this.drawBands(context, this.forecasts);
    this.stroke(context, this.line((forecast) => forecast.last_price), this.colours.walk, 1, [4, 4]);
    this.stroke(context, this.line((forecast) => forecast.mean), this.colours.fan, 2, []);
  }

  /** @param {CanvasRenderingContext2D} context @param {Forecast[]} forecasts */
  drawBands(context, forecasts) {
    for (const [low, high, opacity] of INTERVALS) {
      const outline = [...this.line((forecast) => forecast.quantiles[low], forecasts), ...this.line((forecast) => forecast.quantiles[high], forecasts).reverse()];
      context.fillStyle = this.colours.fan.replace("rgb(", "rgba(").replace(")", `, ${opacity})`);
      if (trace(context, outline)) context.fill();
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {[number, number][]} points @param {string} style @param {number} width @param {number[]} dash */
  stroke(context, points, style, width, dash) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.setLineDash(dash);
    if (trace(context, points)) context.stroke();
    context.setLineDash([]);
  }
}

/** @param {CanvasRenderingContext2D} context @param {[number | null, number | null][]} points @returns {boolean} whether all are on the chart */
function trace(context, points) {
  if (points.some(([x, y]) => x === null || y === null)) return false;
  context.beginPath();
  for (const [x, y] of points) context.lineTo(/** @type {number} */ (x), /** @type {number} */ (y));
  return true;
}

/** @param {Forecast[]} forecasts @returns {{priceRange: {minValue: number, maxValue: number}} | null} the prices that a fan spans */
function scaleOf(forecasts) {
  if (!forecasts.length) return null;
  const prices = forecasts.flatMap((forecast) => [forecast.last_price, ...Object.values(forecast.quantiles)]);
  return { priceRange: { minValue: Math.min(...prices), maxValue: Math.max(...prices) } };
}

/** @typedef {{forecasts: Forecast[], realised: number}} Seen what was forecast at one time, nearest horizon first, and the close that came at the last target */

/** Matured fans, each with the close that came: a dot inside its 80 % interval, a ring where it was missed. Several lightly, one as it was. */
export class PastFans extends Fan {
  constructor() {
    super();
    /** @type {Seen[]} */
    this.seen = [];
    this.alone = false;
    this.colours = { fan: "", walk: "", held: "", missed: "", under: "" };
  }

  /** @param {Seen[]} seen @param {boolean} alone whether it is one that was chosen */
  showSeen(seen, alone) {
    if (!seen.length && !this.seen.length) return;
    this.seen = seen;
    this.alone = alone && seen.length === 1;
    this.requestUpdate?.();
  }

  autoscaleInfo() {
    return this.alone ? scaleOf(this.seen[0].forecasts) : null; // of several, the newest fan and the candles decide what is in view
  }

  /** The bands lie under the candles, the marks on them. */
  paneViews() {
    const renderer = (/** @type {(context: CanvasRenderingContext2D) => void} */ draw) => ({ draw: (/** @type {any} */ target) => target.useMediaCoordinateSpace((/** @type {any} */ scope) => draw(scope.context)) });
    const [below, above] = [renderer((context) => this.draw(context)), renderer((context) => this.seen.forEach((one) => this.mark(context, one)))];
    return [{ zOrder: () => "bottom", renderer: () => below }, { zOrder: () => "top", renderer: () => above }];
  }

  /** @param {CanvasRenderingContext2D} context */
  draw(context) {
    context.globalAlpha = this.alone ? 1 : 0.55;
    for (const { forecasts } of this.seen) this.drawBands(context, forecasts);
    context.globalAlpha = 1;
    if (!this.alone) return;
    const [{ forecasts }] = this.seen;
    this.stroke(context, this.line((forecast) => forecast.last_price, forecasts), this.colours.walk, 1, [4, 4]);
    this.stroke(context, this.line((forecast) => forecast.mean, forecasts), this.colours.fan, 2, []);
  }

  /** @param {CanvasRenderingContext2D} context @param {Seen} seen */
  mark(context, { forecasts, realised }) {
    const last = forecasts[forecasts.length - 1];
    const [x, y] = [this.chart.timeScale().timeToCoordinate(onBar(last.target_ts_us)), this.series.priceToCoordinate(realised)];
    if (x === null || y === null) return;
    const held = isHeld(last, realised);
    context.beginPath();
    context.arc(x, y, held ? 3.5 : 4.5, 0, 2 * Math.PI);
    context.fillStyle = held ? this.colours.held : this.colours.under;
    context.strokeStyle = held ? this.colours.under : this.colours.missed;
    context.lineWidth = held ? 1 : 2;
    context.fill();
    context.stroke();
  }
}

/** @param {Forecast} forecast @param {number} realised @returns {boolean} whether its 80 % interval held the close */
export function isHeld({ quantiles }, realised) {
  return quantiles["0.1"] <= realised && realised <= quantiles["0.9"];
}

/** The times of which a fan has matured, oldest first. @param {Forecast[]} forecasts final ones of one model and symbol @param {Map<number, Bar>} bars @param {number} horizon_min @returns {number[]} microseconds */
export function maturedTimes(forecasts, bars, horizon_min) {
  const due = forecasts.filter((forecast) => forecast.horizon_min === horizon_min && bars.get(forecast.target_ts_us - MINUTE_US)?.final);
  return [...new Set(due.map((forecast) => forecast.as_of_ts_us))].sort((a, b) => a - b);
}

/** Choose the fan of one time, or without one fans that do not overlap, one each horizon; and find what came. @param {Forecast[]} forecasts final ones of one model and symbol @param {Map<number, Bar>} bars @param {number} horizon_min @param {number} [at_us] @returns {Seen[]} */
export function matured(forecasts, bars, horizon_min, at_us = 0) {
  /** @type {Map<number, Forecast[]>} */
  const made = new Map();
  for (const forecast of forecasts) {
    const due = at_us ? forecast.as_of_ts_us === at_us : forecast.as_of_ts_us % (horizon_min * MINUTE_US) === 0;
    if (due && forecast.horizon_min <= horizon_min) made.set(forecast.as_of_ts_us, [...(made.get(forecast.as_of_ts_us) ?? []), forecast]);
  }
  return [...made.values()].flatMap((fan) => {
    const ordered = fan.sort((a, b) => a.horizon_min - b.horizon_min);
    const last = ordered[ordered.length - 1];
    const came = bars.get(last.target_ts_us - MINUTE_US);
    return came?.final && last.horizon_min === horizon_min ? [{ forecasts: ordered, realised: came.close }] : [];
  });
}
