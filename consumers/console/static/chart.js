// Candles, volume and the forecast fan, around TradingView Lightweight Charts.

import { CandlestickSeries, createChart, HistogramSeries, LineSeries } from "./vendor/lightweight-charts.standalone.production.mjs";
import { colour } from "./dom.js";

/** @typedef {import("./stream.js").Bar} Bar */
/** @typedef {import("./stream.js").Forecast} Forecast */

const MINUTE_US = 60_000_000;
const SENTIMENT_HEIGHT = 64;
const INTERVALS = [["0.025", "0.975", 0.16], ["0.1", "0.9", 0.2], ["0.25", "0.75", 0.28]];

/** A price known at the end of a minute is drawn on that minute's bar, which is stamped at its start. @param {number} end_ts_us */
const onBar = (end_ts_us) => (end_ts_us - MINUTE_US) / 1e6;

/** The fan as a series primitive: bands of one hue, the mean, and the random walk. */
export class Fan {
  constructor() {
    /** @type {Forecast[]} */
    this.forecasts = [];
    this.colours = { fan: "", walk: "" };
  }

  /** @param {any} attached */
  attached({ chart, series, requestUpdate }) {
    Object.assign(this, { chart, series, requestUpdate });
  }

  /** @param {Forecast[]} forecasts of one model and one time, nearest horizon first */
  show(forecasts) {
    this.forecasts = forecasts;
    this.requestUpdate?.();
  }

  updateAllViews() {}

  paneViews() {
    const renderer = { draw: (/** @type {any} */ target) => target.useMediaCoordinateSpace((/** @type {any} */ scope) => this.draw(scope.context)) };
    return [{ zOrder: () => "normal", renderer: () => renderer }];
  }

  autoscaleInfo() {
    if (!this.forecasts.length) return null;
    const prices = this.forecasts.flatMap((forecast) => [forecast.last_price, ...Object.values(forecast.quantiles)]);
    return { priceRange: { minValue: Math.min(...prices), maxValue: Math.max(...prices) } };
  }

  /** @param {(forecast: Forecast) => number | undefined} pick @returns {[number, number][]} from the last known price on */
  line(pick) {
    const first = this.forecasts[0];
    const points = [[onBar(first.as_of_ts_us), first.last_price], ...this.forecasts.map((forecast) => [onBar(forecast.target_ts_us), pick(forecast)])];
    return points.map(([time, price]) => [this.chart.timeScale().timeToCoordinate(time), price === undefined ? null : this.series.priceToCoordinate(price)]);
  }

