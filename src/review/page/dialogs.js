// The dialogs of the page: the glossary and notes, the history, the exports and the keys.

/** @import {Edits} from "./edits.js" */
/** @import {CueEditor} from "./editor.js" */
/** @import {Review} from "./state.js" */

import { button, dialog, find, make } from "./elements.js";
import { explain } from "./keys.js";
import * as server from "./server.js";
import { notice } from "./status.js";

const FORMATS = [
  ["vtt", "WebVTT"], ["srt", "SubRip"], ["json", "JSON"], ["csv", "Table"], ["ttml", "DAPT"], ["html", "Transcript"],
];

/**
 * @param {Review} review
 * @param {Edits} edits
 * @param {CueEditor} editor
 */
export function dialogs(review, edits, editor) {
  explain(find("keys", HTMLDListElement));
  for (const name of ["help", "find"]) {
    button("open-" + name).addEventListener("click", () => dialog(name).showModal());
  }
  glossary(review, edits);
  button("open-history").addEventListener("click", () => history().catch((e) => notice(e.message)));
  const links = FORMATS.map(([end, words]) => {
    const a = make("a", `${words} (.${end})`);
    a.href = "export/" + end;
    a.download = "";
    const row = make("li");
    row.append(a);
    return row;
  });
  find("formats", HTMLUListElement).append(...links);
  button("open-export").addEventListener("click", async () => {
    await editor.flush();
    dialog("export").showModal();
  });
}

/** @param {Review} review @param {Edits} edits */
function glossary(review, edits) {
  const [terms, notes] = [find("terms", HTMLTextAreaElement), find("notes", HTMLTextAreaElement)];
  let seen = 0;
  button("open-glossary").addEventListener("click", () => {
    terms.value = review.glossary.map((t) => (t.note ? t.term + ": " + t.note : t.term)).join("\n");
    notes.value = review.notes;
    seen = review.revision;
    dialog("glossary").showModal();
  });
  button("save-glossary").addEventListener("click", async () => {
    const lines = terms.value.split("\n").map((line) => {
      const [term = "", ...note] = line.split(":");
      return { term: term.trim(), note: note.join(":").trim() };
    });
    await edits.send(() => ({ do: "glossary", terms: lines.filter((t) => t.term), seen }));
    await edits.send(() => ({ do: "notes", notes: notes.value, seen }));
    dialog("glossary").close();
  });
}

async function history() {
  const { changes } = await server.history();
  const rows = changes.map((one) =>
    make("li", `${new Date(one.time).toLocaleString()} · ${one.who || "somebody"} · ${one.what} · ${one.words}`));
  find("changes", HTMLOListElement).replaceChildren(...rows);
  dialog("history").showModal();
}
