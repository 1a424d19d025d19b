// From probabilities to an answer, at the model's own threshold or at one that was slid to. Pure.

/**
 * Labels that are answered. `cut` null: what the server said. Multilabel: every class from `cut` on. Binary: the second class
 * from `cut` on, else the first. Multiclass: the first, unless it is below `cut`: then there is no answer.
 */
export function labels(answer, model, cut) {
  if (cut === null) return answer.labels ?? [];
  const ranked = answer.predictions;
  if (answer.task === "multilabel") return ranked.filter((each) => each.probability >= cut).map((each) => each.class);
  if (answer.task === "binary") {
    const [no, yes] = model.classes;
    const found = ranked.find((each) => each.class === yes);
    return found && found.probability >= cut ? [yes] : [no];
  }
  return ranked.length && ranked[0].probability >= cut ? [ranked[0].class] : [];
}

/** The probability that goes with the answer: of its least probable label; of the most probable class where there is none. */
export function sureness(answer, said) {
  const of = new Map(answer.predictions.map((each) => [each.class, each.probability]));
  const known = said.filter((name) => of.has(name)).map((name) => of.get(name));
  if (known.length) return Math.min(...known);
  return answer.predictions.length ? answer.predictions[0].probability : 0;
}

/** How an empty answer is called. */
export const nothing = (task) => (task === "multilabel" ? "None of them" : "Not sure");

/** Where the slider starts: the model's own threshold, if it has a single one. */
export function start(model) {
  const own = [model.thresholds ?? []].flat();
  if (model.task === "multiclass") return 0;
  return own.length && own.every((each) => each === own[0]) ? own[0] : 0.5;
}
