// The Models view: who serves and why, what is stored and how it learnt, promotions, announcements and drift; and the buttons that change it.

import { button, confirmed } from "./actions.js";
import { byId, make, say } from "./dom.js";
import * as format from "./format.js";
import { drawLosses } from "./losses.js";
import { Polling } from "./polling.js";
import { drawTimeline } from "./timeline.js";

/** The tab. */
export class ModelsView {
  /** @param {import("./actions.js").Orders} orders */
  constructor(orders) {
    this.orders = orders;
    this.answer = byId("models-answer");
    this.champion = "";
    /** @type {any[]} */
    this.families = [];
    /** @type {any[]} */
    this.drifted = [];
    this.models = new Polling(() => "v1/models", (known) => this.show(known));
    this.losses = new Polling(() => "v1/models/losses", drawLosses);
    this.drifts = new Polling(() => "v1/events?kind=drift&limit=20", (page) => this.showDrifts(page));
    new ResizeObserver(() => drawTimeline(this.families, this.drifted)).observe(byId("line"));
    byId("retrain").addEventListener("click", () => this.retrain());
    byId("rollback").addEventListener("click", () => this.rollBack());
  }

  /** @param {import("./stream.js").State} state */
  render(state) {
    this.models.look();
    this.losses.look();
    this.drifts.look();
    const role = (state.health?.roles ?? []).find((/** @type {any} */ one) => one.role === "retrain");
    byId("retrain").title = role && !role.silent ? role.detail : "the role retrain does not run here";
  }

  /** @param {{families: any[], announced: any[]}} known */
  show(known) {
    this.families = known.families;
    this.champion = known.families[0].champion ?? "";
    showModels(known, (id) => this.promote(id));
    drawTimeline(this.families, this.drifted);
  }

  /** @param {{items: any[]}} page */
  showDrifts({ items }) {
    this.drifted = items;
    list("drift", items.map((event) => item(format.dateTime(event.counts.event_ts_us ?? event.wall_ts_us), event.detail)));
    drawTimeline(this.families, items);
  }

  async retrain() {
    if (await confirmed("Train a forecaster now, on what the lake holds? It takes minutes of a core, at low priority; it serves only if it is better by its test.", "Train")) this.orders.give("retrain", {}, this.answer);
  }

  async rollBack() {
    const past = this.families[0]?.promotions ?? [];
    const before = [...past].reverse().find((/** @type {any} */ one) => one.model_id !== past.at(-1).model_id);
    if (!before) return say(this.answer, "There is no champion before this one to go back to.");
    if (await confirmed(`Roll back from ${this.champion} to ${before.model_id}? It serves from the next minutes on.`, "Roll back")) this.orders.give("rollback", { name: "forecaster" }, this.answer);
  }

  /** @param {string} model_id */
  async promote(model_id) {
    if (await confirmed(`Make ${model_id} the champion? It serves from the next minutes on, whatever its test said.`, "Promote")) this.orders.give("promote", { model_id }, this.answer);
  }
}

const OF = { forecaster: "prices", sentiment: "headlines", monthly: "months", daily: "days" };

/** @param {{families: any[], announced: any[]}} known @param {(model_id: string) => void} promote */
function showModels({ families, announced }, promote) {
  const [forecaster, texts] = families;
  const stored = families.flatMap((family) => family.stored.map((/** @type {any} */ card) => storedRow(card, family, promote)));
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

/** @param {any} card @param {any} family @param {(model_id: string) => void} promote */
function storedRow(card, { name, champion }, promote) {
  const skill = card.metrics.skill_pinball;
  const act = make("td", { class: "number" }, ...(card.model_id === champion ? [] : [button("Promote", () => promote(card.model_id), `make ${card.model_id} the champion`)]));
  return make("tr", {},
    make("td", { class: "clip model", text: card.model_id, title: card.model_id }), make("td", { text: /** @type {any} */ (OF)[name] }), make("td", { text: card.model_id === champion ? "champion" : "" }), make("td", { text: format.dateTime(card.data_cutoff_ts_us) }),
    make("td", { class: "number", text: skill === undefined ? "–" : format.signedPercent(skill, 2) }), make("td", { class: "number", text: card.metrics.windows === undefined ? "–" : format.count(card.metrics.windows) }), act);
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
