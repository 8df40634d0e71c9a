// Entry of the page: joins the store to the tabs. Only the tab that is shown is drawn.

import { byId } from "./dom.js";
import { renderFrame, renderLink } from "./frame.js";
import { Horizon, MarketView } from "./market.js";
import { ModelsView } from "./models.js";
import { OutlookView } from "./outlook.js";
import { PipelineView } from "./pipeline.js";
import { renderReplay } from "./replay.js";
import { SkillView } from "./skill.js";
import { connect, Store } from "./stream.js";
import { Search, Tabs } from "./tabs.js";
import { dress } from "./theme.js";

const store = new Store();
const tabs = new Tabs(() => store.changed());
const horizon = new Horizon(() => store.changed());
const market = new MarketView(store, horizon);
const search = new Search(tabs, (symbol) => market.choose(symbol));
const [skill, pipeline, models] = [new SkillView(horizon), new PipelineView(), new ModelsView()];
const outlook = new OutlookView(byId("tab-outlook"));
/** @type {Record<string, (state: import("./stream.js").State) => void>} */
const VIEWS = {
  market: (state) => market.render(state),
  skill: () => skill.render(),
  pipeline: (state) => pipeline.render(state),
  models: () => models.render(),
  replay: renderReplay,
  outlook: (state) => outlook.render(market.symbol, [...state.symbols.keys()]),
};

store.subscribe((state) => {
  renderFrame(state);
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
