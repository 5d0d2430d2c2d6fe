// What the page says of itself: whether everything is saved, what went wrong, and news for screen readers.

import { any } from "./elements.js";

/** Announces something that happened. @param {string} words */
export function announce(words) {
  any("announcer").textContent = words;
}

/** Shows what went wrong; an empty text takes it away. @param {string} words */
export function notice(words) {
  const element = any("notice");
  element.textContent = words;
  element.hidden = !words;
}

/** Shows what became of the latest change. @param {string} words @param {"busy" | "good" | "wait" | "bad"} state */
export function saved(words, state) {
  const element = any("saved");
  element.textContent = words;
  element.dataset.state = state;
}
