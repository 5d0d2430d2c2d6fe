// Elements of the page. One that is missing, or of another kind, is a fault of the page and is named.

/**
 * The element with an id.
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function find(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`The page has no ${kind.name} with the id ${id}.`);
  return element;
}

/** @param {string} id */
export const button = (id) => find(id, HTMLButtonElement);
/** @param {string} id */
export const input = (id) => find(id, HTMLInputElement);
/** @param {string} id */
export const dialog = (id) => find(id, HTMLDialogElement);
/** Any element with an id. @param {string} id */
export const any = (id) => find(id, HTMLElement);

/**
 * A new element with a text.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {string} [text]
 * @param {string} [kind] its class
 */
export function make(name, text, kind) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

/**
 * A new button.
 * @param {string} text
 * @param {() => void} press
 */
export function makeButton(text, press) {
  const element = make("button", text);
  element.type = "button";
  element.addEventListener("click", press);
  return element;
}
