// A film of three hours with 3,000 cues, and with 10,000: what the page does is bounded by what is in sight, not by the film.
// Times are printed, and nothing depends on them: a busy machine is slow.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { ended, folder, freePort, open, saved, stamp, start, until } from "./review_support.mjs";

const HOURS = 3;
/** Most rows that are elements, and most pictures that are asked for, whatever the number of cues. */
const MOST_ROWS = 250;

/** Three hours of a tiny picture, a frame a second. */
function longFilm() {
  const source = `testsrc=s=64x36:r=1:d=${HOURS * 3600}`;
  execFileSync("ffmpeg", ["-v", "error", "-f", "lavfi", "-i", source, "-c:v", "mpeg4", "-g", "60", "long.avi"], { cwd: folder });
}

/** Cues one after the other, of one to four lines, so that no two rows need be of one height. */
function longTrack(name, count) {
  const step = (HOURS * 3600) / count;
  const text = (n) => `Shot ${n + 1}. ` + "A person walks along a wide street. ".repeat(n % 4);
  const cues = Array.from({ length: count }, (_, n) => `${stamp(n * step)} --> ${stamp((n + 1) * step - 0.05)}\n${text(n)}\n`);
  writeFileSync(join(folder, name), "WEBVTT\n\n" + cues.join("\n"));
}

const rows = (page) => page.locator("#cues > li:not(.space)").count();

/** Whether a cue is in sight, by its place. */
function inSight(page, place) {
  return page.evaluate((place) => {
    const row = document.querySelector(`#cues > [aria-posinset="${place}"]`);
    const list = document.getElementById("cues").getBoundingClientRect();
    const box = row?.getBoundingClientRect();
    return !!box && box.top >= list.top - 1 && box.bottom <= list.bottom + 1;
  }, place);
}

async function review(browser, count) {
  longTrack("long.vtt", count);
  const name = `long-${count}.review.json`;
  const running = await start(await freePort(), "long.avi", "long.vtt", "--review", name);
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } });
  const requests = [];
  context.on("request", (request) => requests.push(new URL(request.url()).pathname));
  const asked = () => requests.filter((path) => path.startsWith("/picture/")).length;
  const begun = performance.now();
  const page = await open({ newPage: () => context.newPage() }, running.address);
  const opened = performance.now() - begun;
  assert.match(await page.textContent("#progress"), new RegExp(`^${count} cues, 0 checked, \\d+ with warnings$`));
  const check = async (what) => {
    const there = await rows(page);
    assert.ok(there > 5 && there <= MOST_ROWS, `${what}: ${there} rows`);
  };
  await check("at the start");
  await page.waitForTimeout(300);
  assert.ok(asked() <= MOST_ROWS, `${asked()} pictures`);
  // The end, the start, and the middle.
  await page.keyboard.press("End");
  await until("the last cue is in sight", () => inSight(page, count));
  await check("at the end");
  await page.keyboard.press("k");
  await until("the one before is in sight", () => inSight(page, count - 1));
  await page.keyboard.press("Home");
  await until("the first cue is in sight", () => inSight(page, 1));
  // Frames while the list is scrolled from its start to its end: every row that is in sight is there.
  const scrolled = await page.evaluate(async () => {
    const list = document.getElementById("cues");
    let [last, slowest, most, empty] = [performance.now(), 0, 0, 0];
    for (let n = 0; n <= 100; n++) {
      list.scrollTop = (list.scrollHeight * n) / 100;
      await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      slowest = Math.max(slowest, (now - last) / 2);
      last = now;
      most = Math.max(most, list.children.length);
      const box = list.getBoundingClientRect();
      const middle = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
      if (!middle?.closest("li:not(.space)")) empty++;
    }
    return { slowest, most, empty };
  });
  assert.ok(scrolled.most <= MOST_ROWS + 2, `${scrolled.most} elements while it is scrolled`);
  assert.equal(scrolled.empty, 0, "rows in sight are missing");
  // An edit in the middle costs one request, and no other row.
  await page.selectOption("#order", "time");
  await page.keyboard.press("Home");
  await page.focus("#cues");
  const before = requests.length;
  await page.evaluate(() => {
    window.touched = new Set();
    new MutationObserver((all) => all.forEach((one) => window.touched.add(one.target.parentElement?.closest("li"))))
      .observe(document.getElementById("cues"), { subtree: true, childList: true, characterData: true });
  });
  await page.keyboard.press("Enter");
  await page.keyboard.press("End");
  await page.keyboard.type("!");
  await until("the edit is saved", () => saved(name).cues[0].text.endsWith("!"));
  const edits = requests.slice(before).filter((path) => path === "/api/edit");
  assert.equal(edits.length, 1);
  assert.ok((await page.evaluate(() => window.touched.size)) <= 3);
  assert.ok(!requests.slice(before).includes("/api/review"));
  // Pictures that were seen once are not asked for again, in any window.
  await page.close();
  const known = asked();
  const again = await open({ newPage: () => context.newPage() }, running.address);
  await again.waitForFunction(() => [...document.querySelectorAll("#cues img")].slice(0, 3).every((image) => image.complete && image.naturalWidth));
  const kept = await again.evaluate(() => performance.getEntriesByType("resource")
    .filter((entry) => entry.name.includes("/picture/")).map((entry) => entry.transferSize));
  assert.ok(kept.length > 0 && kept.slice(0, 5).every((bytes) => bytes === 0), `${known} pictures, and then ${kept}`);
  assert.deepEqual(again.faults, []);
  await context.close();
  await ended(running.child, "SIGINT");
  console.log(`ok: ${count.toLocaleString("en")} cues open (${(opened / 1000).toFixed(1)} s) and scroll ` +
    `(the slowest frame takes ${scrolled.slowest.toFixed(0)} ms), with ${scrolled.most} elements at most`);
}

export async function manyCues(browser) {
  longFilm();
  await review(browser, 3000);
  await review(browser, 10000);
}
