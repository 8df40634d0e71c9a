// What the page changes: orders, with the token that they need, and what becomes of them.

import { byId, make, say } from "./dom.js";

/** @typedef {{command_id: string, kind: string, asked_by: string, wall_ts_us: number, arguments: Record<string, string>, state: string, said: string}} Order */

const KEY = "tickcast token";
const PATIENCE_MS = 30_000;
const MARK = /[#&]token=([^&]+)/;

/** Take the token out of the address, where it came behind the `#`, and keep it for this tab of the browser. */
export function takeToken() {
  const found = MARK.exec(location.hash);
  if (!found) return;
  sessionStorage.setItem(KEY, decoded(found[1]));
  history.replaceState(null, "", `${location.pathname}${location.search}${location.hash.replace(MARK, "").replace(/^&/, "#")}`);
}

/** @param {string} text @returns {string} as it is where it was not encoded: a wrong address must not end the page */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @returns {string} empty where there is none */
export function token() {
  return sessionStorage.getItem(KEY) ?? "";
}

/** Gives orders and says what became of them. */
export class Orders {
  constructor() {
    /** Where to say what becomes of an order, and when it was given, by its id. @type {Map<string, [HTMLElement, number]>} */
    this.places = new Map();
  }

  /** Give an order; `place` tells what becomes of it. @param {string} what behind /v1/control/ @param {object} body @param {HTMLElement} place */
  async give(what, body, place) {
    if (!token() && !(await askToken())) return say(place, "Nothing was ordered: that needs the console's token.");
    say(place, "…");
    const headers = { Authorization: `Bearer ${token()}`, "Content-Type": "application/json" };
    const response = await fetch(`v1/control/${what}`, { method: "POST", headers, body: JSON.stringify(body) }).catch(() => null);
    if (response?.status === 401) sessionStorage.removeItem(KEY);
    if (!response?.ok) return say(place, await refusal(response));
    const { command_id } = await response.json();
    this.places.set(command_id, [place, performance.now()]);
  }

  /** Say what became of the orders that were given here. @param {Map<string, Order>} orders */
  render(orders) {
    for (const [id, [place, given_ms]] of this.places) {
      const order = orders.get(id);
      if (!order?.state && performance.now() - given_ms > PATIENCE_MS) say(place, "Nobody has answered yet: Pipeline says which processes run.");
      if (!order?.state) continue;
      say(place, order.said[0].toUpperCase() + order.said.slice(1));
      if (order.state !== "begun") this.places.delete(id);
    }
  }
}

/** @param {Response | null} response @returns {Promise<string>} */
async function refusal(response) {
  if (!response) return "The console does not answer.";
  const problem = await response.json().catch(() => ({}));
  return problem.detail || problem.title || `Refused (${response.status}).`;
}

/** Ask for the token. @returns {Promise<boolean>} whether one was given */
async function askToken() {
  const field = /** @type {HTMLInputElement} */ (byId("token"));
  field.value = "";
  if ((await answered("ask-token")) !== "yes" || !field.value) return false;
  sessionStorage.setItem(KEY, field.value.trim());
  return true;
}

/** Ask whether that is meant. @param {string} question @param {string} yes what the button says that does it @returns {Promise<boolean>} */
export async function confirmed(question, yes) {
  say(byId("confirm-words"), question);
  say(byId("confirm-yes"), yes);
  return (await answered("confirm")) === "yes";
}

/** Who waits for a dialog's answer. Not by its `close`, which is told late: a dialog that is opened again at once would hear that of the time before.
 * @type {Map<HTMLDialogElement, (value: string) => void>} */
const waiting = new Map();

/** @param {string} id of a dialog @returns {Promise<string>} the value of the button that closed it; empty where Escape did */
function answered(id) {
  const dialog = /** @type {HTMLDialogElement} */ (byId(id));
  dialog.showModal();
  return new Promise((resolve) => waiting.set(dialog, resolve));
}

/** @param {HTMLDialogElement} dialog @param {string} value */
function close(dialog, value) {
  const resolve = waiting.get(dialog);
  waiting.delete(dialog);
  dialog.close(value);
  resolve?.(value);
}

/** The buttons of the dialogs close them with their value; forms would, but none may be sent from this page. */
export function listenToDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("cancel", () => close(dialog, ""));
    for (const button of dialog.querySelectorAll("button")) {
      button.addEventListener("click", () => close(dialog, button.getAttribute("value") ?? ""));
    }
  }
  byId("token").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // else it would press the button that gets the focus back
    close(/** @type {HTMLDialogElement} */ (byId("ask-token")), "yes");
  });
}

/** @param {string} text @param {() => void} act @param {string} [title] @returns {HTMLElement} a button */
export function button(text, act, title = "") {
  const made = make("button", { text, title });
  made.setAttribute("type", "button");
  made.addEventListener("click", act);
  return made;
}
