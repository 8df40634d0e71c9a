// What is drawn on a chart by ourselves: the part that all such series primitives share.

/** Attached to a series; whoever extends it draws, in pixels of the page. */
export class Primitive {
  constructor() {
    /** The chart and the series that it is attached to. @type {any} */
    this.chart = null;
    /** @type {any} */
    this.series = null;
    /** @type {(() => void) | undefined} */
    this.requestUpdate = undefined;
  }

  /** @param {any} attached */
  attached({ chart, series, requestUpdate }) {
    Object.assign(this, { chart, series, requestUpdate });
  }

  updateAllViews() {}

  paneViews() {
    const renderer = { draw: (/** @type {any} */ target) => target.useMediaCoordinateSpace((/** @type {any} */ scope) => this.draw(scope.context)) };
    return [{ zOrder: () => "normal", renderer: () => renderer }];
  }

  /** @param {CanvasRenderingContext2D} _context */
  draw(_context) {}
}
