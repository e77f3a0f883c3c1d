// Answers without a new page: the parts that the server renders for an address replace those with the same ids.
//
// A newer search ends the one before. What was asked stands in the address, so Back, Forward and Reload show it again.
// After hits were replaced or added, `document` gets "mee:hits".

const UNREACHABLE = "The server does not answer; start mee serve again, then search again.";
const FIELDS = ["q", "said", "written", "min_score", "sort"]; // that are not part of what is replaced
let pending = new AbortController();
let shown = location.search;

/** Whether this page shows answers, and not the start page or a clip. */
export const answering = () => Boolean(document.getElementById("asked"));

/**
 * Search for a query such as q=a+dog.
 * push: a new entry of the history; only: ids of the parts to replace, default all; top: scroll to the first hit.
 */
export async function show(query, { push = true, only = null, top = false } = {}) {
  const answer = await part(query);
  if (!answer) return;
  const focused = document.activeElement;
  const place = hits().indexOf(focused.closest(".hit"));
  for (const fresh of [...answer.body.children]) {
    const old = document.getElementById(fresh.id);
    if (!old || (only && !only.includes(fresh.id))) continue;
    if (fresh.id === "status") say(fresh);
    else old.replaceWith(fresh);
  }
  document.title = answer.title;
  document.getElementById("title").textContent = answer.title.replace(/ – MEE$/, "");
  shown = push ? `?${document.getElementById("asked").dataset.query}` : `?${query}`; // without what buttons sent
  if (push && location.search !== shown) history.pushState(null, "", `/${shown}`);
  if (!focused.isConnected) {
    const hit = focused.matches(".open, .judge *") ? again(focused, place) : null;
    const next = hit ?? document.getElementById(focused.id) ?? document.getElementById("results");
    next.focus({ preventScroll: true });
    hit?.scrollIntoView({ block: "nearest" });
    if (next.type === "text") next.selectionStart = next.value.length; // go on writing
  }
  if (top) scrollTo(0, 0);
  document.dispatchEvent(new Event("mee:hits"));
}

const hits = () => [...document.querySelectorAll("#hits .hit")];

/** What has the focus in a hit, in the same hit of a new list, or in the one that is where it was. */
function again(focused, place) {
  const all = hits();
  const { key } = focused.closest(".hit").dataset;
  const hit = all.find(({ dataset }) => dataset.key === key) ?? all[Math.min(place, all.length - 1)];
  return hit?.querySelector(`.${focused.classList[0]}`) ?? hit?.querySelector(".open");
}

/** Add the following hits of the list, and go to the first of them. */
async function more(link) {
  const answer = await part(new URL(link.href).search.slice(1));
  if (!answer) return;
  const next = [...answer.querySelectorAll("#hits > li")];
  const follows = answer.querySelector(".more");
  if (!next.length) return fail(answer.querySelector(".problem")?.textContent ?? UNREACHABLE, link.closest(".more"));
  document.getElementById("hits").append(...next);
  if (follows) link.closest(".more").replaceWith(follows);
  else link.closest(".more").remove();
  say(answer.getElementById("status"));
  next[0].querySelector("a").focus({ preventScroll: true });
  document.dispatchEvent(new Event("mee:hits"));
}

/** What the server renders for a query; null: a newer search has begun, or it failed and that was said. */
async function part(query) {
  pending.abort();
  pending = new AbortController();
  const { signal } = pending;
  const busy = (on) => document.getElementById("results").setAttribute("aria-busy", on);
  busy(true);
  try {
    const answer = await fetch(`/hits?${query}`, { signal });
    if (!answer.headers.get("Content-Type")?.startsWith("text/html") || answer.status === 401) {
      location.assign(`/?${query}`); // the page itself says what is wrong
      return null;
    }
    const text = await answer.text();
    busy(false);
    return new DOMParser().parseFromString(text, "text/html");
  } catch (error) {
    if (error.name === "AbortError") return null;
    busy(false);
    fail(UNREACHABLE);
    return null;
  }
}

/** Say what went wrong, above the hits or above what they end with. */
function fail(sentence, before = document.getElementById("results").firstElementChild) {
  const note = document.createElement("p");
  note.className = "problem";
  note.setAttribute("role", "alert");
  note.textContent = sentence;
  document.querySelector("#results > .problem")?.remove();
  before.before(note);
  note.scrollIntoView({ block: "nearest" });
}

function say(fresh) {
  const status = document.getElementById("status");
  if (status.textContent !== fresh.textContent) status.replaceChildren(...fresh.childNodes);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.('main a[href^="/?"]');
  if (!link || !answering() || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  if (link.rel === "next") more(link);
  else {
    const query = new URL(link.href).search.slice(1);
    fill(query);
    show(query, { top: Boolean(link.closest("#results")) });
  }
});

/** Set the fields that stay to what a query asks. */
function fill(query) {
  const params = new URLSearchParams(query);
  for (const name of FIELDS) {
    const field = document.getElementById(name);
    if (field) field.value = params.get(name) ?? "";
  }
  for (const box of document.querySelectorAll(".toggle input[type=checkbox]")) box.checked = params.has(box.name);
}

addEventListener("popstate", () => {
  if (!answering() || location.search === shown) return; // only the clip that is open has changed
  fill(location.search);
  show(location.search.slice(1), { push: false });
});

// a picture that cannot be made leaves the sign beneath it
document.addEventListener("error", ({ target }) => target.matches?.("img.thumb") && target.remove(), true);
for (const image of document.querySelectorAll("img.thumb")) {
  if (image.complete && !image.naturalWidth) image.remove();
}
