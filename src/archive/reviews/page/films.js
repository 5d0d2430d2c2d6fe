// The films of an archive, a page at a time: which ones, in which order, is in the address of the page, so that a link back
// from a film leads to the same place. While descry still reads films, the list is asked for again.

/** @import {Choice, FilmList, ListedFilm} from "./types.d.ts" */

/**
 * The element with an id.
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
function find(id, kind) {
  const one = document.getElementById(id);
  if (!(one instanceof kind)) throw new Error(`The page has no ${kind.name} with the id ${id}.`);
  return one;
}

const name = find("find", HTMLInputElement);
const selects = { order: find("order", HTMLSelectElement), show: find("show", HTMLSelectElement) };
const films = find("films", HTMLOListElement);
const [earlier, later] = [find("earlier", HTMLButtonElement), find("later", HTMLButtonElement)];
/** How long after the last key a name is looked for, in milliseconds. */
const PAUSE = 250;
/** How long after an answer the list is asked for again while films are being read, in milliseconds. */
const AGAIN = 500;
/** Films on a page. */
const PAGE = 50;

const usual = { order: "mean", show: "all" };
/** Counts the requests: only the answer to the last one is shown. */
let asked = 0;
let again = 0;

/** What is chosen, as the address of the page says. @returns {Choice} */
function chosen() {
  const from = new URLSearchParams(location.search);
  const page = Number(from.get("page"));
  /** @param {"order" | "show"} one */
  const selected = (one) => {
    const value = from.get(one);
    return value !== null && [...selects[one].options].some((option) => option.value === value) ? value : usual[one];
  };
  return {
    find: from.get("find") ?? "", order: selected("order"), show: selected("show"),
    page: Number.isInteger(page) && page > 0 ? page : 1,
  };
}

/** The address of the page for a choice. @param {Choice} choice */
function address({ find, order, show, page }) {
  const to = new URLSearchParams();
  if (find) to.set("find", find);
  if (order !== usual.order) to.set("order", order);
  if (show !== usual.show) to.set("show", show);
  if (page > 1) to.set("page", String(page));
  return to.size ? "?" + to : location.pathname;
}

/** Shows something else. @param {Partial<Choice>} change @param {boolean} isNewPage whether the browser leads back to it */
function choose(change, isNewPage) {
  const to = address({ ...chosen(), page: 1, ...change });
  if (isNewPage) history.pushState(null, "", to);
  else history.replaceState(null, "", to);
  return show();
}

/**
 * A new element with a text.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} kind
 * @param {string} [text]
 * @param {string[]} classes
 */
function element(kind, text, ...classes) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  made.classList.add(...classes);
  return made;
}

