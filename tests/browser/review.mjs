// Reviews a film in headless Chromium as a person would: with the keyboard alone, in two windows, with a model and a voice, with
// thousands of cues, and while descry is killed. Arguments: descry, and a folder for pictures of the page, if they are wanted.

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

import { films } from "./review_films.mjs";
import { machines, pauses } from "./review_help.mjs";
import { manyCues } from "./review_size.mjs";
import { axe, ended, film, folder, freePort, open, saved, shots, start, texts, track, until } from "./review_support.mjs";

async function keyboard(browser, address) {
  const page = await open(browser, address);
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  await press("j", "Enter", "Control+A");
  await page.keyboard.type("A dog & a <cat>.");
  await press("Escape");
  await until("the text is saved", () => saved("film.review.json").cues[1].text === "A dog & a <cat>.");
  assert.equal((await texts(page))[1], "A dog & a <cat>.");
  // Typing is one change.
  assert.equal(saved("film.review.json").history.length, 1);
  await press("c");
  await until("the cue is checked", () => saved("film.review.json").cues[1].checked);
  const titled = (title) => until(title, async () => (await page.textContent("#editor-title")) === title);
  await titled("Cue 3 of 5");
  await press("s");
  await until("the cue is split", () => saved("film.review.json").cues.length === 6);
  await titled("Cue 3 of 6");
  await press("m");
  await until("they are one again", () => saved("film.review.json").cues.length === 5);
  await titled("Cue 3 of 5");
  await press("x");
  await until("the cue is deleted", () => saved("film.review.json").deleted.length > 0 && saved("film.review.json").cues.length === 4);
  await press("u", "u", "u");
  await until("it is back", () => saved("film.review.json").cues.length === 5 && saved("film.review.json").cues[2].text === "Shot 3.");
  await press("r");
  await until("it is split again", () => saved("film.review.json").cues.length === 6);
  await press("u");
  await until("and is not", () => saved("film.review.json").cues.length === 5);
  await press("Home", ".");
  await until("the cue is later", () => saved("film.review.json").cues[0].start === 0.1);
  await press("f");
  await page.keyboard.type("shot");
  await press("Tab");
  await page.keyboard.type("Scene");
  await page.focus("#replace-all");
  await press("Enter");
  await until("words are replaced", () => saved("film.review.json").cues[3].text === "Scene 4.");
  await press("Escape", "?");
  assert.ok(await page.isVisible("#help"));
  await press("Escape");
  // The film is converted while it plays.
  await press("Home", "Space");
  await until("the film plays", () => page.evaluate(() => document.getElementById("video").currentTime > 0.5));
  await press("End");
  await until("another place plays", () => page.evaluate(() => document.getElementById("video").currentTime > 16.2));
  await press("Space");
  const colour = await page.evaluate(() => {
    const canvas = document.createElement("canvas");
    canvas.getContext("2d").drawImage(document.getElementById("video"), 0, 0);
    return canvas.width > 0;
  });
  assert.ok(colour);
  await until("pictures are there", () =>
    page.evaluate(() => [...document.querySelectorAll("#cues img")].slice(0, 3).every((image) => image.naturalWidth > 0)));
  assert.deepEqual(page.faults, []);
  await page.close();
  console.log("ok: a film is reviewed with the keyboard alone, and everything is saved, undone and done again");
}

