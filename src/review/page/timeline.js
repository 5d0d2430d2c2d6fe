// The lanes below the film, drawn on a canvas, and the two edges of the selected cue, which are controls: they can be
// dragged, and moved with the arrow keys. Whatever else the lanes show is in the list of cues too.

/** @import {Cue, Stretch} from "./types.d.ts" */
/** @import {Review} from "./state.js" */

import { any, find } from "./elements.js";
import { exact, firstAfter } from "./state.js";

/** @type {[name: string, height: number][]} */
const LANES = [["scenes", 14], ["sound", 34], ["speech", 12], ["pauses", 12], ["screenText", 12], ["cues", 26]];
const GAP = 4;
export const HEIGHT = LANES.reduce((sum, [, height]) => sum + height + GAP, GAP);
/** Shortest and longest stretch that is shown, in seconds. */
const SPANS = { least: 5, most: 3600 };
/** Shortest cue, in seconds. */
const SHORTEST = 0.1;
/** How near the edge of a cue a pointer must be, in pixels. */
const NEAR = 6;

/** @typedef {"start" | "end"} Edge */
/**
 * @typedef {{seek: (time: number) => void, select: (id: number, focus: boolean) => void,
 *   move: (id: number, to: (cue: Cue) => Stretch) => void, frame: () => number}} TimelineAct
 */

export class TimelineView {
  /** @param {Review} review @param {TimelineAct} act */
  constructor(review, act) {
    this.review = review;
    this.act = act;
    this.canvas = find("timeline", HTMLCanvasElement);
    this.box = any("lanes");
    this.peaks = new Uint8Array(0);
    /** Peaks of the waveform in a second. */
    this.rate = 0;
    /** Seconds that are shown, and the first of them. */
    this.span = Math.min(60, review.film.duration || 60);
    this.from = 0;
    this.now = 0;
    this.width = 0;
    this.ratio = 1;
    this.frame = 0;
    /** A cue that is being dragged, where it is now. @type {{id: number, start: number, end: number} | undefined} */
    this.dragged = undefined;
    /** @type {[Edge, HTMLElement][]} */
    this.handles = [["start", any("start-edge")], ["end", any("end-edge")]];
    this.canvas.addEventListener("pointerdown", (e) => this.down(e));
    this.box.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    for (const [edge, handle] of this.handles) {
      handle.addEventListener("keydown", (e) => this.key(edge, e));
      handle.addEventListener("pointerdown", (e) => this.grab(edge, e));
    }
    new ResizeObserver(() => this.resize()).observe(this.box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.resize();
  }

  resize() {
    this.ratio = window.devicePixelRatio || 1;
    this.width = Math.max(1, this.box.clientWidth);
    this.canvas.width = Math.max(1, Math.round(this.width * this.ratio));
    this.canvas.height = Math.round(HEIGHT * this.ratio);
    this.canvas.style.height = HEIGHT + "px";
    this.draw();
  }

  /** @param {number} time */
  x(time) {
    return ((time - this.from) / this.span) * this.width;
  }

  /** The time under a pointer. @param {PointerEvent | WheelEvent} e */
  time(e) {
    return this.from + ((e.clientX - this.canvas.getBoundingClientRect().left) / this.width) * this.span;
  }

  /** Shows the time, and follows it. @param {number} time */
  show(time) {
    this.now = time;
    if (!this.dragged && (time < this.from || time > this.from + this.span)) this.from = Math.max(0, time - this.span / 10);
    this.draw();
  }

  /** @param {WheelEvent} e */
  wheel(e) {
    e.preventDefault();
    if (e.ctrlKey || e.metaKey) {
      this.zoom(e.deltaY > 0 ? 1.25 : 0.8, this.time(e));
    } else {
      this.from = Math.max(0, this.from + ((e.deltaX || e.deltaY) / this.width) * this.span);
      this.draw();
    }
  }

  /** Shows more or less of the film; a time stays where it is. @param {number} factor @param {number} at */
  zoom(factor, at) {
    const span = Math.min(Math.max(this.span * factor, SPANS.least), SPANS.most);
    this.from = Math.max(0, at - (at - this.from) * (span / this.span));
    this.span = span;
    this.draw();
  }

  /** @param {string} name @returns {[top: number, height: number]} */
  lane(name) {
    let top = GAP;
    for (const [lane, height] of LANES) {
      if (lane === name) return [top, height];
      top += height + GAP;
    }
    return [0, 0];
  }

  /** Cues can be moved, and their edges too. @param {PointerEvent} e */
  down(e) {
    const at = this.time(e);
    const [top, height] = this.lane("cues");
    const near = (this.span / this.width) * NEAR;
    const y = e.clientY - this.canvas.getBoundingClientRect().top;
    const inLane = y >= top && y <= top + height;
    const cue = inLane && this.review.within(at - near, at + near).find((c) => c.start - near <= at && at <= c.end + near);
    if (!cue) {
      this.act.seek(at);
      return;
    }
    this.act.select(cue.id, false);
    const edge = Math.abs(at - cue.start) <= near ? "start" : Math.abs(at - cue.end) <= near ? "end" : "both";
    this.drag(cue, edge, e, this.canvas);
  }

  /** An edge of the selected cue. @param {Edge} edge @param {PointerEvent} e */
  grab(edge, e) {
    const cue = this.review.current();
    if (cue) this.drag(cue, edge, e, /** @type {HTMLElement} */ (e.currentTarget));
  }

  /**
   * @param {Cue} cue
   * @param {Edge | "both"} edge
   * @param {PointerEvent} begun
   * @param {HTMLElement} by what the pointer is on
   */
  drag(cue, edge, begun, by) {
    const at = this.time(begun);
    let moved = { start: cue.start, end: cue.end };
    /** @param {PointerEvent} e */
    const move = (e) => {
      moved = shifted(cue, edge, this.time(e) - at);
      this.dragged = { id: cue.id, ...moved };
      this.draw();
    };
    const up = () => {
      by.removeEventListener("pointermove", move);
      by.removeEventListener("pointerup", up);
      by.removeEventListener("pointercancel", up);
      this.dragged = undefined;
      if (moved.start !== cue.start || moved.end !== cue.end) this.act.move(cue.id, () => moved);
      this.draw();
    };
    by.setPointerCapture(begun.pointerId);
    by.addEventListener("pointermove", move);
    by.addEventListener("pointerup", up);
    by.addEventListener("pointercancel", up);
  }

  /**
   * Arrows move an edge: by 0.1 s, with Shift by a second, with Alt by a frame.
   * @param {Edge} edge
   * @param {KeyboardEvent} e
   */
  key(edge, e) {
    const cue = this.review.current();
    const back = e.key === "ArrowLeft" || e.key === "ArrowDown";
    if (!cue || !(back || e.key === "ArrowRight" || e.key === "ArrowUp")) return;
    e.preventDefault();
    e.stopPropagation();
    const step = e.shiftKey ? 1 : e.altKey ? this.act.frame() : 0.1;
    // Somebody who holds the key down is faster than descry: each step begins where the one before it has ended.
    this.act.move(cue.id, (now) => shifted(now, edge, back ? -step : step));
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.paint());
  }

