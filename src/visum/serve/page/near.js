// The nearest training pictures, where the server may show them.

import { thumbnail } from "./api.js";
import { make } from "./dom.js";

let turn = 0;
let urls = [];

/** A row of them in `place`; an answer without any leaves it empty. */
export function near(place, answer) {
  const mine = ++turn;
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  place.replaceChildren();
  if (!answer.neighbours?.length) return;
  const row = make("ul", { className: "near" });
  for (const each of answer.neighbours) {
    const image = make("img", { alt: `A training picture labelled ${each.label}` });
    const item = make("li", {}, image, make("span", { text: each.label }), make("span", { className: "range", text: each.distance.toFixed(2) }));
    if (![each.label, ...each.label.split(", ")].some((label) => answer.labels.includes(label))) item.className = "unlike";
    row.append(item);
    thumbnail(each.thumbnail).then(
      (blob) => {
        if (mine !== turn) return; // another picture has come meanwhile
        const url = URL.createObjectURL(blob);
        urls.push(url);
        image.src = url;
      },
      () => image.classList.add("gone"),
    );
  }
  place.append(make("h3", { text: "Nearest training pictures" }), row);
}