async function twoWindows(browser, address) {
  const [one, two] = [await open(browser, address), await open(browser, address)];
  await one.keyboard.press("Enter");
  await one.keyboard.press("Control+A");
  await one.keyboard.type("Of one.");
  await until("the other one sees it", async () => (await texts(two))[0] === "Of one.");
  // Both change the same cue, one without having heard of the other.
  await two.evaluate(() => (window.EventSource = undefined));
  await two.route("**/api/edit", async (route) => {
    await new Promise((go) => setTimeout(go, 800));
    await route.continue();
  });
  await two.keyboard.press("Enter");
  await two.keyboard.press("Control+A");
  await two.keyboard.type("Of two.");
  await one.keyboard.press("Control+A");
  await one.keyboard.type("Of one again.");
  await until("the second one is asked", () => two.isVisible("#conflict"));
  assert.match(await two.textContent("#conflict-sides"), /Now: Of one again\.Yours: Of two\./);
  assert.equal(saved("film.review.json").cues[0].text, "Of one again.");
  await two.click("#conflict-choices button:last-child");
  await until("it takes its own", () => saved("film.review.json").cues[0].text === "Of two.");
  await until("and the first one sees that", async () => (await texts(one))[0] === "Of two.");
  assert.deepEqual([one.faults, two.faults], [[], []]);
  await one.close();
  await two.close();
  console.log("ok: two windows see each other's changes, and none overwrites the other's");
}

async function killed(browser, port, running) {
  const page = await open(browser, running.address);
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("Typed before the kill.");
  await until("it is saved", () => saved("film.review.json").cues[1].text === "Typed before the kill.");
  await ended(running.child, "SIGKILL");
  await page.keyboard.type(" And after it.");
  await until("the page says so", async () => /not saved|does not answer/i.test(await page.textContent("#saved")));
  const again = await start(port, "film.avi");
  await until("nothing that was typed is lost", () => saved("film.review.json").cues[1].text === "Typed before the kill. And after it.");
  await until("the page is content", async () => (await page.textContent("#saved")) === "Saved");
  assert.deepEqual(page.faults, []);
  await page.close();
  await ended(again.child, "SIGINT");
  console.log("ok: descry is killed while somebody types, and nothing is lost");
}

async function looks(browser, address) {
  for (const colorScheme of ["light", "dark"]) {
    // A desktop, a phone, and the desktop at 200 %.
    for (const [width, height, deviceScaleFactor] of [[1280, 860, 1], [360, 740, 2], [640, 430, 2]]) {
      // What axe-core needs to run; everything else on the page stays under its policy.
      const page = await open(browser, address, { colorScheme, viewport: { width, height }, deviceScaleFactor, bypassCSP: true });
      for (const dialog of [null, "find", "glossary", "history", "export", "help"]) {
        if (dialog) await page.click(`#open-${dialog}`);
        const found = await page.evaluate(`${axe}; axe.run()`);
        assert.deepEqual(found.violations.map((v) => v.id + " " + v.nodes.map((n) => n.target).join(" ")), [], `${colorScheme} ${width} ${dialog}`);
        if (dialog) await page.keyboard.press("Escape");
      }
      // What axe-core does not know: whether everything that is cut off can be scrolled to.
      const cut = await page.evaluate(() => [...document.querySelectorAll("button, input, select, textarea")]
        .filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1 && e.tagName === "BUTTON").map((e) => e.id));
      assert.deepEqual(cut, []);
      await page.selectOption("#layout", "storyboard");
      const found = await page.evaluate(`${axe}; axe.run("#side")`);
      assert.deepEqual(found.violations.map((v) => v.id), [], `${colorScheme} ${width} storyboard`);
      if (shots) await page.screenshot({ path: join(shots, `review-storyboard-${colorScheme}-${width}.png`) });
      await page.selectOption("#layout", "list");
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `${wide} of ${width}`);
      if (shots) await page.screenshot({ path: join(shots, `review-${colorScheme}-${width}.png`) });
      await page.close();
    }
  }
  console.log("ok: the page and its dialogs have no fault that axe-core finds, in both themes, on a phone and enlarged");
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--autoplay-policy=no-user-gesture-required"],
});
let running;
try {
  film("film.avi", 20);
  track("film.vtt", 5, 4);
  const port = await freePort();
  running = await start(port, "film.avi", "film.vtt");
  await keyboard(browser, running.address);
  await twoWindows(browser, running.address);
  await looks(browser, running.address);
  await killed(browser, port, running);
  await pauses(browser);
  await machines(browser);
  await manyCues(browser);
  await films(browser);
} finally {
  await browser.close();
  running?.child.kill();
  rmSync(folder, { recursive: true, force: true });
}
