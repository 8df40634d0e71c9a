// The event source and the store. The server sends one `snapshot`, then `update`s with what changed; both have the same shape.

/** @typedef {{minute_ts_us: number, open: number, high: number, low: number, close: number, volume: number, revision: number, final: boolean, ma7: number, ma21: number}} Bar */
/** @typedef {{symbol: string, as_of_ts_us: number, horizon_min: number, target_ts_us: number, last_price: number, mean: number, quantiles: Record<string, number>, prob_up: number, model_id: string, role: string, provisional: boolean}} Forecast */
/** @typedef {{horizon_min: number, model_id: string, role: string, rolling_skill: number | null, rolling_n: number, dm_p_value: number | null, verdict: string, covered: Record<string, [number, number]>}} Skill */
/** @typedef {{symbol: string, price: number | null, price_ts_us: number, change: number | null, spark: number[], bars: Map<number, Bar>, forecasts: Map<string, Forecast>, skills: Map<string, Skill>, historyAsked: boolean, historyComplete: boolean}} SymbolState */
/** @typedef {{id: string, event_ts_us: number, text: string, source: string, url: string, symbols: string[], scores: {symbol: string, score: number, p_positive: number, p_negative: number, p_neutral: number, model_id: string}[]}} Headline */
/** @typedef {{connected: boolean, received_ms: number, now_us: number, caught_up: boolean, clock_ts_us: number, mode: string, source: string, symbols: Map<string, SymbolState>, headlines: Map<string, Headline>, health: any, flow: any, orders: Map<string, import("./actions.js").Order>}} State */

const MAX_HEADLINES = 200;
const MAX_BARS = 400;

/** @returns {State} */
function empty() {
  return { connected: false, received_ms: 0, now_us: 0, caught_up: false, clock_ts_us: 0, mode: "", source: "", symbols: new Map(), headlines: new Map(), health: null, flow: null, orders: new Map() };
}

/** @param {string} symbol @returns {SymbolState} */
function emptySymbol(symbol) {
  return { symbol, price: null, price_ts_us: 0, change: null, spark: [], bars: new Map(), forecasts: new Map(), skills: new Map(), historyAsked: false, historyComplete: false };
}

/** Holds the state of the page and tells its subscribers, once a frame of the screen, that something changed. */
export class Store {
  constructor() {
    this.state = empty();
    /** @type {((state: State) => void)[]} */
    this.subscribers = [];
    this.due = false;
  }

  /** @param {(state: State) => void} subscriber */
  subscribe(subscriber) {
    this.subscribers.push(subscriber);
  }

  changed() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      for (const subscriber of this.subscribers) subscriber(this.state);
    });
  }

  /** @param {any} page @param {boolean} isSnapshot */
  apply(page, isSnapshot) {
    if (isSnapshot) this.state = empty();
    const { symbols = [], headlines = [], orders = [], health, flow, ...rest } = page;
    Object.assign(this.state, { clock_ts_us: 0, mode: "", source: "" }, rest, { connected: true, received_ms: performance.now() });
    for (const row of symbols) this.applySymbol(row);
    for (const headline of headlines) this.state.headlines.set(headline.id, headline);
    for (const id of this.state.headlines.keys()) {
      if (this.state.headlines.size <= MAX_HEADLINES) break;
      this.state.headlines.delete(id);
    }
    for (const order of orders) this.state.orders.set(order.command_id, order);
    if (health) this.state.health = health;
    if (flow) this.state.flow = flow;
    this.changed();
  }

  /** @param {any} row */
  applySymbol(row) {
    const { bars, forecasts, skills, reset, ...rest } = row;
    const known = this.state.symbols.get(row.symbol) ?? emptySymbol(row.symbol);
    if (reset) known.bars.clear();
    Object.assign(known, rest);
    this.state.symbols.set(row.symbol, known);
    for (const forecast of forecasts) known.forecasts.set(`${forecast.horizon_min} ${forecast.role} ${forecast.provisional}`, forecast);
    for (const skill of skills) known.skills.set(`${skill.horizon_min} ${skill.model_id}`, skill);
    this.applyBars(known, bars);
  }

  /** @param {SymbolState} known @param {Bar[]} bars */
  applyBars(known, bars) {
    for (const bar of bars) {
      const present = known.bars.get(bar.minute_ts_us);
      if (!present || present.revision <= bar.revision) known.bars.set(bar.minute_ts_us, bar);
    }
    if (known.bars.size > MAX_BARS) {
      const newest = [...known.bars.values()].sort((a, b) => a.minute_ts_us - b.minute_ts_us).slice(-MAX_BARS);
      known.bars = new Map(newest.map((bar) => [bar.minute_ts_us, bar]));
    }
    this.changed();
  }

  /** Fetch the bars of `symbol` from before this page was opened; updates bring the newer ones. @param {string} symbol */
  async loadHistory(symbol) {
    const known = this.state.symbols.get(symbol);
    if (!known || known.historyAsked) return;
    known.historyAsked = true;
    const response = await fetch(`v1/bars?symbol=${encodeURIComponent(symbol)}`).catch(() => null);
    if (response?.ok) {
      this.applyBars(known, await response.json());
      known.historyComplete = true;
    } else known.historyAsked = false;
  }

  lost() {
    this.state.connected = false;
    this.changed();
  }
}

/** Keep `store` fed; the browser itself reconnects and names the last frame that it had. @param {Store} store */
export function connect(store) {
  const source = new EventSource("v1/stream");
  source.addEventListener("snapshot", (event) => store.apply(JSON.parse(event.data), true));
  source.addEventListener("update", (event) => store.apply(JSON.parse(event.data), false));
  source.addEventListener("error", () => {
    store.lost();
    if (source.readyState === EventSource.CLOSED) setTimeout(() => connect(store), 2000);
  });
}
