// Many pictures: asked for in groups, so that one request stays small, and one bad picture does not spoil the others.

import { ApiError, predict, predictMany } from "./api.js";

const FEW = 16; // pictures in a request
const HEAVY = 8e6; // bytes in a request; a single picture may be larger

/** Parts of a list that are small enough for one request each. */
export function groups(files) {
  const parts = [];
  let weight = 0;
  for (const file of files) {
    if (!parts.length || parts.at(-1).length >= FEW || weight + file.size > HEAVY) {
      parts.push([]);
      weight = 0;
    }
    parts.at(-1).push(file);
    weight += file.size;
  }
  return parts;
}

/** What would befall every other picture as well: no server, no leave, a server in trouble. */
const fatal = (error) => error.status === 0 || error.status === 401 || error.status === 403 || error.status >= 500;

async function singly(files, model, top) {
  const results = [];
  for (const file of files) {
    try {
      results.push(await predict(file, model, top));
    } catch (error) {
      if (fatal(error)) throw error;
      results.push({ error: { message: error.message, next: error.next } });
    }
  }
  return results;
}

async function together(files, model, top) {
  const results = await predictMany(files, model, top);
  if (results.length !== files.length) throw new ApiError("Some answers are missing", "Try again.", 400);
  return results;
}

/**
 * Ask about all files. `tell(offset, results)` gets each group's results, {predictions …} or {error} for each file; `going()`
 * says whether to go on. Throws what would befall every other picture as well.
 */
export async function askAll(files, model, top, tell, going) {
  let offset = 0;
  for (const part of groups(files)) {
    let results;
    try {
      results = await (part.length > 1 ? together(part, model, top) : singly(part, model, top));
    } catch (error) {
      if (fatal(error)) throw error;
      results = await singly(part, model, top); // so that only the guilty picture is left without an answer
    }
    if (!going()) return;
    tell(offset, results);
    offset += part.length;
  }
}
