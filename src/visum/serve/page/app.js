// The page: what comes in goes to the server, what comes back goes to the parts that show it.

import * as answerView from "./answer.js";
import { ApiError, models, predict, setToken } from "./api.js";
import { askAll } from "./batch.js";
import { camera } from "./camera.js";
import { csv, sheet } from "./csv.js";
import { $, make, show } from "./dom.js";
import { asking } from "./feedback.js";
import { intake } from "./intake.js";
import { slider } from "./slider.js";
import { fill, table, thumbnails } from "./table.js";
import { count, list } from "./words.js";

const ALL = 0; // classes, as the server is asked for them
const MANY = 200; // classes up to which a table's CSV has a column for each

const state = { served: [], model: null, collects: false, cut: null, one: null, rows: [], turn: 0, again: null };

// ---- what goes wrong ------------------------------------------------------------------------------------------------

function calm() {
  show($("trouble"), false);
  $("trouble").replaceChildren();
}

/** What happened and what to do; `again`: what the button does, if trying again makes sense. */
function trouble(error, again = null) {
  $("status").textContent = "";
  if (error.status === 401) {
    state.again = again;
    show($("ask"));
    $("token").focus();
    if ($("token").value) trouble(new ApiError("The server does not take this token", error.next || "See what visum serve was started with."));
    return;
  }
  const known = error instanceof ApiError;
  const what = known ? error.message : "The page is at fault";
  $("trouble").replaceChildren(make("b", { text: `${what.replace(/[.!?]$/, "")}. ` }), known ? error.next : String(error.message ?? error));
  if (again && (error.status === 0 || error.status >= 500)) {
    const button = make("button", { type: "button", className: "plain", text: "Try again" });
    button.addEventListener("click", () => {
      calm();
      again();
    });
    $("trouble").append(make("br"), button);
  }
  show($("trouble"));
}

const OF_THE_PICTURE = new Set([400, 413, 415, 422]);

/** An error of this one picture, and not of the server, says which picture. */
const named = (file, error) =>
  OF_THE_PICTURE.has(error.status) ? new ApiError(`${file.name}: ${error.message}`, error.next, error.status) : error;

// ---- one picture ----------------------------------------------------------------------------------------------------

function display(file, answer) {
  const said = answerView.answered(file, answer, state.model, state.cut, (error) => trouble(error));
  document.body.classList.add("answered");
  show($("slide"));
  $("feedback").replaceChildren();
  if (state.collects && answer.id) {
    const { labels = [] } = answer;
    asking($("feedback"), answer, state.model, labels, (error) => trouble(error));
  }
  $("spoken").textContent = said;
}

async function one(file) {
  const turn = ++state.turn;
  calm();
  state.rows = [];
  show($("many"), false);
  show($("answer"), false);
  show($("slide"), false);
  $("status").textContent = "Looking …";
  try {
    const answer = await predict(file, state.model, ALL);
    if (turn !== state.turn) return;
    state.one = { file, answer };
    answerView.picture(file);
    display(file, answer);
    $("status").textContent = "";
    $("answer").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (turn !== state.turn) return;
    state.one = { file, answer: null };
    trouble(named(file, error), () => one(file));
  }
}

// ---- many pictures --------------------------------------------------------------------------------------------------

function open(row) {
  calm();
  state.one = row;
  answerView.picture(row.file);
  display(row.file, row.answer);
  $("answer").scrollIntoView({ block: "start" });
  $("answer").focus({ preventScroll: true });
}

const columns = () => (state.model.classes.length <= MANY ? state.model.classes : []);

async function many(files) {
  const turn = ++state.turn;
  const going = () => turn === state.turn;
  calm();
  state.one = null;
  show($("answer"), false);
  show($("many"));
  $("status").textContent = "";
  document.body.classList.add("answered");
  state.rows = table($("table"), files, open);
  show($("slide"));
  thumbnails(state.rows, going);
  await rest(0, going);
}

/** Ask about the rows from this one on. */
async function rest(from, going) {
  const { rows, model } = state;
  const top = model.task === "multilabel" || columns().length ? ALL : 5;
  let done = from;
  const progress = () => {
    const bad = rows.filter((row) => row.error).length;
    const left = bad ? `; ${count(bad)} could not be read` : "";
    $("progress").textContent = done < rows.length ? `${count(done)} of ${count(rows.length, "picture")} …` : `${count(rows.length, "picture")}${left}. Press a name to see one closely.`;
  };
  const take = (offset, results) => {
    results.forEach((result, n) => {
      const row = rows[from + offset + n];
      if (result.error) Object.assign(row, { error: result.error.message, next: result.error.next });
      else row.answer = result;
      fill(row, state.model, state.cut);
    });
    done = from + offset + results.length;
    progress();
  };
  progress();
  $("download").disabled = true;
  try {
    await askAll(rows.slice(from).map((row) => row.file), model, top, take, going);
  } catch (error) {
    if (!going()) return;
    $("progress").textContent = `${count(done)} of ${count(rows.length, "picture")} are answered.`;
    trouble(error, () => rest(done, going));
  }
  if (going()) $("download").disabled = done === 0;
}

function download() {
  const text = csv(sheet(state.rows, columns()));
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" })), download: "visum.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---- the model ------------------------------------------------------------------------------------------------------

function moved(cut) {
  state.cut = cut;
  for (const row of state.rows) fill(row, state.model, cut);
  if (state.one?.answer && !$("answer").hidden) answerView.words(state.one.answer, state.model, cut);
}

function choose(model) {
  state.model = model;
  state.cut = null;
  $("which").textContent = `${model.name} · version ${model.version}`;
  document.title = `${model.name} · visum`;
  const n = model.classes.length;
  const names = list(model.classes, n > 14 ? 12 : 14, model.task === "multilabel" || n > 14 ? "and" : "or");
  const kind = model.task === "multilabel" ? `It looks for ${count(n, "thing")}, any number of them at once` : `It tells apart ${count(n, "class", "classes")}`;
  $("lede").textContent = `${kind}: ${names}.`;
  slider($("slider"), model, moved);
}

/** The model was changed: what was asked is asked again. */
function again() {
  if (state.rows.length) many(state.rows.map((row) => row.file));
  else if (state.one) one(state.one.file);
}

function offer(served) {
  state.served = served;
  const select = $("model");
  select.replaceChildren(...served.map((each, n) => make("option", { value: String(n), text: `${each.name} · ${each.version}` })));
  const first = Math.max(0, served.findIndex((each) => each.default));
  select.value = String(first);
  select.onchange = () => {
    choose(served[Number(select.value)]);
    again();
  };
  show($("pick"), served.length > 1);
  choose(served[first]);
}

async function start() {
  calm();
  try {
    const reply = await models();
    if (!reply.models?.length) throw new ApiError("The server has no model that is ready", "Wait a moment, or see what visum serve has written.", 503);
    state.collects = reply.feedback === true;
    offer(reply.models);
    show($("ask"), false);
    $("token").value = "";
    show($("give"));
  } catch (error) {
    if (error.status === 401) show($("give"), false);
    trouble(error, start);
  }
}

function take(files) {
  if (!state.model) return trouble(new ApiError("There is no model to ask yet", "Wait a moment, then try again."));
  return files.length === 1 ? one(files[0]) : many(files);
}

$("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  setToken($("token").value.trim());
  const pending = state.again;
  state.again = null;
  await start();
  if (pending && pending !== start && state.model && $("ask").hidden) pending();
});
$("download").addEventListener("click", download);
intake(take, (what, next) => trouble(new ApiError(what, next)));
camera(take);
start();