  paint() {
    const g = this.canvas.getContext("2d");
    if (!g) return;
    const style = getComputedStyle(this.canvas);
    const color = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    g.clearRect(0, 0, this.width, HEIGHT);
    const until = this.from + this.span;
    /**
     * @template {Stretch} S
     * @param {string} lane
     * @param {S[] | null} items in order
     * @param {(item: S) => string} fill
     */
    const bars = (lane, items, fill) => {
      const [top, height] = this.lane(lane);
      for (let n = firstAfter(items ?? [], this.from); items && n < items.length; n++) {
        const item = /** @type {S} */ (items[n]);
        if (item.start > until) break;
        const x = this.x(item.start);
        g.fillStyle = fill(item);
        g.fillRect(x, top, Math.max(1, this.x(item.end) - x - 1), height);
      }
    };
    const { timeline, pauses, selected } = this.review;
    bars("scenes", timeline.scenes, (s) => color(s.said ? "--edge" : "--soft"));
    bars("speech", timeline.speech, () => color("--wait"));
    bars("pauses", pauses, () => color("--quiet"));
    // Lines of text overlap, so those that are over are not all before the others.
    const shown = (timeline.text ?? []).filter((line) => line.end > this.from && line.start < until);
    bars("screenText", shown, () => color("--good"));
    this.paintSound(g, color("--soft"));
    const cues = this.review.within(this.from, until).filter((c) => c.id !== this.dragged?.id);
    const dragged = this.dragged && this.review.cue(this.dragged.id);
    for (const cue of dragged ? [...cues, { ...dragged, ...this.dragged }] : cues) {
      bars("cues", [cue], () => {
        if (cue.id === selected) return color("--accent");
        if (this.review.known(cue.id).warnings.length) return color("--wait");
        return color(cue.checked ? "--good" : "--soft");
      });
    }
    g.fillStyle = color("--bad");
    g.fillRect(this.x(this.now) - 1, 0, 2, HEIGHT);
    this.place();
  }

  /** Puts the edges of the selected cue where they are. */
  place() {
    const cue = this.review.current();
    const [top, height] = this.lane("cues");
    for (const [edge, handle] of this.handles) {
      handle.hidden = !cue;
      if (!cue) continue;
      const time = this.dragged?.id === cue.id ? this.dragged[edge] : cue[edge];
      const x = this.x(time);
      // One that is out of sight keeps its place in the order of Tab, and comes back when it is moved.
      handle.style.transform = `translate(${Math.min(Math.max(x, 0), this.width)}px, ${top}px)`;
      handle.style.height = height + "px";
      handle.classList.toggle("out", x < 0 || x > this.width);
      handle.setAttribute("aria-valuenow", time.toFixed(3));
      handle.setAttribute("aria-valuemax", String(Math.max(this.review.film.duration ?? 0, cue.end)));
      handle.setAttribute("aria-valuetext", exact(time));
    }
  }

  /** @param {CanvasRenderingContext2D} g @param {string} fill */
  paintSound(g, fill) {
    const [top, height] = this.lane("sound");
    const { rate, peaks } = this;
    if (!rate) return;
    g.fillStyle = fill;
    const step = (this.span / this.width) * rate;
    for (let x = 0; x < this.width; x++) {
      const begin = Math.floor(this.from * rate + x * step);
      let peak = 0;
      for (let n = begin; n < Math.max(begin + 1, begin + step); n++) peak = Math.max(peak, peaks[n] ?? 0);
      const h = (peak / 255) * height;
      g.fillRect(x, top + (height - h) / 2, 1, Math.max(h, 0.5));
    }
  }
}

/**
 * A cue that is moved, or one edge of it. It keeps its shortest length, and does not begin before the film.
 * @param {Stretch} cue
 * @param {Edge | "both"} edge
 * @param {number} by
 */
function shifted(cue, edge, by) {
  if (edge === "start") return { start: Math.min(Math.max(0, cue.start + by), cue.end - SHORTEST), end: cue.end };
  if (edge === "end") return { start: cue.start, end: Math.max(cue.end + by, cue.start + SHORTEST) };
  const start = Math.max(0, cue.start + by);
  return { start, end: cue.end + start - cue.start };
}
