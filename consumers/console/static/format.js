// Numbers and times as people read them. Every function takes what may be missing and then returns "–".

const MISSING = "–";

/** @param {number | null | undefined} price @returns {string} */
export function price(price) {
  if (price === null || price === undefined) return MISSING;
  const digits = price >= 10 ? 2 : price >= 0.1 ? 4 : 8;
  return price.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** @param {number | null | undefined} fraction @param {number} [digits] @returns {string} signed per cent with its unit */
export function signedPercent(fraction, digits = 2) {
  if (fraction === null || fraction === undefined) return MISSING;
  const text = Math.abs(fraction * 100).toFixed(digits);
  const sign = Number(text) === 0 ? "" : fraction < 0 ? "−" : "+";
  return `${sign}${text} %`;
}

/** @param {number | null | undefined} fraction @returns {"up" | "down" | ""} the class that colours it */
export function direction(fraction) {
  return !fraction ? "" : fraction > 0 ? "up" : "down";
}

/** @param {number} score @returns {string} */
export function score(score) {
  const text = Math.abs(score).toFixed(2);
  return `${Number(text) === 0 ? "" : score < 0 ? "−" : "+"}${text}`;
}

/** @param {number} value @returns {string} */
function short(value) {
  return value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en-US");
}

/** @param {{p50_ms: number, p99_ms: number} | null | undefined} latency @returns {string} both in the unit that suits the larger one */
export function latency(latency) {
  if (!latency) return MISSING;
  const [scale, unit] = latency.p99_ms < 10_000 ? [1, "ms"] : [1000, "s"];
  return `${short(latency.p50_ms / scale)} / ${short(latency.p99_ms / scale)} ${unit}`;
}

/** @param {number} count @returns {string} */
export function count(count) {
  return count.toLocaleString("en-US");
}

/** @param {number} per_s @returns {string} */
export function rate(per_s) {
  return per_s >= 1000 ? Math.round(per_s).toLocaleString("en-US") : per_s.toFixed(1);
}

/** @param {number | null | undefined} p @returns {string} a p-value */
export function probability(p) {
  return p === null || p === undefined ? MISSING : p < 0.001 ? "< 0.001" : p.toFixed(3);
}

/** @param {number} ts_us @returns {string} date and time, UTC */
export function dateTime(ts_us) {
  return ts_us ? `${new Date(ts_us / 1000).toISOString().slice(0, 19).replace("T", " ")} UTC` : MISSING;
}

/** @param {number} ts_us @returns {string} hours and minutes, UTC */
export function hourMinute(ts_us) {
  return new Date(ts_us / 1000).toISOString().slice(11, 16);
}

/** @param {number} duration_us @returns {string} */
export function age(duration_us) {
  const s = Math.max(0, Math.round(duration_us / 1e6));
  return s < 2 ? "now" : s < 120 ? `${s} s ago` : s < 7200 ? `${Math.round(s / 60)} min ago` : s < 172_800 ? `${Math.round(s / 3600)} h ago` : `${Math.round(s / 86_400).toLocaleString("en-US")} d ago`;
}

/** @param {number} s @returns {string} */
export function duration(s) {
  const whole = Math.max(0, Math.round(s));
  return whole < 120 ? `${whole} s` : whole < 7200 ? `${Math.round(whole / 60)} min` : `${(whole / 3600).toFixed(1)} h`;
}

/** @param {number} bytes @returns {string} */
export function bytes(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** Whether a sentiment is so near to 0 that it says nothing either way. @param {number} score from -1 to 1 */
export const isQuiet = (score) => Math.abs(score) < 0.05;