/** @param {number} seconds */
function clock(seconds) {
  const whole = Math.round(seconds);
  /** @param {number} n */
  const two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

/** @param {number} number @param {string} what */
const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;

/** What is known of a film, as pairs of a name and its value. @param {ListedFilm} film */
function facts({ duration, progress }) {
  /** @type {[string, string][]} */
  const known = [];
  if (duration !== null) known.push(["Length", clock(duration)]);
  known.push(["Cues", progress.cues.toLocaleString("en")], ["Not checked", progress.unchecked.toLocaleString("en")]);
  if (progress.mean !== null) known.push(["Mean score", progress.mean.toFixed(2)]);
  if (progress.lowest !== null) known.push(["Lowest score", progress.lowest.toFixed(2)]);
  if (progress.last_change) known.push(["Edited", new Date(progress.last_change).toLocaleString()]);
  return known;
}

/** The states of a film that an editor should know of. @param {ListedFilm} film */
function states({ fault, presence, standing, progress }) {
  /** @type {["good" | "wait" | "bad", string][]} */
  const found = [];
  if (fault) found.push(["bad", fault]);
  if (presence === "missing") found.push(["bad", "The film is not at this path any more"]);
  if (presence === "changed") found.push(["wait", "The film has changed since it was described: run descry index"]);
  if (standing === "described-again") found.push(["wait", "Described again since it was edited"]);
  if (!fault && progress.cues > 0 && progress.unchecked === 0) found.push(["good", "All cues are checked"]);
  return found;
}

/** @param {ListedFilm} film */
function thumbnail(film) {
  if (!film.has_thumbnail) {
    const none = element("span", "no picture", "thumb");
    none.setAttribute("aria-hidden", "true");
    return none;
  }
  const picture = element("img", undefined, "thumb");
  picture.alt = "";
  picture.loading = "lazy";
  picture.src = `/thumbnail/${film.key}.jpg`;
  return picture;
}

/** @param {ListedFilm} film */
function row(film) {
  const li = element("li");
  const words = element("div");
  const title = element("h2");
  const link = element("a", film.title);
  link.href = `/films/${film.key}/`;
  title.append(link);
  const list = element("dl", undefined, "facts");
  for (const [name, value] of facts(film)) {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    list.append(pair);
  }
  words.append(title, element("p", film.video, "soft", "path"), list);
  const { cues, unchecked } = film.progress;
  if (cues > 0) {
    const pair = element("div");
    const bar = element("progress");
    bar.max = cues;
    bar.value = cues - unchecked;
    bar.setAttribute("aria-label", `${cues - unchecked} of ${count(cues, "cue")} checked`);
    const value = element("dd");
    value.append(bar);
    pair.append(element("dt", "Progress"), value);
    list.append(pair);
  }
  const badges = element("p", undefined, "states");
  for (const [kind, text] of states(film)) badges.append(element("span", text, "badge", kind));
  if (badges.childElementCount) words.append(badges);
  li.append(thumbnail(film), words);
  return li;
}

/** Where the keyboard is in the list, so that it stays there when the list is shown again. */
function focused() {
  return document.activeElement?.closest("#films a")?.getAttribute("href");
}

/** @param {string} id */
const any = (id) => find(id, HTMLElement);

/** @param {FilmList} list @param {number} page */
function shown(list, page) {
  const at = focused();
  any("archive").textContent = list.archive;
  films.replaceChildren(...list.films.map(row));
  links().find((link) => link.getAttribute("href") === at)?.focus();
  const pages = Math.max(1, Math.ceil(list.total / PAGE));
  const read = list.unread ? `; ${list.unread.toLocaleString("en")} are still being read` : "";
  any("count").textContent = (list.total ? count(list.total, "film") : "No film fits") + read;
  any("pages").hidden = pages === 1 && page === 1;
  any("page").textContent = `Page ${page} of ${pages}`;
  earlier.disabled = page <= 1;
  later.disabled = page >= pages;
  any("orphans").hidden = !list.orphans;
  any("orphans").textContent = list.orphans === 1
    ? "One review belongs to a film that is not in the archive. It stays in the folder reviews/."
    : `${list.orphans} reviews belong to films that are not in the archive. They stay in the folder reviews/.`;
}

/** @param {string} words */
function problem(words) {
  any("notice").textContent = words;
  any("notice").hidden = !words;
}

/** The links to the films. @returns {HTMLAnchorElement[]} */
const links = () => [...films.querySelectorAll("a")];

async function show() {
  clearTimeout(again);
  const number = ++asked;
  const choice = chosen();
  if (document.activeElement !== name) name.value = choice.find;
  selects.order.value = choice.order;
  selects.show.value = choice.show;
  try {
    const answer = await fetch("/api/films", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(choice),
    });
    const list = await answer.json();
    if (number !== asked) return;
    if (!answer.ok) throw new Error(list.error);
    problem("");
    shown(list, choice.page);
    if (list.unread) again = setTimeout(show, AGAIN);
  } catch (e) {
    if (number !== asked) return;
    problem(e instanceof Error && !(e instanceof TypeError) ? e.message : "descry does not answer.");
    again = setTimeout(show, 4 * AGAIN);
  }
}

selects.order.addEventListener("change", () => choose({ order: selects.order.value }, false));
selects.show.addEventListener("change", () => choose({ show: selects.show.value }, false));
let typing = 0;
name.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => choose({ find: name.value }, false), PAUSE);
});
find("choice", HTMLFormElement).addEventListener("submit", (e) => e.preventDefault());
earlier.addEventListener("click", () => turn(-1));
later.addEventListener("click", () => turn(1));

/** Shows another page. @param {number} by */
async function turn(by) {
  await choose({ page: chosen().page + by }, true);
  scrollTo(0, 0);
  films.focus();
}

addEventListener("popstate", show);
// A page that the browser has kept shows what was true when it was left.
addEventListener("pageshow", (e) => e.persisted && show());
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || (e.target instanceof Element && e.target.matches("input, select"))) return;
  const all = links();
  const at = all.findIndex((link) => link === document.activeElement);
  /** @type {Record<string, HTMLElement | undefined>} */
  const keys = { ArrowDown: all[at + 1], j: all[at + 1], ArrowUp: all[at - 1], k: all[at - 1], "/": name };
  const to = keys[e.key];
  if (!to) return;
  e.preventDefault();
  to.focus();
});
show();
