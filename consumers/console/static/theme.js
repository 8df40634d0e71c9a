// The switch between the system's theme, light and dark; the choice is remembered.

import { byId, say } from "./dom.js";

const THEMES = ["auto", "light", "dark"];

/** @param {() => void} repaint called where colours changed, for what is not drawn by CSS */
export function dress(repaint) {
  byId("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length];
    localStorage.setItem("theme", next);
    wear(next, repaint);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  wear(localStorage.getItem("theme") ?? "auto", repaint);
}

/** @param {string} theme @param {() => void} repaint */
function wear(theme, repaint) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  say(byId("theme"), `Theme: ${theme}`);
  repaint();
}
