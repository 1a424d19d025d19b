// The server's questions and answers. Nothing else of this page talks to the network.

const PATIENCE = 3; // times that a busy server is asked again
const LONGEST_WAIT = 10; // seconds between two of them

let token = ""; // in memory only: gone with the page

export function setToken(value) {
  token = value;
}

/** What went wrong, and what to do about it. `status` is HTTP's; 0 where there was no answer. */
export class ApiError extends Error {
  constructor(message, next = "", status = 0) {
    super(message);
    this.next = next;
    this.status = status;
  }
}

async function refusal(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // not from visum: a proxy's page, or nothing
  }
  const said = typeof error.message === "string" && error.message ? error.message : `The server answered ${response.status}`;
  return new ApiError(said, typeof error.next === "string" ? error.next : "", response.status);
}

const seconds = (number) => new Promise((resolve) => setTimeout(resolve, 1000 * number));

async function ask(path, options = {}, tries = PATIENCE) {
  const headers = { Accept: "application/json", ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    throw new ApiError("The server did not answer", "See whether visum serve still runs, then try again.");
  }
  if (response.status === 503 && tries > 0) {
    await seconds(Math.min(LONGEST_WAIT, Math.max(0.2, Number(response.headers.get("Retry-After")) || 1)));
    return ask(path, options, tries - 1);
  }
  if (!response.ok) throw await refusal(response);
  try {
    return await response.json();
  } catch {
    throw new ApiError("The answer was cut off or is not from visum", "Try again.");
  }
}

/** A small picture of the server's, as a blob: an <img> cannot bring a token. */
export async function thumbnail(path) {
  const response = await fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {}, credentials: "omit" });
  if (!response.ok) throw await refusal(response);
  return response.blob();
}

const query = (values) =>
  new URLSearchParams(Object.entries(values).filter(([, value]) => value !== undefined && value !== "")).toString();

const of = (model) => ({ model: model.name, version: model.version });

/** The bytes are read first: a folder or a file that is gone is named as such, and not as a silent server. */
async function bytes(file) {
  try {
    return await file.arrayBuffer();
  } catch {
    throw new ApiError("This is a folder, or a file that cannot be read any more", "Choose the picture again.", 400);
  }
}

/** What is served: {models}. */
export async function models() {
  return ask("v1/models");
}

/** The answer about one picture, with the `top` most probable classes; 0: all of them. */
export async function predict(file, model, top) {
  const body = await bytes(file);
  const headers = { "Content-Type": "application/octet-stream" };
  return ask(`v1/predict?${query({ ...of(model), top })}`, { method: "POST", headers, body });
}

/** Answers about several pictures, in their order; names of files stay here, the server sees numbers. */
export async function predictMany(files, model, top) {
  const form = new FormData();
  for (const [number, file] of files.entries()) form.append("file", new Blob([await bytes(file)]), String(number));
  return (await ask(`v1/predict?${query({ ...of(model), top })}`, { method: "POST", body: form })).results;
}

/** Where in the picture the answer came from: `map` has rows of numbers 0 to 1, top to bottom. */
export async function explain(file, model, name) {
  const body = await bytes(file);
  const headers = { "Content-Type": "application/octet-stream" };
  return ask(`v1/explain?${query({ ...of(model), class: name })}`, { method: "POST", headers, body });
}

/** Tells the server what a picture really shows. `id` is that of the answer. */
export async function feedback(id, label) {
  return ask("v1/feedback", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ id, label }),
  });
}
