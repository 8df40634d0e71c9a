// Sentiment under the chart: for each minute with headlines a stick from 0 to their mean score, with a head.

import { isQuiet } from "./format.js";
import { Primitive } from "./primitive.js";

/** @typedef {{time: number, value: number}} Stick `time` in seconds, `value` from -1 to 1 */

const [STICK, HEAD] = [1.5, 3.5]; // pixels: the width, and the radius

/** The sticks as a series primitive: bars would be as wide as a minute. */
export class Lollipops extends Primitive {
  constructor() {
    super();
    /** @type {Stick[]} */
    this.sticks = [];
    this.colours = { up: "", down: "", quiet: "" };
  }

  /** @param {Stick[]} sticks */
  show(sticks) {
    this.sticks = sticks;
    this.requestUpdate?.();
  }

  /** @param {CanvasRenderingContext2D} context */
  draw(context) {
    const foot = this.series.priceToCoordinate(0);
    for (const { time, value } of this.sticks) {
      const [x, y] = [this.chart.timeScale().timeToCoordinate(time), this.series.priceToCoordinate(value)];
      if (x === null || y === null || foot === null) continue;
      context.fillStyle = isQuiet(value) ? this.colours.quiet : value > 0 ? this.colours.up : this.colours.down;
      context.fillRect(x - STICK / 2, Math.min(y, foot), STICK, Math.abs(y - foot));
      context.beginPath();
      context.arc(x, y, HEAD, 0, 2 * Math.PI);
      context.fill();
    }
  }
}
