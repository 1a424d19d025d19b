// Numbers and lists as people read them. Pure.

const NARROW = "\u202f"; // a thin space that does not break

/** 0.9243 → "92.4 %". What is neither nothing nor everything is never rounded to it. */
export function percent(p) {
  if (p > 0 && p < 0.0005) return `<${NARROW}0.1${NARROW}%`;
  if (p < 1 && p >= 0.9995) return `>${NARROW}99.9${NARROW}%`;
  return `${(100 * p).toFixed(1)}${NARROW}%`;
}

/** A whole number with thin spaces: 12345 → "12 345"; with its noun in the right number. */
export function count(n, one = "", many = `${one}s`) {
  const figure = String(n).replace(/\B(?=(\d{3})+$)/g, ",");
  return one ? `${figure} ${n === 1 ? one : many}` : figure;
}

/** ["a", "b", "c"] → "a, b and c"; after `most` names, how many more there are. */
export function list(names, most = 12, last = "and") {
  const shown = names.slice(0, most);
  if (names.length > most) return `${shown.join(", ")} ${last} ${count(names.length - most)} more`;
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} ${last} ${shown.at(-1)}`;
}

/** Seconds as a length of time: "8 ms", "1.3 s". */
export function duration(seconds) {
  if (seconds < 0.0005) return `<${NARROW}1${NARROW}ms`;
  return seconds < 1 ? `${Math.round(1000 * seconds)}${NARROW}ms` : `${seconds.toFixed(1)}${NARROW}s`;
}
