// The loss curves on the Models view: a small picture for each stored model, those of one kind on one scale.

import { byId, label, make, say, svg } from "./dom.js";

/** @typedef {{name: string, model_id: string, train: number[], validation: number[]}} Curves */

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [220, 96, 38, 6, 8, 16];
/** @type {Record<string, string>} what each kind of model minimises */
const UNITS = { forecaster: "Price models: pinball and Huber loss, in volatilities.", sentiment: "Headline models: log loss." };

/** @param {Curves[]} all */
export function drawLosses(all) {
  const shown = all.filter((curves) => curves.train.length);
  byId("loss-empty").hidden = shown.length > 0;
  byId("loss-note").hidden = !shown.length;
  const kinds = [...new Set(shown.map((curves) => curves.name))];
  say(byId("loss-units"), kinds.map((name) => UNITS[name] ?? "").join(" "));
  const scales = new Map(kinds.map((name) => [name, scaleOf(shown.filter((curves) => curves.name === name))]));
  const box = byId("losses");
  const shape = JSON.stringify(shown);
  if (box.dataset.shape === shape) return;
  box.dataset.shape = shape;
  box.replaceChildren(...shown.map((curves) => figure(curves, scales.get(curves.name) ?? [0, 1])));
}

/** @param {Curves[]} curves @returns {[number, number]} the losses that occur, with a little room */
function scaleOf(curves) {
  const losses = curves.flatMap(({ train, validation }) => [...train, ...validation]);
  const [least, most] = [Math.min(...losses), Math.max(...losses)];
  const room = Math.max(most - least, Math.abs(most) * 0.01, 1e-9) * 0.06;
  return [least - room, most + room];
}

/** Which epoch is served: the one with the least validation loss, or the last where nothing was held out. @param {Curves} curves @returns {number} from 0 */
function servedOf({ train, validation }) {
  return validation.length ? validation.indexOf(Math.min(...validation)) : train.length - 1;
}

/** @param {Curves} curves @param {[number, number]} scale @returns {HTMLElement} */
function figure(curves, scale) {
  const served = servedOf(curves);
  const loss = (curves.validation.length ? curves.validation : curves.train)[served];
  const head = make("div", { class: "multiple-head" }, make("b", { class: "clip model", text: curves.model_id, title: curves.model_id }), make("span", { class: "number", text: loss.toPrecision(4) }));
  const words = `epoch ${served + 1} of ${curves.train.length} is kept${curves.validation.length ? "" : "; nothing was held out"}`;
  return make("figure", { class: "multiple" }, head, picture(curves, scale, served), make("p", { class: "muted", text: words }));
}

/** @param {Curves} curves @param {[number, number]} scale @param {number} served */
function picture({ model_id, train, validation }, [low, high], served) {
  const x = (/** @type {number} */ epoch) => LEFT + ((WIDTH - LEFT - RIGHT) * (train.length > 1 ? epoch / (train.length - 1) : 0.5));
  const y = (/** @type {number} */ loss) => TOP + ((high - loss) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const line = (/** @type {number[]} */ losses, /** @type {string} */ name) => svg("polyline", { points: losses.map((loss, epoch) => `${x(epoch).toFixed(1)},${y(loss).toFixed(1)}`).join(" "), class: name });
  const dots = [...(train.length > 1 ? [] : [svg("circle", { cx: x(0), cy: y(train[0]), r: 2, class: "loss-dot" })]), svg("circle", { cx: x(served), cy: y((validation.length ? validation : train)[served]), r: 3, class: "held" })];
  const grid = [high, low].flatMap((loss) => [svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(loss), y2: y(loss), class: "rail-line" }), label(LEFT - 4, y(loss) + 3, loss.toPrecision(3), "axis", "end")]);
  const epochs = train.length > 1 ? [label(x(0), HEIGHT - 4, "1", "axis", "start"), label(x(train.length - 1), HEIGHT - 4, `epoch ${train.length}`, "axis", "end")] : [label(x(0), HEIGHT - 4, "epoch 1", "axis", "middle")];
  const told = [["training", train], ["validation", validation]].filter(([, losses]) => losses.length).map(([name, losses]) => `${name} from ${Number(losses[0]).toPrecision(3)} to ${Number(losses.at(-1)).toPrecision(3)}`);
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Loss of ${model_id} over ${train.length} epochs: ${told.join(", ")}` }, ...grid, ...epochs, line(train, "train-loss"), line(validation, "ratio"), ...dots);
}
