// Cues spoken: by descry's voice if it was started with one, or else by the browser's.

/** @import {Review} from "./state.js" */

import { button } from "./elements.js";
import * as server from "./server.js";
import { notice } from "./status.js";

export class Voice {
  /** @param {Review} review */
  constructor(review) {
    this.review = review;
    /** What is under way. @type {AbortController | null} */
    this.asking = null;
    this.sound = new Audio();
    const { voice } = review.film;
    button("say").title = voice ? `Spoken by ${voice}` : "Spoken by the browser; descry speaks with --voice";
    this.sound.addEventListener("ended", () => this.stop());
  }

  /** Ends what is spoken. */
  stop() {
    this.asking?.abort();
    this.asking = null;
    this.sound.pause();
    if (this.sound.src) URL.revokeObjectURL(this.sound.src);
    this.sound.removeAttribute("src");
    if ("speechSynthesis" in window) speechSynthesis.cancel();
  }

  /** @param {string} text */
  async say(text) {
    this.stop();
    if (!text.trim()) return;
    if (!this.review.film.voice) {
      this.sayHere(text);
      return;
    }
    const asking = (this.asking = new AbortController());
    try {
      const wav = await server.speak(text, asking.signal);
      if (this.asking !== asking) return;
      this.sound.src = URL.createObjectURL(wav);
      await this.sound.play();
    } catch (e) {
      if (!asking.signal.aborted) notice(e instanceof Error ? e.message : String(e));
    }
  }

  /** With the browser's voice. @param {string} text */
  sayHere(text) {
    if (!("speechSynthesis" in window)) {
      notice("This browser has no voice. Start descry with --voice espeak, or use another browser.");
      return;
    }
    const words = new SpeechSynthesisUtterance(text);
    words.lang = this.review.language;
    speechSynthesis.speak(words);
  }
}
