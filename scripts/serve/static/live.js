// A library that is read while it is looked at: parts of the page are brought up to date in place, by their ids. Nothing
// moves: new clips take empty places, or wait until they are asked for, and what has the focus keeps it.
//
// For tests and styles: a#reading (data-clips, data-done), p#news (role=status), button#show, section#progress,
// ol#hits > li.empty, a place for a clip; ol#files > li[id], a#anew.

import { answering, show } from "./search.js";

const SOON_MS = 2000, LATER_MS = 15_000, SAY_MS = 10_000; // between questions, while all is read; between sentences
const LOST = "The server does not answer; start it again.";
const news = document.getElementById("news");
const button = document.getElementById("show");
const reading = () => document.getElementById("reading");
const clips = () => Number(reading().dataset.clips);
const places = () => document.querySelectorAll("#hits > .empty");
const listed = () => document.querySelectorAll("#files > li");
const shows = () => answering() || document.querySelector("#results[data-fill]"); // what is new, when it is asked to
const onPage = () => (answering() ? 0 : document.querySelectorAll("#hits .hit[data-key]").length);
let seen = 0; // clips, when the page showed what there is
let said = 0, told = 0; // when, and how many
let failures = 0;
let timer = 0; // null: a question is on its way

/** Make one element like another; what is the same stays, with its focus. */
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || old.childNodes.length !== fresh.childNodes.length) {
    if (old.nodeName === fresh.nodeName && !old.contains(document.activeElement)) old.replaceChildren(...fresh.childNodes);
    else if (!old.contains(document.activeElement)) return old.replaceWith(fresh);
  }
  if (old.nodeType === Node.TEXT_NODE) old.data = fresh.data;
  for (const { name } of [...(old.attributes ?? [])]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes ?? []) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const children = [...fresh.childNodes];
  [...old.childNodes].forEach((child, at) => children[at] && morph(child, children[at]));
}

/** Ask what has changed; cards: how many clips the page is said to have. */
async function ask(cards) {
  const params = new URLSearchParams(document.getElementById("files") ? location.search : "");
  if (document.getElementById("files")) params.set("files", "1");
  if (cards !== null) params.set("cards", cards);
  const answer = await fetch(`/progress?${params}`, { signal: AbortSignal.timeout(LATER_MS) });
  if (!answer.ok) throw new Error(answer.status);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of fresh.querySelectorAll("#reading, #progress, #found, #files > li")) {
    const old = document.getElementById(part.id);
    if (old) morph(old, part);
  }
  const there = [...listed()].map((row) => row.id).join();
  if (listed().length && there !== [...fresh.querySelectorAll("#files > li")].map((row) => row.id).join()) {
    document.getElementById("anew").hidden = false;
  }
  return fresh;
}

/** Put clips that are not on the page in its empty places, then, with more, after the others; returns the first. */
function place(fresh, more = false) {
  let first = null;
  for (const card of fresh.querySelectorAll("#fresh > li")) {
    const { key } = card.querySelector(".hit").dataset;
    if (document.querySelector(`#hits .hit[data-key="${CSS.escape(key)}"]`)) continue;
    const [empty] = places();
    if (empty) empty.replaceWith(card);
    else if (more) document.getElementById("hits").append(card);
    else break;
    first ??= card;
  }
  if (first) document.dispatchEvent(new Event("mee:hits"));
  return first;
}

/** Say how many clips are new, now and then. */
function tell() {
  seen = Math.min(seen, clips());
  const count = clips() - seen;
  if (count === told || Date.now() - said < SAY_MS) return;
  [told, said] = [count, Date.now()];
  news.textContent = count ? `${count} new ${count === 1 ? "moment" : "moments"}` : "";
  button.hidden = !count || onPage() >= clips();
  if (onPage() >= clips()) seen = clips(); // they are on the page already
}

async function turn() {
  if (timer === null) return;
  clearTimeout(timer);
  timer = null;
  try {
    const empty = places().length;
    place(await ask(empty ? onPage() : null));
    failures = 0;
    if (answering() && !seen && clips() && document.querySelector("#results[data-none]")) await renew();
    else if (shows()) tell();
  } catch {
    failures += 1;
    if (failures > 1) {
      news.parentElement.className = "lost";
      news.textContent = LOST;
      return;
    }
  }
  timer = setTimeout(turn, document.hidden || "done" in reading().dataset ? LATER_MS : SOON_MS);
}

/** Show what is new: the search again, or more clips. */
async function renew() {
  if (answering()) await show(location.search.slice(1), { push: false });
  const first = answering() ? null : place(await ask(0), true);
  [seen, told, said] = [clips(), 0, Date.now()];
  news.textContent = "";
  button.hidden = true;
  return first;
}

if (reading()) {
  seen = clips();
  button.addEventListener("click", async () => {
    const first = await renew();
    (first?.querySelector("a") ?? document.getElementById("results")).focus({ preventScroll: !first });
  });
  document.addEventListener("visibilitychange", () => !document.hidden && turn());
  timer = setTimeout(turn, SOON_MS);
}
