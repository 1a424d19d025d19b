// One picture and what is said about it.

import { bars } from "./bars.js";
import { labels, nothing, sureness } from "./decide.js";
import { $, make, show } from "./dom.js";
import { cool, look } from "./heat.js";
import { near } from "./near.js";
import { duration, list, percent } from "./words.js";

let url = "";

/** The picture itself, as the browser shows it; where it cannot, a plain frame. */
export function picture(file) {
  cool();
  $("look").replaceChildren();
  if (url) URL.revokeObjectURL(url);
  url = URL.createObjectURL(file);
  $("frame").classList.remove("blind");
  $("name").textContent = file.name;
  const image = $("shown");
  image.onerror = () => {
    $("frame").classList.add("blind");
    $("name").textContent = `${file.name} (this browser cannot show this kind of picture)`;
  };
  image.src = url;
  image.alt = `The picture ${file.name}`;
}

/** Why this is, or is not, an answer. */
function reason(answer, said, sure, cut) {
  const [first, second] = answer.predictions;
  if (!first) return "";
  if (said.length > 1) return `Each of them with ${percent(sure)} or more.`;
  if (said.length) {
    if (answer.task === "multilabel" || !second || said[0] !== first.class) return "";
    return `Next comes ${second.class} with ${percent(second.probability)}.`;
  }
  const from = cut === null ? "the threshold" : percent(cut);
  return `${first.class} comes first with ${percent(sure)}, which is below ${from}.`;
}

function note(text, next = "") {
  return make("p", { className: "note" }, make("b", { text }), next);
}

function notes(answer) {
  const told = [];
  if (answer.unknown) told.push(note("This does not look like what the model has learned.", "The answer may mean nothing: look yourself."));
  if (answer.set) {
    const names = list(answer.set, 20, answer.set.length > 20 ? "and" : "or");
    const promised = answer.coverage ? ` Such sets hold the truth for ${Math.round(1000 * answer.coverage) / 10}\u202f% of pictures like those it was judged on.` : "";
    told.push(
      answer.set.length
        ? make("p", { className: "why" }, "By its prediction set this is ", make("strong", { text: names }), `.${promised}`)
        : make("p", { className: "why", text: "Its prediction set is empty: no class fits well." }),
    );
  }
  if (answer.notes?.length) told.push(make("p", { className: "range", text: `About the picture: ${answer.notes.join("; ")}.` }));
  return told;
}

const MEANING = {
  multilabel: "Calibrated: where it says 80 %, the class is there in about 8 of 10 pictures like those it was judged on.",
  binary: "Calibrated: where it says 80 %, it is right in about 8 of 10 pictures like those it was judged on.",
  multiclass: "Calibrated: where it says 80 %, it is right in about 8 of 10 pictures like those it was judged on.",
};

/** The answer in words and bars. Called again when the threshold moves. */
export function words(answer, model, cut) {
  const said = labels(answer, model, cut);
  const sure = sureness(answer, said);
  const sentence = $("said");
  if (said.length) sentence.replaceChildren(make("em", { text: list(said) }), said.length === 1 ? ` ${percent(sure)}` : "");
  else sentence.replaceChildren(nothing(answer.task));
  $("why").textContent = reason(answer, said, sure, cut);
  $("notes").replaceChildren(...notes(answer));
  bars($("bars"), answer, said, answer.task === "binary" ? null : cut);
  $("meaning").textContent = MEANING[answer.task] ?? "";
  const { queue = 0, decode = 0, run = 0 } = answer.seconds ?? {};
  const version = answer.version ? `, version ${answer.version}` : "";
  $("took").textContent = `${answer.model}${version} · ${duration(queue + decode + run)}, of which ${duration(decode)} decoding and ${duration(run)} in the network`;
  return said;
}

/** All of it. */
export function answered(file, answer, model, cut, fail) {
  show($("answer"));
  const said = words(answer, model, cut);
  look($("look"), file, model, answer, said, fail);
  near($("near"), answer);
  const unknown = answer.unknown ? " It does not look like what the model has learned." : "";
  return `${said.length ? `${list(said)}, ${percent(sureness(answer, said))}` : nothing(answer.task)}.${unknown}`;
}
