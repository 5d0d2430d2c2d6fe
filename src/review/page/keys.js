// Every key, in one place: the list that `?` shows is the list that is used.

/** @import {Act} from "./types.d.ts" */

import { make } from "./elements.js";

/** Keys that act wherever one is not typing. @type {[key: string, other: string, words: string, name: keyof Act][]} */
export const KEYS = [
  ["ArrowDown", "j", "Next cue", "next"],
  ["ArrowUp", "k", "Previous cue", "previous"],
  ["Home", "", "First cue", "first"],
  ["End", "", "Last cue", "last"],
  ["w", "", "Next cue with a warning", "warned"],
  ["n", "", "Next cue that is not checked", "open"],
  [" ", "", "Play or pause", "play"],
  ["p", "", "Play the cue", "playCue"],
  ["ArrowLeft", "", "Back 1 s; with Shift one frame", "back"],
  ["ArrowRight", "", "Forward 1 s; with Shift one frame", "forward"],
  ["Enter", "e", "Edit the text", "edit"],
  ["c", "", "Check, and go on to the next cue", "check"],
  ["x", "Delete", "Delete the cue", "remove"],
  ["s", "", "Split at the position of the film", "split"],
  ["m", "", "Merge with the next cue", "merge"],
  ["a", "", "Add a cue at the position of the film", "add"],
  ["[", "", "Start the cue here", "startHere"],
  ["]", "", "End the cue here", "endHere"],
  ["g", "", "Snap to cuts and pauses", "snap"],
  ["i", "", "Move into the nearest pause", "toPause"],
  [",", "", "Earlier by 0.1 s", "earlier"],
  [".", "", "Later by 0.1 s", "later"],
  ["v", "", "Speak the cue", "say"],
  ["d", "", "Describe again, from the frame that is shown", "again"],
  ["u", "", "Undo (also Ctrl+Z)", "undo"],
  ["r", "", "Do again (also Ctrl+Shift+Z)", "redo"],
  ["f", "", "Find and replace", "find"],
  ["b", "", "Storyboard, or list", "board"],
  ["?", "", "This list", "help"],
];

/** @type {Record<string, string>} */
const NAMES = { " ": "Space", ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→" };

/** @param {EventTarget | null} target */
const isTyping = (target) =>
  target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement ||
  (target instanceof HTMLInputElement && target.type !== "checkbox");

/** @param {KeyboardEvent} e @param {Act} act */
function press(e, act) {
  if (document.querySelector("dialog[open]")) return;
  const command = e.ctrlKey || e.metaKey;
  if (command && e.key.toLowerCase() === "z" && !isTyping(e.target)) {
    e.preventDefault();
    (e.shiftKey ? act.redo : act.undo)();
    return;
  }
  if (isTyping(e.target)) {
    if (e.key === "Escape") act.leave();
    else if (e.key === "Enter" && command) act.finish();
    return;
  }
  if (command || e.altKey) return;
  // A button that has the focus is pressed with Space and Enter, but not a row of the list: it is selected already. A link is
  // followed with Enter.
  const pressed = e.target instanceof HTMLButtonElement && !e.target.classList.contains("pick");
  if (pressed && (e.key === " " || e.key === "Enter")) return;
  if (e.target instanceof HTMLAnchorElement && e.key === "Enter") return;
  const key = KEYS.find(([one, other]) => e.key === one || (other && e.key === other));
  if (!key) return;
  e.preventDefault();
  /** @type {(e: KeyboardEvent) => unknown} */ (act[key[3]])(e);
}

/** @param {Act} act */
export function listen(act) {
  document.addEventListener("keydown", (e) => press(e, act));
}

/** Fills the list of keys. @param {HTMLDListElement} list */
export function explain(list) {
  for (const [one, other, words] of KEYS) {
    const term = make("dt");
    for (const key of [one, other].filter(Boolean)) term.append(make("kbd", NAMES[key] ?? key), " ");
    list.append(term, make("dd", words));
  }
}
