// Candles, volume and the forecast fan, around TradingView Lightweight Charts.

import { CandlestickSeries, createChart, HistogramSeries, LineSeries } from "./vendor/lightweight-charts.standalone.production.mjs";
import { colour } from "./dom.js";
import { Fan, onBar, PastFans } from "./fan.js";
import { Lollipops } from "./lollipops.js";

/** @typedef {import("./stream.js").Bar} Bar */
/** @typedef {import("./stream.js").Forecast} Forecast */

const SENTIMENT_HEIGHT = 64;

/** The chart of one symbol. */
export class PriceChart {
  /** @param {HTMLElement} container */
  constructor(container) {
    this.container = container;
    this.shown = "";
    /** @type {{count: number, forecasts: Forecast[]}} */
    this.newest = { count: 0, forecasts: [] };
    this.chart = createChart(container, {
      autoSize: true,
      layout: { attributionLogo: false },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.06, bottom: 0.2 } },
      timeScale: { borderVisible: false, timeVisible: true, secondsVisible: false },
      handleScale: { axisPressedMouseMove: { price: false } },
    });
    this.volume = this.chart.addSeries(HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
    this.candles = this.chart.addSeries(CandlestickSeries, { borderVisible: false, priceLineStyle: 1 });
    // Holds the minutes to come, so that the time axis has a place for the fan.
    this.future = this.chart.addSeries(LineSeries, { lastValueVisible: false, priceLineVisible: false });
    const mean = () => this.chart.addSeries(LineSeries, { lineWidth: 1, lastValueVisible: false, priceLineVisible: false, crosshairMarkerVisible: false });
    this.ma7 = mean();
    this.ma21 = mean();
    this.fan = new Fan();
    this.past = new PastFans();
    this.candles.attachPrimitive(this.past);
    this.candles.attachPrimitive(this.fan);
    // Sentiment has a pane of its own, under the same time axis: its series gives the scale, the lollipops are what is seen.
    this.sentiment = this.chart.addSeries(LineSeries, { lineVisible: false, crosshairMarkerVisible: false, lastValueVisible: false, priceLineVisible: false, priceFormat: { type: "price", precision: 1, minMove: 0.1 }, autoscaleInfoProvider: () => ({ priceRange: { minValue: -1, maxValue: 1 } }) }, 1);
    this.lollipops = new Lollipops();
    this.sentiment.attachPrimitive(this.lollipops);
    this.chart.panes()[1].setHeight(SENTIMENT_HEIGHT);
    this.width = 0; // for which the bars were laid out
    new ResizeObserver(() => this.resized()).observe(container);
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
    const sticks = [...scores].sort(([a], [b]) => a - b).map(([minute_ts_us, value]) => ({ time: minute_ts_us / 1e6, value }));
    this.sentiment.setData(sticks);
    this.lollipops.show(sticks);
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
    this.lollipops.colours = { up, down, quiet: colour("--walk") };
    this.fan.colours = { fan: colour("--forecast"), walk: colour("--walk") };
    this.past.colours = { fan: colour("--forecast"), walk: colour("--walk"), held: colour("--text"), missed: colour("--warning"), under: colour("--background") };
  }

  /** @param {string} shown what is on the chart: another one moves it to the newest bars @param {Bar[]} bars oldest first @param {Forecast[]} forecasts of one model and one time, nearest horizon first */
  show(shown, bars, forecasts) {
    this.candles.setData(bars.map(({ minute_ts_us, open, high, low, close }) => ({ time: minute_ts_us / 1e6, open, high, low, close })));
    this.volume.setData(bars.map(({ minute_ts_us, volume }) => ({ time: minute_ts_us / 1e6, value: volume })));
    this.ma7.setData(bars.map(({ minute_ts_us, ma7 }) => ({ time: minute_ts_us / 1e6, value: ma7 })));
    this.ma21.setData(bars.map(({ minute_ts_us, ma21 }) => ({ time: minute_ts_us / 1e6, value: ma21 })));
    this.future.setData(this.minutesAhead(forecasts));
    this.fan.show(forecasts);
    this.newest = { count: bars.length, forecasts };
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

  /** A window of quite another width shows the newest bars anew: those of the old one would crowd, or leave most of it empty. */
  resized() {
    const { clientWidth } = this.container;
    if (this.newest.count && clientWidth && Math.abs(clientWidth - this.width) > this.width / 4) this.home(this.newest.count, this.newest.forecasts);
  }

  /** Move a time of the past into the middle, where it is out of view. @param {number} end_ts_us the end of a minute */
  reveal(end_ts_us) {
    const scale = this.chart.timeScale();
    const [x, range] = [scale.timeToCoordinate(onBar(end_ts_us)), scale.getVisibleLogicalRange()];
    if (x === null || range === null || (x > 0 && x < scale.width())) return;
    const [middle, half] = [scale.coordinateToLogical(x), (range.to - range.from) / 2];
    scale.setVisibleLogicalRange({ from: middle - half, to: middle + half });
  }

  /** Show the newest bars with room for the fan. @param {number} count @param {Forecast[]} forecasts */
  home(count, forecasts) {
    this.width = this.container.clientWidth;
    this.chart.applyOptions({ layout: { fontSize: matchMedia("(min-width: 2560px)").matches ? 15 : 12 } });
    const ahead = 2 + (forecasts.at(-1)?.horizon_min ?? 0);
    const width = Math.round(Math.min(140, this.container.clientWidth / 8));
    this.chart.timeScale().setVisibleLogicalRange({ from: Math.max(-1, count - width + ahead), to: Math.max(count, width / 2) + ahead });
  }
}
