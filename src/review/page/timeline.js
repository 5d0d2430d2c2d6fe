// The lanes below the film, drawn on a canvas. Nothing but a picture: whatever it shows is in the list of cues too.

const LANES = [["scenes", 14], ["sound", 34], ["speech", 12], ["screenText", 12], ["cues", 26]];
const GAP = 4;
export const HEIGHT = LANES.reduce((sum, [, height]) => sum + height + GAP, GAP);

export class TimelineView {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas, review, act) {
    this.canvas = canvas;
    this.review = review;
    this.act = act;
    this.peaks = new Uint8Array(0);
    /** Seconds that are shown, and the first of them. */
    this.span = Math.min(60, review.film.duration || 60);
    this.from = 0;
    canvas.addEventListener("pointerdown", (e) => this.down(e));
    canvas.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.resize();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.parentElement.clientWidth;
    this.canvas.width = Math.max(1, Math.round(this.width * ratio));
    this.canvas.height = Math.round(HEIGHT * ratio);
    this.canvas.style.height = HEIGHT + "px";
    this.ratio = ratio;
    this.draw();
  }

  x(time) {
    return ((time - this.from) / this.span) * this.width;
  }

  time(x) {
    return this.from + (x / this.width) * this.span;
  }

  /** Shows the time, and follows it. */
  show(time) {
    this.now = time;
    if (time < this.from || time > this.from + this.span) this.from = Math.max(0, time - this.span / 10);
    this.draw();
  }

  wheel(e) {
    e.preventDefault();
    const at = this.time(e.offsetX);
    if (e.ctrlKey || e.metaKey) {
      const span = Math.min(Math.max(this.span * (e.deltaY > 0 ? 1.25 : 0.8), 5), 3600);
      this.from = Math.max(0, at - (at - this.from) * (span / this.span));
      this.span = span;
    } else {
      this.from = Math.max(0, this.from + ((e.deltaX || e.deltaY) / this.width) * this.span);
    }
    this.draw();
  }

  lane(name) {
    let top = GAP;
    for (const [lane, height] of LANES) {
      if (lane === name) return [top, height];
      top += height + GAP;
    }
    return [0, 0];
  }

  /** Cues can be moved, and their edges too. */
  down(e) {
    const at = this.time(e.offsetX);
    const [top, height] = this.lane("cues");
    const near = (this.span / this.width) * 6;
    const inLane = e.offsetY >= top && e.offsetY <= top + height;
    const cue = inLane && this.review.cues.find((c) => c.start - near <= at && at <= c.end + near);
    if (!cue) {
      this.act.seek(at);
      return;
    }
    this.act.select(cue.id);
    const edge = Math.abs(at - cue.start) <= near ? "start" : Math.abs(at - cue.end) <= near ? "end" : "both";
    let moved = { start: cue.start, end: cue.end };
    const move = (e) => {
      const by = this.time(e.offsetX) - at;
      moved = {
        start: edge === "end" ? cue.start : Math.max(0, cue.start + by),
        end: edge === "start" ? cue.end : cue.end + by,
      };
      this.dragged = { id: cue.id, ...moved };
      this.draw();
    };
    const up = () => {
      this.canvas.removeEventListener("pointermove", move);
      this.dragged = undefined;
      if (moved.start !== cue.start || moved.end !== cue.end) this.act.move(cue.id, moved);
      this.draw();
    };
    this.canvas.setPointerCapture(e.pointerId);
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", up, { once: true });
    this.canvas.addEventListener("pointercancel", up, { once: true });
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.paint());
  }

  paint() {
    const g = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    const color = (name) => style.getPropertyValue(name).trim();
    g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    g.clearRect(0, 0, this.width, HEIGHT);
    const until = this.from + this.span;
    const bars = (lane, items, fill) => {
      const [top, height] = this.lane(lane);
      for (const item of items ?? []) {
        if (item.end < this.from || item.start > until) continue;
        const x = this.x(item.start);
        g.fillStyle = typeof fill === "function" ? fill(item) : fill;
        g.fillRect(x, top, Math.max(1, this.x(item.end) - x - 1), height);
      }
    };
    const { timeline, cues, facts, selected } = this.review;
    bars("scenes", timeline.scenes, (s) => color(s.said ? "--edge" : "--soft"));
    bars("speech", timeline.speech, color("--wait"));
    bars("screenText", timeline.text, color("--good"));
    this.paintSound(g, color("--soft"));
    const shown = cues.map((c) => (this.dragged?.id === c.id ? { ...c, ...this.dragged } : c));
    bars("cues", shown, (c) => {
      if (c.id === selected) return color("--accent");
      if (facts.get(c.id)?.warnings.length) return color("--wait");
      return c.checked ? color("--good") : color("--soft");
    });
    g.fillStyle = color("--bad");
    g.fillRect(this.x(this.now ?? 0) - 1, 0, 2, HEIGHT);
  }

  paintSound(g, fill) {
    const [top, height] = this.lane("sound");
    const { rate } = this;
    if (!rate) return;
    g.fillStyle = fill;
    const step = (this.span / this.width) * rate;
    for (let x = 0; x < this.width; x++) {
      const begin = Math.floor(this.from * rate + x * step);
      let peak = 0;
      for (let n = begin; n < Math.max(begin + 1, begin + step); n++) peak = Math.max(peak, this.peaks[n] ?? 0);
      const h = (peak / 255) * height;
      g.fillRect(x, top + (height - h) / 2, 1, Math.max(h, 0.5));
    }
  }
}
