// The films of an archive, a page at a time: which ones, in which order, is in the address of the page, so that a link back
// from a film leads to the same place. While descry still reads films, the list is asked for again.

const $ = (id) => document.getElementById(id);
/** How long after the last key a name is looked for, in milliseconds. */
const PAUSE = 250;
/** How long after an answer the list is asked for again while films are being read, in milliseconds. */
const AGAIN = 500;
/** Films on a page. */
const PAGE = 50;

const choices = { order: "mean", show: "all" };
/** Counts the requests: only the answer to the last one is shown. */
let asked = 0;
let later = 0;

/** What is chosen, as the address of the page says. */
function chosen() {
  const from = new URLSearchParams(location.search);
  const page = Number(from.get("page"));
  const one = { find: from.get("find") ?? "", page: Number.isInteger(page) && page > 0 ? page : 1 };
  for (const [name, usual] of Object.entries(choices)) {
    const known = [...$(name).options].some((option) => option.value === from.get(name));
    one[name] = known ? from.get(name) : usual;
  }
  return one;
}

function address({ find, page, ...rest }) {
  const to = new URLSearchParams();
  if (find) to.set("find", find);
  for (const [name, usual] of Object.entries(choices)) if (rest[name] !== usual) to.set(name, rest[name]);
  if (page > 1) to.set("page", String(page));
  return to.size ? "?" + to : location.pathname;
}

function choose(change, isNewPage) {
  const to = address({ ...chosen(), page: 1, ...change });
  if (isNewPage) history.pushState(null, "", to);
  else history.replaceState(null, "", to);
  return show();
}

function element(name, text, ...classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  made.classList.add(...classes);
  return made;
}

function clock(seconds) {
  const whole = Math.round(seconds);
  const two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;

/** What is known of a film, as pairs of a name and its value. */
function facts({ duration, progress }) {
  const known = [];
  if (duration !== null) known.push(["Length", clock(duration)]);
  known.push(["Cues", progress.cues.toLocaleString("en")], ["Not checked", progress.unchecked.toLocaleString("en")]);
  if (progress.mean !== null) known.push(["Mean score", progress.mean.toFixed(2)], ["Lowest score", progress.lowest.toFixed(2)]);
  if (progress.last_change) known.push(["Edited", new Date(progress.last_change).toLocaleString()]);
  return known;
}

/** The states of a film that an editor should know of. */
function states({ fault, presence, standing, progress }) {
  const found = [];
  if (fault) found.push(["bad", fault]);
  if (presence === "missing") found.push(["bad", "The film is not at this path any more"]);
  if (presence === "changed") found.push(["wait", "The film has changed since it was described: run descry index"]);
  if (standing === "described-again") found.push(["wait", "Described again since it was edited"]);
  if (!fault && progress.cues > 0 && progress.unchecked === 0) found.push(["good", "All cues are checked"]);
  return found;
}

function row(film) {
  const li = element("li");
  let picture = element("span", "no picture", "thumb");
  picture.setAttribute("aria-hidden", "true");
  if (film.has_thumbnail) {
    picture = element("img", undefined, "thumb");
    picture.alt = "";
    picture.loading = "lazy";
    picture.src = `/thumbnail/${film.key}.jpg`;
  }
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
  li.append(picture, words);
  return li;
}

/** Where the keyboard is in the list, so that it stays there when the list is shown again. */
function focused() {
  return document.activeElement?.closest("#films a")?.getAttribute("href");
}

function shown(list, page) {
  const at = focused();
  $("archive").textContent = list.archive;
  $("films").replaceChildren(...list.films.map(row));
  if (at) document.querySelector(`#films a[href="${at}"]`)?.focus();
  const pages = Math.max(1, Math.ceil(list.total / PAGE));
  const read = list.unread ? `; ${list.unread.toLocaleString("en")} are still being read` : "";
  $("count").textContent = (list.total ? count(list.total, "film") : "No film fits") + read;
  $("pages").hidden = pages === 1 && page === 1;
  $("page").textContent = `Page ${page} of ${pages}`;
  $("earlier").disabled = page <= 1;
  $("later").disabled = page >= pages;
  $("orphans").hidden = !list.orphans;
  $("orphans").textContent = list.orphans === 1
    ? "One review belongs to a film that is not in the archive. It stays in the folder reviews/."
    : `${list.orphans} reviews belong to films that are not in the archive. They stay in the folder reviews/.`;
}

function problem(words) {
  $("notice").textContent = words;
  $("notice").hidden = !words;
}

async function show() {
  clearTimeout(later);
  const number = ++asked;
  const choice = chosen();
  if (document.activeElement !== $("find")) $("find").value = choice.find;
  for (const name of Object.keys(choices)) $(name).value = choice[name];
  try {
    const answer = await fetch("/api/films", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(choice),
    });
    const list = await answer.json();
    if (number !== asked) return;
    if (!answer.ok) throw new Error(list.error);
    problem("");
    shown(list, choice.page);
    if (list.unread) later = setTimeout(show, AGAIN);
  } catch (e) {
    if (number !== asked) return;
    problem(e instanceof TypeError ? "descry does not answer." : e.message);
    later = setTimeout(show, 4 * AGAIN);
  }
}

for (const name of Object.keys(choices)) $(name).addEventListener("change", () => choose({ [name]: $(name).value }));
let typing = 0;
$("find").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => choose({ find: $("find").value }), PAUSE);
});
$("choice").addEventListener("submit", (e) => e.preventDefault());
$("earlier").addEventListener("click", () => turn(-1));
$("later").addEventListener("click", () => turn(1));

async function turn(by) {
  await choose({ page: chosen().page + by }, true);
  scrollTo(0, 0);
  $("films").focus();
}

addEventListener("popstate", show);
// A page that the browser has kept shows what was true when it was left.
addEventListener("pageshow", (e) => e.persisted && show());
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.matches("input, select, textarea")) return;
  const links = [...document.querySelectorAll("#films h2 a")];
  const at = links.indexOf(document.activeElement);
  const to = { ArrowDown: links[at + 1], j: links[at + 1], ArrowUp: links[at - 1], k: links[at - 1], "/": $("find") }[e.key];
  if (!to) return;
  e.preventDefault();
  to.focus();
});
show();
