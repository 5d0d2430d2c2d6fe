// The film and its controls: what plays, where, and which description is there then.

/** @import {Cue} from "./types.d.ts" */
/** @import {Film} from "./film.js" */
/** @import {Review} from "./state.js" */

import { any, button, find, input } from "./elements.js";
import { clock } from "./state.js";

export class Player {
  /**
   * @param {Review} review
   * @param {Film} film
   * @param {(time: number) => void} moved is called at every new position
   */
  constructor(review, film, moved) {
    this.review = review;
    this.film = film;
    this.moved = moved;
    const { video } = film;
    /** Where the film pauses. @type {number | null} */
    this.until = null;
    const seek = input("seek");
    seek.max = String(review.film.duration ?? review.cues.at(-1)?.end ?? 0);
    for (const event of ["timeupdate", "seeked", "loadedmetadata"]) video.addEventListener(event, () => this.tick());
    const run = () => {
      this.tick();
      if (!video.paused) requestAnimationFrame(run);
    };
    video.addEventListener("play", () => {
      button("play").textContent = "Pause";
      run();
    });
    video.addEventListener("pause", () => (button("play").textContent = "Play"));
    seek.addEventListener("input", () => film.seek(Number(seek.value)));
    const speed = find("speed", HTMLSelectElement);
    speed.addEventListener("change", () => (video.playbackRate = Number(speed.value)));
  }

  /** Shows the position of the film. */
  tick() {
    const { time } = this.film;
    any("clock").textContent = clock(time);
    const seek = input("seek");
    if (document.activeElement !== seek) seek.value = String(time);
    seek.setAttribute("aria-valuetext", clock(time));
    if (this.until !== null && time >= this.until) {
      this.until = null;
      this.film.video.pause();
    }
    any("shown").textContent = this.review.within(time, time)[0]?.text ?? "";
    this.moved(time);
  }

  toggle() {
    this.until = null;
    if (this.film.video.paused) this.play();
    else this.film.video.pause();
  }

  /** Plays one cue. @param {Cue} cue */
  playCue(cue) {
    this.film.seek(cue.start);
    this.until = cue.end;
    this.play();
  }

  play() {
    // A browser refuses if the film is gone meanwhile; the film itself then says why.
    this.film.video.play().catch(() => {});
  }

  /** How long a frame is, in seconds. */
  get frame() {
    return 1 / (this.review.film.frame_rate ?? 25);
  }
}
