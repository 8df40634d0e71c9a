// Which tab is shown: the hash of the address says so, links and keys change it. And the search, which finds tabs and symbols.

import { byId, make } from "./dom.js";

const NAMES = ["market", "skill", "pipeline", "models", "replay", "outlook"];
const MOST = 1_000; // symbols offered

/** Shows one tab at a time. */
export class Tabs {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.shown = "";
    addEventListener("hashchange", () => this.follow());
    addEventListener("keydown", (event) => this.key(event));
    this.follow();
  }

  follow() {
    const wanted = location.hash.slice(1);
    this.shown = NAMES.includes(wanted) ? wanted : "market";
    for (const name of NAMES) byId(`tab-${name}`).hidden = name !== this.shown;
    for (const link of byId("tabs").children) {
      if (link.getAttribute("href") === `#${this.shown}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = this.shown === "market" ? "tickcast" : `tickcast · ${this.shown}`;
    this.changed();
  }

  /** @param {string} name */
  go(name) {
    location.hash = name;
  }

  /** Digits choose a tab, / the search. @param {KeyboardEvent} event */
  key(event) {
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      byId("search").focus();
    } else if (NAMES[Number(event.key) - 1]) this.go(NAMES[Number(event.key) - 1]);
  }
}

/** The search field. */
export class Search {
  /** @param {Tabs} tabs @param {(symbol: string) => void} choose */
  constructor(tabs, choose) {
    this.tabs = tabs;
    this.choose = choose;
    this.field = /** @type {HTMLInputElement} */ (byId("search"));
    /** @type {string[]} */
    this.symbols = [];
    this.field.addEventListener("keydown", (event) => this.key(event));
    this.field.addEventListener("input", (event) => !(event instanceof InputEvent) && this.find()); // one of the list was picked
  }

  /** @param {string[]} symbols in alphabetical order */
  offer(symbols) {
    if (symbols.length === this.symbols.length && symbols.every((symbol, at) => symbol === this.symbols[at])) return;
    this.symbols = symbols;
    byId("search-list").replaceChildren(...[...symbols.slice(0, MOST), ...NAMES].map((name) => {
      const option = make("option");
      option.setAttribute("value", name);
      return option;
    }));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === "Enter") this.find();
    else if (event.key === "Escape") this.leave();
  }

  find() {
    const wanted = this.field.value.trim().toLowerCase();
    if (!wanted) return;
    const starts = (/** @type {string} */ name) => name.toLowerCase().startsWith(wanted);
    const symbol = this.symbols.find((name) => name.toLowerCase() === wanted) ?? this.symbols.find(starts);
    const tab = NAMES.find(starts);
    if (symbol !== undefined) this.choose(symbol);
    if (symbol !== undefined || tab) this.tabs.go(symbol !== undefined ? "market" : /** @type {string} */ (tab));
    this.field.setAttribute("aria-invalid", String(symbol === undefined && !tab));
    if (symbol !== undefined || tab) this.leave();
  }

  leave() {
    this.field.value = "";
    this.field.setAttribute("aria-invalid", "false");
    this.field.blur();
  }
}
