// A table as CSV (RFC 4180) that a spreadsheet opens without running anything in it. Pure.

const FORMULA = /^[\s\u00a0]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/; // what a spreadsheet would compute; full width as well

/** One cell: a text that looks like a formula gets a leading apostrophe; quotes where the format needs them. */
export function cell(value) {
  if (typeof value === "number") return String(value);
  const text = FORMULA.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Rows of cells, the first being the header. With a byte order mark: Excel takes UTF-8 for something else otherwise. */
export const csv = (rows) => `\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;

/** What is known of each picture. `rows`: {name, answer, said, sure, error}; `classes`: names, each gets a column. */
export function sheet(rows, classes) {
  const head = ["file", "answer", "probability", "set", "unknown", "error", ...classes.map((name) => `probability of ${name}`)];
  const lines = rows.map(({ name, answer, said, sure, error }) => {
    if (!answer) return [name, "", "", "", "", error ?? "not asked", ...classes.map(() => "")];
    const of = new Map(answer.predictions.map((each) => [each.class, each.probability]));
    const unknown = answer.unknown === undefined ? "" : answer.unknown ? "yes" : "no";
    return [name, said.join("|"), sure, (answer.set ?? []).join("|"), unknown, "", ...classes.map((each) => of.get(each) ?? "")];
  });
  return [head, ...lines];
}
