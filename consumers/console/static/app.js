// Entry of the page: joins the store to the tabs. Only the tab that is shown is drawn.

import { byId, say } from "./dom.js";
import { renderFrame, renderLink } from "./frame.js";
import { Horizon, MarketView } from "./market.js";
import { ModelsView } from "./models.js";
import { PipelineView } from "./pipeline.js";
import { renderReplay } from "./replay.js";
import { SkillView } from "./skill.js";
import { connect, Store } from "./stream.js";
import { Search, Tabs } from "./tabs.js";

const THEMES = ["auto", "light", "dark"];

const store = new Store();
const tabs = new Tabs(() => store.changed());
const horizon = new Horizon(() => store.changed());
const market = new MarketView(store, horizon);
const search = new Search(tabs, (symbol) => market.choose(symbol));
const [skill, pipeline, models] = [new SkillView(horizon), new PipelineView(), new ModelsView()];
/** @type {Record<string, (state: import("./stream.js").State) => void>} */
const VIEWS = {
  market: (state) => market.render(state),
  skill: () => skill.render(),
  pipeline: (state) => pipeline.render(state),
  models: () => models.render(),
  replay: renderReplay,
  outlook: () => undefined,
};

store.subscribe((state) => {
  renderFrame(state);
  horizon.offer(state);
  search.offer([...state.symbols.keys()].sort());
  VIEWS[tabs.shown](state);
});

/** @param {string} theme */
function wear(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  say(byId("theme"), `Theme: ${theme}`);
  market.chart.repaint();
}

byId("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length];
  localStorage.setItem("theme", next);
  wear(next);
});
for (const link of document.querySelectorAll("[data-goal]")) {
  link.addEventListener("click", () => requestAnimationFrame(() => byId(link.getAttribute("data-goal") ?? "").scrollIntoView()));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => market.chart.repaint());
setInterval(() => renderLink(store.state), 1000);

wear(localStorage.getItem("theme") ?? "auto");
connect(store);
