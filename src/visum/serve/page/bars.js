// Probabilities as bars: a table, so that a screen reader reads classes and numbers.

import { make } from "./dom.js";
import { count, percent } from "./words.js";

const FEW = 8; // rows before "show all"

function row(each, said, set, cut) {
  const track = make("span", { className: "track" }, make("span", { className: "fill" }));
  track.firstChild.style.width = `${100 * each.probability}%`;
  if (cut !== null) {
    track.append(make("span", { className: "cut" }));
    track.lastChild.style.left = `calc(${100 * cut}% - 1px)`;
  }
  const name = make("th", { scope: "row" }, make("span", { text: each.class }));
  if (set?.has(each.class)) name.append(" ", make("span", { className: "flag", text: "in the set" }));
  const value = make("data", { value: String(each.probability), text: percent(each.probability) });
  return make(
    "tr",
    { className: said.has(each.class) ? "yes" : "" },
    name,
    make("td", { "aria-hidden": "true" }, track),
    make("td", { className: "num" }, value),
  );
}

/**
 * Put the bars of an answer into `place`. `said`: labels that are answered. `cut`: where a threshold is drawn, or null.
 * All rows are shown when there are few, else the first and those that are answered, and a button for the rest.
 */
export function bars(place, answer, said, cut, all = false) {
  const chosen = new Set(said);
  const set = answer.set ? new Set(answer.set) : null;
  const ranked = answer.predictions;
  const shown = all || ranked.length <= FEW + 2 ? ranked : ranked.filter((each, n) => n < FEW || chosen.has(each.class));
  const head = make(
    "thead",
    {},
    make("tr", {}, make("th", { scope: "col", text: "Class" }), make("td", { "aria-hidden": "true" }), make("th", { scope: "col", className: "num", text: "Probability" })),
  );
  const body = make("tbody", {}, ...shown.map((each) => row(each, chosen, set, cut)));
  place.replaceChildren(make("table", { className: "bars", "aria-label": "Probability of each class" }, head, body));
  if (shown.length < ranked.length) {
    const more = make("button", { type: "button", className: "plain", text: `Show all ${count(ranked.length)} classes` });
    more.addEventListener("click", () => {
      bars(place, answer, said, cut, true);
      place.querySelector("table").tabIndex = -1;
      place.querySelector("table").focus();
    });
    place.append(more);
  }
}
