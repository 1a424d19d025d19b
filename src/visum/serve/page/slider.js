// From which probability on something is answered.

import { start } from "./decide.js";
import { make, show } from "./dom.js";
import { percent } from "./words.js";

function meaning(model) {
  if (model.task === "multilabel") return "Classes from this probability on are answered.";
  if (model.task === "binary") return `From this probability of “${model.classes[1]}” on, that is the answer; below it, “${model.classes[0]}”.`;
  return "Below this probability the answer is “not sure”.";
}

/** Build the slider of a model; `moved(cut)` gets 0 … 1, or null for the model's own way. */
export function slider(place, model, moved) {
  const own = model.task === "multiclass" ? "always the most probable class" : model.thresholds?.length ? "its own thresholds" : "from 50 % on";
  const input = make("input", { type: "range", id: "cut", min: "0", max: "100", step: "1" });
  const says = make("output", { htmlFor: "cut" });
  const back = make("button", { type: "button", className: "plain", text: "Back to the model's own" });
  const label = make("label", { htmlFor: "cut", text: "Answer from" });
  const note = make("p", { className: "range", id: "cut-note" });
  input.setAttribute("aria-describedby", "cut-note");

  const tell = (cut) => {
    says.textContent = cut === null ? "the model's own" : percent(cut);
    input.setAttribute("aria-valuetext", cut === null ? `the model's own: ${own}` : percent(cut));
    note.textContent = cut === null ? `The model's own way: ${own}. ${meaning(model)}` : meaning(model);
    show(back, cut !== null);
  };
  const rest = () => {
    input.value = String(Math.round(100 * start(model)));
    tell(null);
  };
  input.addEventListener("input", () => {
    const cut = Number(input.value) / 100;
    tell(cut);
    moved(cut);
  });
  back.addEventListener("click", () => {
    rest();
    moved(null);
    input.focus();
  });
  rest();
  place.className = "slider";
  place.replaceChildren(label, input, says, back, note);
}
