// Elements from data. Text goes through textContent, so that a hostile name is a name and nothing else.

/** The element of this id. */
export const $ = (id) => document.getElementById(id);

/** A new element: properties are set as they are (`text` is textContent, names with a dash are attributes). */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "text") element.textContent = value;
    else if (name === "role" || name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Show or hide. */
export function show(element, yes = true) {
  element.hidden = !yes;
}
