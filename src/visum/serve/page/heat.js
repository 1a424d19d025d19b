// Where an answer came from, drawn over the picture.

import { explain } from "./api.js";
import { $, make, show } from "./dom.js";
import { percent } from "./words.js";

const RAMP = [
  [0.0, 120, 28, 109, 0.0],
  [0.35, 187, 55, 84, 0.3],
  [0.7, 249, 142, 9, 0.6],
  [1.0, 252, 255, 164, 0.8],
]; // value, red, green, blue, opacity; colours of matplotlib's inferno: brighter is more, in grey print as well

/** Colour and opacity of a value 0 … 1: [red, green, blue, opacity], the first three 0 … 255, the last 0 … 1. */
export function colour(value) {
  const v = Math.min(1, Math.max(0, value));
  const above = Math.max(1, RAMP.findIndex((stop) => v <= stop[0]));
  const [low, high] = [RAMP[above - 1], RAMP[above]];
  const part = (v - low[0]) / (high[0] - low[0]);
  return low.slice(1).map((from, channel) => from + part * (high[channel + 1] - from));
}

/**
 * The part of a picture that the network's square covers: [left, top, width, height], in shares of the picture's sides.
 * `fit` as in the bundle: pad (the square reaches beyond the shorter side), crop (it is the middle), squash (it is the picture).
 */
export function square(fit, width, height) {
  if (fit !== "pad" && fit !== "crop") return [0, 0, 1, 1];
  const side = fit === "pad" ? Math.max(width, height) : Math.min(width, height);
  return [(1 - side / width) / 2, (1 - side / height) / 2, side / width, side / height];
}

/** Draw a map (rows of numbers 0 … 1, top to bottom) over a part of a canvas, smoothly. */
export function paint(canvas, map, [left, top, width, height] = [0, 0, 1, 1]) {
  const [rows, columns] = [map.length, map[0].length];
  const small = make("canvas", { width: columns, height: rows });
  const pixels = small.getContext("2d").createImageData(columns, rows);
  map.flat().forEach((value, at) => {
    const [red, green, blue, opacity] = colour(value);
    pixels.data.set([red, green, blue, 255 * opacity], 4 * at);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const context = canvas.getContext("2d");
  const [w, h] = [canvas.width, canvas.height];
  context.clearRect(0, 0, w, h);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(small, left * w, top * h, width * w, height * h);
}

function legend() {
  const strip = make("canvas", { className: "legend", width: 112, height: 10, "aria-hidden": "true" });
  paint(strip, [Array.from({ length: 112 }, (_, at) => at / 111)]);
  return make("p", { className: "range" }, "little", strip, "much: how far a part speaks for the class. Coarse: it was found by hiding one part after the other.");
}

/** Where the map is highest, in words. */
export function where(map) {
  const flat = map.flat();
  const most = Math.max(...flat);
  if (!(most > 0)) return "No single part speaks for it.";
  const at = flat.indexOf(most);
  const third = (n, of) => Math.min(2, Math.floor((3 * (n + 0.5)) / of));
  const row = ["top", "middle", "bottom"][third(Math.floor(at / map[0].length), map.length)];
  const column = ["left", "middle", "right"][third(at % map[0].length, map[0].length)];
  return `Most speaks for it: ${row === column ? "the middle" : `${row} ${column}`}.`;
}

/** Take the map off the picture. */
export function cool() {
  show($("heat"), false);
  $("frame").classList.remove("heated");
}

/** The button, the choice of the class and the legend below a picture. `fail(error)` gets what goes wrong. */
export function look(place, file, model, answer, said, fail) {
  cool();
  const first = said[0] ?? answer.predictions[0]?.class;
  if (first === undefined) return place.replaceChildren();
  const button = make("button", { type: "button", className: "plain", text: "Show what it looked at", "aria-pressed": "false" });
  const select = make(
    "select",
    { "aria-label": "Class to explain", hidden: true },
    ...answer.predictions.slice(0, 50).map((each) => make("option", { value: each.class, text: each.class })),
  );
  select.value = first;
  const key = legend();
  const empty = make("p", { className: "range", role: "status" });
  show(key, false);
  let turn = 0;

  const draw = async () => {
    const mine = ++turn;
    button.disabled = true;
    button.textContent = "Looking …";
    try {
      const seen = await explain(file, model, select.value);
      if (mine !== turn || !place.contains(button)) return;
      const [shown, canvas] = [$("shown"), $("heat")];
      canvas.width = Math.max(1, shown.clientWidth);
      canvas.height = Math.max(1, shown.clientHeight);
      paint(canvas, seen.map, square(model.fit, shown.naturalWidth || 1, shown.naturalHeight || 1));
      canvas.setAttribute("aria-label", `Heat map of the class ${seen.class}, probability ${percent(seen.probability)}. ${where(seen.map)}`);
      empty.textContent = seen.map.flat().some((value) => value > 0) ? "" : "No single part speaks for this class.";
      $("frame").classList.add("heated");
      for (const each of [canvas, select, key]) show(each);
      button.setAttribute("aria-pressed", "true");
    } catch (error) {
      if (mine === turn) fail(error);
    } finally {
      if (mine === turn) {
        button.disabled = false;
        button.textContent = button.getAttribute("aria-pressed") === "true" ? "Show the plain picture" : "Show what it looked at";
      }
    }
  };
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-pressed") === "false") return draw();
    turn += 1;
    cool();
    for (const each of [select, key]) show(each, false);
    empty.textContent = "";
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Show what it looked at";
  });
  select.addEventListener("change", draw);
  place.replaceChildren(button, select, key, empty);
}
