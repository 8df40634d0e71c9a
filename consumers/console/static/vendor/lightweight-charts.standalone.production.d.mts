// What the page takes of Lightweight Charts, for the check of its types; the library's own declarations are not vendored.
export const CandlestickSeries: any;
export const HistogramSeries: any;
export const LineSeries: any;
export function createChart(container: HTMLElement, options: object): any;