  /** @param {CanvasRenderingContext2D} context */
  draw(context) {
    if (!this.forecasts.length) return;
    for (const [low, high, opacity] of INTERVALS) {
      const outline = [...this.line((forecast) => forecast.quantiles[low]), ...this.line((forecast) => forecast.quantiles[high]).reverse()];
      context.fillStyle = this.colours.fan.replace("rgb(", "rgba(").replace(")", `, ${opacity})`);
      if (trace(context, outline)) context.fill();
    }
    this.stroke(context, this.line((forecast) => forecast.last_price), this.colours.walk, 1, [4, 4]);
    this.stroke(context, this.line((forecast) => forecast.mean), this.colours.fan, 2, []);
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

/** The chart of one symbol. */
export class PriceChart {
  /** @param {HTMLElement} container */
  constructor(container) {
    this.container = container;
    this.shown = "";
    this.chart = createChart(container, {
      autoSize: true,
      layout: { attributionLogo: false, fontSize: 12 },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.06, bottom: 0.2 } },
      timeScale: { borderVisible: false, timeVisible: true, secondsVisible: false },
      handleScale: { axisPressedMouseMove: { price: false } },
    });
    this.volume = this.chart.addSeries(HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
    this.candles = this.chart.addSeries(CandlestickSeries, { borderVisible: false, priceLineStyle: 1 });
    // Holds the minutes to come, so that the time axis has a place for the fan.
    this.future = this.chart.addSeries(LineSeries, { lastValueVisible: false, priceLineVisible: false });
    [this.ma7, this.ma21] = [1, 1].map((lineWidth) => this.chart.addSeries(LineSeries, { lineWidth, lastValueVisible: false, priceLineVisible: false, crosshairMarkerVisible: false }));
    this.fan = new Fan();
    this.candles.attachPrimitive(this.fan);
    // Sentiment has a pane of its own, under the same time axis: a stick for each minute with headlines.
    this.sentiment = this.chart.addSeries(HistogramSeries, { base: 0, lastValueVisible: false, priceLineVisible: false, priceFormat: { type: "price", precision: 1, minMove: 0.1 }, autoscaleInfoProvider: () => ({ priceRange: { minValue: -1, maxValue: 1 } }) }, 1);
    this.chart.panes()[1].setHeight(SENTIMENT_HEIGHT);
    this.repaint();
  }

  /** @param {(minute_ts_us: number | null) => void} hover called with the minute under the pointer, null where it leaves @param {(minute_ts_us: number) => void} click */
  listen(hover, click) {
    const minute = (/** @type {any} */ event) => (event.time === undefined ? null : event.time * 1e6);
    this.chart.subscribeCrosshairMove((/** @type {any} */ event) => hover(minute(event)));
    this.chart.subscribeClick((/** @type {any} */ event) => event.time !== undefined && click(event.time * 1e6));
  }

  /** @param {Map<number, number>} scores mean score of the headlines of each minute, by its start in microseconds */
  showSentiment(scores) {
    const [up, down, quiet] = ["--up", "--down", "--walk"].map(colour);
    const sticks = [...scores].sort(([a], [b]) => a - b).map(([minute_ts_us, value]) => ({ time: minute_ts_us / 1e6, value, color: Math.abs(value) < 0.05 ? quiet : value > 0 ? up : down }));
    this.sentiment.setData(sticks);
  }

  /** Take the colours of the present theme. */
  repaint() {
    const [text, line, up, down] = ["--muted", "--line", "--up", "--down"].map(colour);
    this.chart.applyOptions({ layout: { background: { color: colour("--background") }, textColor: text }, grid: { vertLines: { color: line }, horzLines: { color: line } } });
    this.candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down });
    this.volume.applyOptions({ color: line });
    this.ma7.applyOptions({ color: colour("--ma7") });
    this.ma21.applyOptions({ color: colour("--ma21") });
    this.chart.applyOptions({ layout: { panes: { separatorColor: line, enableResize: false } } });
    this.fan.colours = { fan: colour("--forecast"), walk: colour("--walk") };
  }

  /** @param {string} shown what is on the chart: another one moves it to the newest bars @param {Bar[]} bars oldest first @param {Forecast[]} forecasts of one model and one time, nearest horizon first */
  show(shown, bars, forecasts) {
    this.candles.setData(bars.map(({ minute_ts_us, open, high, low, close }) => ({ time: minute_ts_us / 1e6, open, high, low, close })));
    this.volume.setData(bars.map(({ minute_ts_us, volume }) => ({ time: minute_ts_us / 1e6, value: volume })));
    this.ma7.setData(bars.map(({ minute_ts_us, ma7 }) => ({ time: minute_ts_us / 1e6, value: ma7 })));
    this.ma21.setData(bars.map(({ minute_ts_us, ma21 }) => ({ time: minute_ts_us / 1e6, value: ma21 })));
    this.future.setData(this.minutesAhead(forecasts));
    this.fan.show(forecasts);
    const digits = bars.length && bars[bars.length - 1].close < 10 ? 4 : 2;
    this.candles.applyOptions({ priceFormat: { type: "price", precision: digits, minMove: 10 ** -digits } });
    if (this.shown !== shown && bars.length) this.home(bars.length, forecasts);
    if (bars.length) this.shown = shown;
  }

  /** @param {Forecast[]} forecasts */
  minutesAhead(forecasts) {
    if (!forecasts.length) return [];
    const [start, end] = [onBar(forecasts[0].as_of_ts_us), onBar(forecasts[forecasts.length - 1].target_ts_us)];
    return Array.from({ length: (end - start) / 60 + 1 }, (_, minute) => ({ time: start + 60 * minute }));
  }

  /** Show the newest bars with room for the fan. @param {number} count @param {Forecast[]} forecasts */
  home(count, forecasts) {
    const ahead = 2 + (forecasts.at(-1)?.horizon_min ?? 0);
    const width = Math.round(Math.min(140, this.container.clientWidth / 8));
    this.chart.timeScale().setVisibleLogicalRange({ from: Math.max(-1, count - width + ahead), to: Math.max(count, width / 2) + ahead });
  }
}
