// What is around the review: the archive that its film is in, and commands that go on with it.

/** @import {Loaded, Renewal} from "./types.d.ts" */

import { any, find, make } from "./elements.js";
import { notice } from "./status.js";

/** Shows both, and what became of the review when the film was described again. @param {Loaded} loaded */
export function around(loaded) {
  any("all-films").hidden = !loaded.in_archive;
  const rows = loaded.commands.flatMap(({ what, command }) => {
    const line = make("dd");
    line.append(make("code", command));
    return [make("dt", what), line];
  });
  find("commands", HTMLDListElement).replaceChildren(...rows);
  if (loaded.renewal) notice(renewed(loaded.renewal));
}

/** @param {Renewal} renewal */
function renewed({ kept, replaced, new: added }) {
  /** @param {number} count */
  const cues = (count) => count + (count === 1 ? " cue" : " cues");
  return "The film was described again since this review began. " +
    `${cues(kept)} that editors wrote, changed or checked stayed as they were; ${cues(replaced)} of the earlier ` +
    `descriptions gave way to ${added} of the new ones. The history has both.`;
}
