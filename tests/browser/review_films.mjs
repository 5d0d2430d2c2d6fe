// The list of an archive's films, with the keyboard alone, with many films, in both themes and on a phone. A part of review.mjs.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { join, resolve as absolute } from "node:path";
import { axe, descry, ended, film, folder, freePort, root, shots, start, until } from "./review_support.mjs";

/** Films in the archive: two pages of the list. */
const FILMS = 60;

export async function films(browser) {
  const port = await freePort();
  make();
  let running = await start(port, "archive");
  try {
    const page = await list(browser, running.address);
    await keyboard(page);
    await page.close();
  } finally {
    await ended(running.child, "SIGINT");
  }
  const shelf = join(folder, "archive/reviews");
  const saved = readdirSync(shelf).flatMap((name) => readdirSync(join(shelf, name)).map((file) => join(shelf, name, file)));
  assert.equal(saved.length, 1);
  assert.equal(JSON.parse(readFileSync(saved[0], "utf8")).cues[0].text, "A walrus from the list.");
  rmSync(join(folder, "films/film-07.avi"));
  running = await start(port, "archive");
  try {
    await looks(browser, running.address);
  } finally {
    await ended(running.child, "SIGINT");
  }
}

/** An archive of many small films. */
function make() {
  const model = join(root, "tests/models/tiny");
  mkdirSync(join(folder, "films"));
  film("films/film-00.avi", 2);
  for (let n = 1; n < FILMS; n++) {
    copyFileSync(join(folder, "films/film-00.avi"), join(folder, `films/film-${String(n).padStart(2, "0")}.avi`));
  }
  const options = ["--into", "archive", "--model", model, "--min-score", "0", "--audio", "none", "--mode", "keyframes", "-q"];
  execFileSync(absolute(descry), ["index", "films", ...options], { cwd: folder });
}

async function list(browser, address, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 860 }, ...options });
  page.faults = [];
  page.on("pageerror", (e) => page.faults.push(e.message));
  page.on("console", (m) => m.type() === "error" && page.faults.push(m.text()));
  await page.goto(address);
  await until("all films are read", async () => (await page.textContent("#count")) === `${FILMS} films`);
  return page;
}

const titles = (page) => page.locator("#films h2").allTextContents();

async function keyboard(page) {
  assert.equal((await titles(page)).length, 50, "a page of them");
  await page.focus("#later");
  await page.keyboard.press("Enter");
  await until("the second page", async () => (await titles(page)).length === FILMS - 50);
  assert.match(page.url(), /page=2/);
  await page.goBack();
  await until("the first page again", async () => (await titles(page)).length === 50);
  await page.selectOption("#order", "title");
  await until("they are sorted", async () => (await titles(page))[0] === "film-00.avi");
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press("/");
  await page.keyboard.type("film-3");
  await until("a few are left", async () => (await titles(page)).length === 10);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#cues .pick");
  assert.equal(await page.textContent("#film-name"), "film-31.avi");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("A walrus from the list.");
  await page.keyboard.press("Escape");
  await until("it is saved", async () => (await page.textContent("#saved")) === "Saved");
  await page.focus("#all-films");
  // What is asked of a page while another one takes its place fails.
  await Promise.all([page.waitForEvent("load"), page.keyboard.press("Enter")]);
  await until("the list is there", async () => (await titles(page)).length === 50);
  // Back where it was left, with what was edited.
  await page.goBack();
  await page.goBack();
  await until("the same place", async () => (await titles(page))[1] === "film-31.avi");
  await until("it was edited", async () => /Edited/.test(await page.locator("#films li").nth(1).textContent()));
  assert.deepEqual(page.faults, []);
  console.log("ok: the films of an archive are listed, found, reviewed and left with the keyboard alone");
}

async function looks(browser, address) {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 360]) {
      const page = await list(browser, address + "?order=title", { colorScheme, viewport: { width, height: 800 }, bypassCSP: true });
      assert.match(await page.locator("#films li").nth(7).textContent(), /not at this path any more/);
      const found = await page.evaluate(`${axe}; axe.run()`);
      assert.deepEqual(found.violations.map((v) => v.id + " " + v.nodes.map((n) => n.target).join(" ")), [], `${colorScheme} ${width}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `${wide} of ${width}`);
      if (shots) await page.screenshot({ path: join(shots, `films-${colorScheme}-${width}.png`) });
      await page.click('#films a:text("film-07.avi")');
      await page.waitForSelector("h1:text('cannot be opened')");
      const refused = await page.evaluate(`${axe}; axe.run()`);
      assert.deepEqual(refused.violations.map((v) => v.id), []);
      await page.click("text=All films");
      await page.waitForSelector("#films li");
      await page.close();
    }
  }
  console.log("ok: the list has no fault that axe-core finds, in both themes and on a phone; a missing film says so");
}
