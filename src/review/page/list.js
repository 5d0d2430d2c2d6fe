// The list of cues. Every cue is an element, so that screen readers, the browser's own search and Tab find it; what is out
// of sight costs nothing to draw (`content-visibility`).

import { clock } from "./state.js";

export const WORDS = {
  "empty": "says nothing",
  "outside-film": "not within the film",
  "overlap": "overlaps the cue before",
  "too-fast": "too fast to read",
  "longer-than-pause": "longer than its pause",
  "over-speech": "over speech",
  "uncertain": "uncertain",
  "possible-hallucination": "possible hallucination",
};

export class CueList {
  constructor(list, review, act) {
    this.list = list;
    this.review = review;
    this.act = act;
    /** @type {Map<number, HTMLLIElement>} */
    this.rows = new Map();
    list.addEventListener("click", (e) => {
      const row = e.target.closest("li");
      if (row) act.select(Number(row.dataset.id), true);
    });
    // A picture costs the server some work: it is asked for when its row comes into sight.
    this.seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        this.seen.unobserve(target);
        const image = target.querySelector("img");
        image.src = image.dataset.src;
      }
    }, { rootMargin: "200px" });
  }

  /** Shows these cues. */
  show(cues) {
    const rows = cues.map((cue) => this.rows.get(cue.id) ?? this.row(cue));
    const kept = new Set(cues.map((cue) => cue.id));
    for (const id of this.rows.keys()) {
      if (!kept.has(id)) this.rows.delete(id);
    }
    this.list.replaceChildren(...rows);
  }

  row(cue) {
    const row = document.createElement("li");
    row.dataset.id = String(cue.id);
    const add = (parent, name, kind) => {
      const element = document.createElement(name);
      if (kind) element.className = kind;
      parent.append(element);
      return element;
    };
    const image = add(row, "img", "thumb");
    image.alt = "";
    image.width = 112;
    image.height = 63;
    const body = add(row, "div", "body");
    const button = add(body, "button", "pick");
    add(button, "span", "time");
    add(button, "span", "says");
    add(body, "p", "facts soft");
    this.rows.set(cue.id, row);
    this.fill(cue, row);
    this.seen.observe(row);
    return row;
  }

  /** Shows what a cue is now. */
  update(id) {
    const cue = this.review.cue(id);
    const row = this.rows.get(id);
    if (cue && row) this.fill(cue, row);
  }

  fill(cue, row) {
    const facts = this.review.facts.get(cue.id);
    const set = (selector, text) => {
      const element = row.querySelector(selector);
      if (element.textContent !== text) element.textContent = text;
    };
    set(".time", clock(cue.start) + " – " + clock(cue.end));
    set(".says", cue.text || "(no text)");
    const words = facts.warnings.map((w) => WORDS[w] ?? w);
    const score = facts.score === null ? [] : ["score " + facts.score.toFixed(2)];
    const checked = cue.checked ? ["checked"] : [];
    const note = cue.note ? ["note: " + cue.note] : [];
    const times = ["reads in " + facts.reading.toFixed(1) + " s", "spoken in " + facts.speaking.toFixed(1) + " s"];
    set(".facts", [...words, ...checked, ...score, ...times, ...note].join(" · "));
    row.classList.toggle("warned", words.length > 0);
    row.classList.toggle("checked", cue.checked);
    const scene = this.review.timeline.scenes?.[cue.machine?.scene ?? -1];
    const at = scene ? scene.keyframe : (cue.start + cue.end) / 2;
    const src = "/picture/" + Math.round(at * 1000) + ".jpg";
    const image = row.querySelector("img");
    if (image.dataset.src !== src) {
      image.dataset.src = src;
      if (image.src) image.src = src;
    }
  }

  /** Marks a cue as the selected one. */
  select(id, focus) {
    for (const row of this.list.querySelectorAll("[aria-current]")) {
      row.removeAttribute("aria-current");
      row.classList.remove("selected");
    }
    const row = this.rows.get(id);
    if (!row) return;
    row.setAttribute("aria-current", "true");
    row.classList.add("selected");
    row.scrollIntoView({ block: "nearest" });
    if (focus) row.querySelector(".pick").focus({ preventScroll: true });
  }
}
