// Telling the server what a picture really shows; only where the server collects it.

import { feedback } from "./api.js";
import { make } from "./dom.js";
import { list } from "./words.js";

/** Buttons below an answer. `fail(error)` gets what goes wrong. */
export function asking(place, answer, model, said, fail) {
  const done = make("p", { className: "range", role: "status" });
  const yes = make("button", { type: "button", className: "plain", text: said.length ? `Yes, ${list(said, 3)}` : "Yes" });
  const right = make(
    "select",
    { "aria-label": "The right class" },
    make("option", { value: "", text: "No, it is …" }),
    ...model.classes.map((name) => make("option", { value: name, text: name })),
  );
  const tell = async (label) => {
    yes.disabled = right.disabled = true;
    done.textContent = "Sending …";
    try {
      await feedback(answer.id, label);
      done.textContent = "Thank you. It is noted on the server.";
    } catch (error) {
      yes.disabled = right.disabled = false;
      done.textContent = "";
      fail(error);
    }
  };
  yes.addEventListener("click", () => tell(said.join("|")));
  right.addEventListener("change", () => right.value && tell(right.value));
  const line = make("p", { className: "ask" }, make("span", { text: "Is this right?" }), said.length ? yes : null, right);
  place.replaceChildren(line, done);
}
