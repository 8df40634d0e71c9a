// Entry of the page: joins the store to the tabs. Only the tab that is shown is drawn.

import { listenToDialogs, Orders, takeToken } from "./actions.js";
import { byId, say } from "./dom.js";
import { renderFrame, renderLink } from "./frame.js";
import { Horizon, MarketView } from "./market.js";
import { ModelsView } from "./models.js";
import { OutlookView } from "./outlook.js";
import { PipelineView } from "./pipeline.js";
import { ReplayView } from "./replay.js";
import { SkillView } from "./skill.js";
import { connect, Store } from "./stream.js";
import { Search, Tabs } from "./tabs.js";
import { dress } from "./theme.js";

takeToken();
listenToDialogs();
const store = new Store();
const orders = new Orders();
const tabs = new Tabs(() => store.changed());
const horizon = new Horizon(() => store.changed());
const market = new MarketView(store, horizon);
const search = new Search(tabs, (symbol) => market.choose(symbol));
const [skill, pipeline, models, replay] = [new SkillView(horizon), new PipelineView(orders), new ModelsView(orders), new ReplayView(orders)];
const outlook = new OutlookView(byId("tab-outlook"));
/** @type {Record<string, (state: import("./stream.js").State) => void>} */
const VIEWS = {
  market: (state) => market.render(state),
  skill: () => skill.render(),
  pipeline: (state) => pipeline.render(state),
  models: (state) => models.render(state),
  replay: (state) => replay.render(state),
  outlook: (state) => outlook.render(market.symbol, [...state.symbols.keys()]),
};

store.subscribe((state) => {
  renderFrame(state);
  orders.render(state.orders);
  horizon.offer(state);
  search.offer([...state.symbols.keys()].sort());
  VIEWS[tabs.shown](state);
});

for (const link of document.querySelectorAll("[data-goal]")) {
  link.addEventListener("click", () => requestAnimationFrame(() => byId(link.getAttribute("data-goal") ?? "").scrollIntoView()));
}
setInterval(() => renderLink(store.state), 1000);

dress(() => {
  market.chart.repaint();
  outlook.repaint();
});
connect(store);
