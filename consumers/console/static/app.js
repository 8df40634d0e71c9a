// Entry of the page: joins the store to its views.

import { byId, say } from "./dom.js";
import { renderHealth, renderLink } from "./health.js";
import { MarketView } from "./market.js";
import { connect, Store } from "./stream.js";

const THEMES = ["auto", "light", "dark"];

const store = new Store();
const market = new MarketView(store);
store.subscribe((state) => market.render(state));
store.subscribe(renderHealth);

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
byId("letters-link").addEventListener("click", () => byId("letters").setAttribute("open", ""));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => market.chart.repaint());
setInterval(() => renderLink(store.state), 1000);

wear(localStorage.getItem("theme") ?? "auto");
connect(store);
