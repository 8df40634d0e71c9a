// The Models view: who serves and why, what is stored, promotions, announcements and drift.

import { byId, make, say } from "./dom.js";
import * as format from "./format.js";
import { Polling } from "./polling.js";

/** The tab. */
export class ModelsView {
  constructor() {
    this.models = new Polling(() => "v1/models", showModels);
    this.drifts = new Polling(() => "v1/events?kind=drift&limit=20", showDrifts);
  }

  render() {
    this.models.look();
    this.drifts.look();
  }
}

const OF = { forecaster: "prices", sentiment: "headlines" };

/** @param {{families: any[], announced: any[]}} known */
function showModels({ families, announced }) {
  const [forecaster, texts] = families;
  const stored = families.flatMap((family) => family.stored.map((/** @type {any} */ card) => storedRow(card, family)));
  say(byId("models-words"), served(forecaster));
  say(byId("models-why"), [because(forecaster, announced), texts.champion ? `Headlines are scored by ${texts.champion}.` : ""].filter(Boolean).join(" "));
  byId("models-empty").hidden = Boolean(forecaster.champion || forecaster.stored.length);
  byId("stored-box").hidden = !stored.length;
  byId("stored").querySelector("tbody")?.replaceChildren(...stored);
  list("promotions", families.flatMap((family) => [...family.promotions].reverse().map((one) => item(one.model_id, one.reason))));
  list("announced", announced.slice(0, 20).map((one) => item(`${one.model_id} · ${one.promoted ? "champion" : one.shadow ? "challenger, forecasts too" : "not promoted"}`, one.reason + from(one))));
}

/** @param {any} family @returns {string} */
function served({ champion, stored }) {
  return champion ? `${champion} serves` : stored.length ? "No champion: the model that was stored last serves" : "No model yet";
}

/** @param {any} family @param {any[]} announced @returns {string} */
function because({ name, champion, promotions }, announced) {
  const word = announced.find((one) => one.promoted && one.name === name);
  const reason = word?.reason ?? promotions.at(-1)?.reason;
  return champion && reason ? `Because: ${reason}${word ? from(word) : ""}.` : "";
}

/** @param {any} word @returns {string} */
function from(word) {
  return word.effective_from_ts_us ? `; from ${format.dateTime(word.effective_from_ts_us)} on` : "";
}

/** @param {any} card @param {any} family */
function storedRow(card, { name, champion }) {
  const skill = card.metrics.skill_pinball;
  return make("tr", {},
    make("td", { class: "clip model", text: card.model_id, title: card.model_id }), make("td", { text: /** @type {any} */ (OF)[name] }), make("td", { text: card.model_id === champion ? "champion" : "" }), make("td", { text: format.dateTime(card.data_cutoff_ts_us) }),
    make("td", { class: "number", text: skill === undefined ? "–" : format.signedPercent(skill, 2) }), make("td", { class: "number", text: card.metrics.windows === undefined ? "–" : format.count(card.metrics.windows) }));
}

/** @param {{items: any[]}} page */
function showDrifts({ items }) {
  list("drift", items.map((event) => item(format.dateTime(event.counts.event_ts_us ?? event.wall_ts_us), event.detail)));
}

/** @param {string} id @param {Node[]} items */
function list(id, items) {
  byId(`${id}-empty`).hidden = items.length > 0;
  byId(id).replaceChildren(...items);
}

/** @param {string} title @param {string} text */
function item(title, text) {
  return make("li", {}, make("b", { class: "model", text: title }), make("p", { class: "muted", text }));
}
