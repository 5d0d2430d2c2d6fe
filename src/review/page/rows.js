// The rows of a long list that are in sight: only they are elements, and an empty element at either end has the height of
// the others. So a list of ten thousand rows costs no more than one of fifty.
//
// A row's height is estimated until it has been an element. The page or the list itself scrolls, whichever its style says.

/** How far beyond what is in sight rows are made, in pixels. */
const MARGIN = 600;
/** Most rows that are elements at a time, whatever their heights. */
const MOST = 240;
/** How often heights are corrected at once: each time, what is in sight is nearer to what was measured. */
const ROUNDS = 4;

export class RowWindow {
  /**
   * @param {HTMLElement} list
   * @param {(row: number) => HTMLElement} make the element of a row; the same one for as long as the row is the same
   */
  constructor(list, make) {
    this.list = list;
    this.make = make;
    this.count = 0;
    /** Rows side by side. */
    this.columns = 1;
    /** Height of each line, and of one that was not measured yet. @type {Float64Array} */
    this.heights = new Float64Array(0);
    this.estimate = 80;
    /** Where each line begins, and where the last one ends. @type {Float64Array} */
    this.tops = new Float64Array(1);
    /** The lines that are elements. */
    this.from = 0;
    this.to = 0;
    this.before = spacer();
    this.after = spacer();
    let waiting = false;
    const later = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        this.update();
      });
    };
    document.addEventListener("scroll", later, { capture: true, passive: true });
    let width = list.clientWidth;
    new ResizeObserver(() => {
      if (list.clientWidth === width) return;
      width = list.clientWidth;
      // Texts wrap elsewhere, so no height is known.
      this.heights = new Float64Array(0);
      requestAnimationFrame(() => this.reset(this.count));
    }).observe(list);
  }

  /** Shows so many rows from now on. @param {number} count */
  reset(count) {
    this.columns = columnsOf(this.list);
    const lines = Math.ceil(count / this.columns);
    if (lines !== this.heights.length || count !== this.count) {
      this.heights = new Float64Array(lines).fill(this.estimate);
      this.sum();
    }
    this.count = count;
    this.update();
  }

  sum() {
    this.tops = new Float64Array(this.heights.length + 1);
    for (let n = 0; n < this.heights.length; n++) this.tops[n + 1] = this.top(n) + (this.heights[n] ?? 0);
  }

  /** Where a line begins. @param {number} line */
  top(line) {
    return this.tops[line] ?? 0;
  }

  /** The line at a height. @param {number} y */
  lineAt(y) {
    let [low, high] = [0, this.heights.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.top(middle + 1) > y) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** What of the list is in sight, from its first line's top on. @returns {[number, number]} */
  sight() {
    const box = this.list.getBoundingClientRect();
    const origin = box.top + this.list.clientTop - this.list.scrollTop;
    return [Math.max(box.top, 0) - origin, Math.min(box.bottom, innerHeight) - origin];
  }

  /** Makes the rows that are in sight, and no others. */
  update() {
    for (let round = 0; round < ROUNDS; round++) {
      const [top, bottom] = this.sight();
      const from = this.lineAt(Math.max(0, top - MARGIN));
      const to = Math.min(this.lineAt(Math.max(bottom, top) + MARGIN) + 1, this.heights.length);
      if (!this.render(from, to)) return;
    }
  }

  /** Makes these lines. Returns whether a height was another one than was known. @param {number} from @param {number} to */
  render(from, to) {
    to = Math.min(to, from + Math.max(1, Math.floor(MOST / this.columns)));
    [this.from, this.to] = [from, to];
    /** @type {HTMLElement[]} */
    const rows = [];
    for (let n = from * this.columns; n < Math.min(to * this.columns, this.count); n++) rows.push(this.make(n));
    const kept = new Set(rows);
    for (const old of [...this.list.children]) {
      if (old !== this.before && old !== this.after && !kept.has(/** @type {HTMLElement} */ (old))) old.remove();
    }
    /** @type {ChildNode | null} */
    let at = this.list.firstChild;
    for (const node of [this.before, ...rows, this.after]) {
      // What is in its place already is not touched: it would lose the focus.
      if (node === at) at = at.nextSibling;
      else this.list.insertBefore(node, at);
    }
    rows.forEach((row, n) => {
      row.setAttribute("aria-setsize", String(this.count));
      row.setAttribute("aria-posinset", String(from * this.columns + n + 1));
    });
    this.space();
    return this.measure(rows);
  }

  space() {
    const gap = gapOf(this.list);
    const [above, below] = [this.top(this.from), this.top(this.heights.length) - this.top(this.to)];
    for (const [element, height] of /** @type {const} */ ([[this.before, above], [this.after, below]])) {
      element.hidden = height <= gap;
      element.style.height = Math.max(0, height - gap) + "px";
    }
  }

  /** @param {HTMLElement[]} rows */
  measure(rows) {
    const gap = gapOf(this.list);
    let changed = false;
    for (let line = this.from; line < this.to; line++) {
      const first = (line - this.from) * this.columns;
      const inLine = rows.slice(first, first + this.columns);
      const height = Math.max(...inLine.map((row) => row.getBoundingClientRect().height)) + gap;
      if (height > 0 && Math.abs(height - (this.heights[line] ?? 0)) > 0.5) {
        this.heights[line] = height;
        changed = true;
      }
    }
    if (changed) {
      this.sum();
      this.space();
    }
    return changed;
  }

  /**
   * Makes a row an element, and brings it into sight.
   * @param {number} row
   * @param {boolean} far whether the page may move for it, where the list has no scroll bar of its own
   */
  reveal(row, far) {
    const line = Math.floor(row / this.columns);
    if (line < this.from || line >= this.to) {
      const lines = Math.ceil(MARGIN / this.estimate);
      this.render(Math.max(0, line - lines), Math.min(this.heights.length, line + lines + 1));
    }
    const scrolls = this.list.scrollHeight > this.list.clientHeight + 1;
    if (scrolls || far) this.make(row).scrollIntoView({ block: "nearest" });
    this.update();
  }
}

function spacer() {
  const element = document.createElement("li");
  element.className = "space";
  element.setAttribute("aria-hidden", "true");
  element.hidden = true;
  return element;
}

/** How many rows are side by side. @param {HTMLElement} list */
function columnsOf(list) {
  const style = getComputedStyle(list);
  return style.display === "grid" ? style.gridTemplateColumns.split(" ").length : 1;
}

/** The space between two lines, in pixels. @param {HTMLElement} list */
function gapOf(list) {
  return Number.parseFloat(getComputedStyle(list).rowGap) || 0;
}
