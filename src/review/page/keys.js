// Every key, in one place: the list that `?` shows is the list that is used.

/** Keys that act wherever one is not typing. */
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
  [",", "", "Earlier by 0.1 s", "earlier"],
  [".", "", "Later by 0.1 s", "later"],
  ["v", "", "Speak the cue", "say"],
  ["d", "", "Describe again, from the frame that is shown", "again"],
  ["u", "", "Undo (also Ctrl+Z)", "undo"],
  ["r", "", "Do again (also Ctrl+Shift+Z)", "redo"],
  ["f", "", "Find and replace", "find"],
  ["?", "", "This list", "help"],
];

const NAMES = { " ": "Space", ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→" };

const isTyping = (target) =>
  target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement ||
  (target instanceof HTMLInputElement && target.type !== "checkbox");

export function listen(act) {
  document.addEventListener("keydown", (e) => {
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
    // A button that has the focus is pressed with Space and Enter, but not a row of the list: it is selected already.
    const pressed = e.target instanceof HTMLButtonElement && !e.target.classList.contains("pick");
    if (pressed && (e.key === " " || e.key === "Enter")) return;
    const key = KEYS.find(([one, other]) => e.key === one || (other && e.key === other));
    if (!key) return;
    e.preventDefault();
    act[key[3]](e);
  });
}

/** Fills the list of keys. */
export function explain(list) {
  for (const [one, other, words] of KEYS) {
    const term = document.createElement("dt");
    for (const key of [one, other].filter(Boolean)) {
      const kbd = document.createElement("kbd");
      kbd.textContent = NAMES[key] ?? key;
      term.append(kbd, " ");
    }
    const meaning = document.createElement("dd");
    meaning.textContent = words;
    list.append(term, meaning);
  }
}
