// Many pictures as a table.

import { labels, nothing, sureness } from "./decide.js";
import { make } from "./dom.js";
import { list, percent } from "./words.js";

const SIDE = 56; // CSS pixels of a thumbnail

/** A small copy of each picture, one after the other, so that large photos are not all in memory at once. */
export async function thumbnails(rows, going) {
  for (const row of rows) {
    if (!going()) return;
    try {
      const whole = await createImageBitmap(row.file);
      const scale = (2 * SIDE) / Math.max(whole.width, whole.height);
      row.thumb.width = Math.max(1, Math.round(whole.width * scale));
      row.thumb.height = Math.max(1, Math.round(whole.height * scale));
      row.thumb.getContext("2d").drawImage(whole, 0, 0, row.thumb.width, row.thumb.height);
      whole.close();
    } catch {
      // a kind that the server reads and the browser does not, or no picture at all: the row says which
    }
  }
}

/** A row for each file: {file, name, thumb, line, answer, error, next, said, sure}. `open(row)` when its name is pressed. */
export function table(place, files, open) {
  const rows = files.map((file) => {
    const row = { file, name: file.name, thumb: make("canvas", { className: "thumb", width: 1, height: 1, "aria-hidden": "true" }) };
    const name = make("button", { type: "button", className: "name", text: file.name, disabled: true });
    name.addEventListener("click", () => open(row));
    row.button = name;
    row.cells = [make("td", { text: "…" }), make("td", { className: "num" })];
    row.line = make("tr", {}, make("td", {}, row.thumb), make("th", { scope: "row" }, name), ...row.cells);
    return row;
  });
  const head = ["Picture", "File", "Answer", "Probability"].map((text) => make("th", { scope: "col", text }));
  head.at(-1).className = "num";
  const body = make("tbody", {}, ...rows.map((row) => row.line));
  place.replaceChildren(make("table", { className: "batch" }, make("thead", {}, make("tr", {}, ...head)), body));
  return rows;
}

/** Write what is known of a row into its cells; called again when the threshold moves. */
export function fill(row, model, cut) {
  const [answer, number] = row.cells;
  if (row.error) {
    answer.replaceChildren(make("span", { className: "bad", text: row.error }), make("small", { text: row.next ?? "" }));
    return;
  }
  if (!row.answer) return;
  row.said = labels(row.answer, model, cut);
  row.sure = sureness(row.answer, row.said);
  row.button.disabled = false;
  answer.replaceChildren(make("span", { className: row.said.length ? "yes" : "", text: row.said.length ? list(row.said) : nothing(row.answer.task) }));
  if (row.answer.unknown) answer.append(make("small", { text: "unlike what it has learned" }));
  number.replaceChildren(make("data", { value: String(row.sure), text: percent(row.sure) }));
}
