// Data that is asked for, not pushed: every few seconds, and only while somebody looks.

const EVERY_MS = 5_000;

/** Asks for one address while its tab is shown. */
export class Polling {
  /** @param {() => string} address @param {(content: any) => void} take called with each answer @param {() => void} [missing] called where there is none @param {number} [every_ms] */
  constructor(address, take, missing = () => undefined, every_ms = EVERY_MS) {
    this.address = address;
    this.take = take;
    this.missing = missing;
    this.every_ms = every_ms;
    this.asked_ms = -Infinity;
    this.asked = "";
  }

  /** Ask again where it is time; called with every frame that the tab is shown. */
  look() {
    const address = this.address();
    const now_ms = performance.now();
    if (address === this.asked && now_ms - this.asked_ms < this.every_ms) return;
    this.asked = address;
    this.asked_ms = now_ms;
    this.ask(address);
  }

  /** @param {string} address */
  async ask(address) {
    const response = await fetch(address).catch(() => null);
    if (response?.status === 404 && address === this.asked) this.missing();
    if (!response?.ok || address !== this.asked) return; // the frame says that the connection is lost
    this.take(await response.json());
  }
}
