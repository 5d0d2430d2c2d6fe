// Find and replace.

/** @import {Edits} from "./edits.js" */
/** @import {Review} from "./state.js" */

import { any, button, input } from "./elements.js";

/** @param {number} count @param {string} rest */
const cues = (count, rest) => (count === 1 ? "1 cue" : count + " cues") + rest;

/** What is looked for, as the server looks for it; null if it cannot be. */
function pattern() {
  const what = input("find-what").value;
  if (!what.trim()) return null;
  const words = what.trim().split(/\s+/).map((word) => word.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&"));
  const plain = words.join("\\s+");
  const whole = input("find-words").checked ? `(?<![\\p{L}\\p{N}_])${plain}(?![\\p{L}\\p{N}_])` : plain;
  try {
    return new RegExp(whole, input("find-case").checked ? "u" : "iu");
  } catch {
    return null;
  }
}

/**
 * @param {Review} review
 * @param {Edits} edits
 * @param {(id: number) => void} select
 */
export function finder(review, edits, select) {
  button("find-next").addEventListener("click", () => {
    const wanted = pattern();
    if (!wanted) return;
    const hits = review.cues.filter((cue) => wanted.test(cue.text));
    any("found").textContent = cues(hits.length, "");
    const here = review.place(review.selected);
    const next = hits.find((cue) => review.place(cue.id) > here) ?? hits[0];
    if (next) select(next.id);
  });
  button("replace-all").addEventListener("click", async () => {
    const report = await edits.send(() => ({
      do: "replace",
      find: input("find-what").value,
      with: input("find-with").value,
      match_case: input("find-case").checked,
      whole_words: input("find-words").checked,
    }));
    const count = report?.change ? report.changed.length : 0;
    any("found").textContent = cues(count, count === 1 ? " was changed." : " were changed.");
  });
}
