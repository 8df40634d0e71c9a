// Runs in the page before anything of it does: times prices on their way to the screen. The page does not know of it.
//
// A price is on the screen three frames after its event: in the first the page hands it to the chart, in the second the chart
// draws it, and when the third begins the second has been presented.
(() => {
  const ages_ms = [];
  const Source = window.EventSource;
  const frames = (count, then) => (count ? requestAnimationFrame(() => frames(count - 1, then)) : then());
  window.EventSource = class extends Source {
    constructor(...address) {
      super(...address);
      this.addEventListener("update", (event) => {
        const shown = document.getElementById("chart-title")?.textContent;
        const row = (JSON.parse(event.data).symbols ?? []).find((one) => one.symbol === shown && one.bars.length);
        if (row) frames(3, () => ages_ms.push(performance.timeOrigin + performance.now() - row.price_ts_us / 1000));
      });
    }
  };
  window.tickcastAges = () => ages_ms.splice(0);
  const ready = () => document.querySelector("#symbols tbody tr") && document.querySelector("#chart canvas") && /\d/.test(document.getElementById("price")?.textContent ?? "");
  const wait = () => (ready() ? frames(2, () => (window.tickcastReady_ms = performance.now())) : requestAnimationFrame(wait));
  wait();
})();
