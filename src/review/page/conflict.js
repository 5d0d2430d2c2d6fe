// Two versions of something: of a cue that somebody else has changed meanwhile, or of the whole file.

/** @import {Edit, Refusal} from "./types.d.ts" */
/** @import {Edits} from "./edits.js" */

import { any, dialog, find, make } from "./elements.js";
import * as server from "./server.js";
import { saved } from "./status.js";

/** @typedef {[words: string, act: () => void]} Choice */

/**
 * Shows what there is to choose from.
 * @param {string} words
 * @param {string[]} sides
 * @param {Choice[]} choices
 */
function choose(words, sides, choices) {
  any("conflict-words").textContent = words;
  any("conflict-sides").replaceChildren(...sides.map((side) => make("p", side)));
  const buttons = choices.map(([words, act]) => {
    const button = make("button", words);
    button.addEventListener("click", act);
    return button;
  });
  find("conflict-choices", HTMLFormElement).replaceChildren(...buttons);
  const box = dialog("conflict");
  if (!box.open) box.showModal();
}

/**
 * A cue that somebody else has changed.
 * @param {Edits} edits
 * @param {Refusal} body
 * @param {Edit | null} edit what was refused
 * @param {() => void} keep shows the cue as it is now
 */
export function cueConflict(edits, body, edit, keep) {
  const sides = (body.cues ?? []).map((cue) => "Now: " + ("deleted" in cue ? "(deleted)" : cue.text));
  /** @type {Choice[]} */
  const choices = [["Keep what is there now", keep]];
  if (edit?.do === "change") {
    const { cue, to } = edit;
    if (to.text !== undefined) sides.push("Yours: " + to.text);
    choices.push(["Take mine", () => edits.change(cue.id, to)]);
  }
  choose("Another window or another editor has changed this cue after you saw it.", sides, choices);
}

/**
 * A file that another program has changed.
 * @param {string} copy where this review is kept meanwhile
 * @param {() => void} reload
 */
export function fileConflict(copy, reload) {
  choose(`The file of this review was changed by another program. Your version is kept beside it, as ${copy}.`, [], [
    ["Take the file's version", () => server.choose("theirs").then(reload)],
    ["Keep mine; the other is kept under another name", () => server.choose("mine").then(() => saved("Saved", "good"))],
  ]);
}
