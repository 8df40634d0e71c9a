// The end of one role's log, asked for while it is open.

import { byId, say } from "./dom.js";
import { Polling } from "./polling.js";

/** Shows the end of a log. */
export class LogTail {
  constructor() {
    this.role = "";
    this.tail = new Polling(() => `v1/logs/${encodeURIComponent(this.role)}`, ({ lines }) => this.show(lines), () => this.missing());
    byId("log-close").addEventListener("click", () => this.open(""));
  }

  /** @param {string} role empty to close it */
  open(role) {
    this.role = role;
    byId("log-box").hidden = !role;
    say(byId("log-title"), `Log of ${role}`);
    say(byId("log"), role ? "…" : "");
    this.look();
    if (role) byId("log-box").scrollIntoView({ block: "nearest" });
  }

  look() {
    if (this.role) this.tail.look();
  }

  /** @param {string[]} lines */
  show(lines) {
    const log = byId("log");
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    say(log, lines.length ? lines.join("\n") : "It has said nothing.");
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  missing() {
    say(byId("log"), "Its log is not on this machine: where roles run apart, their own logs have it.");
  }
}
