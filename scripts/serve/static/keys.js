// Keys: all that can be done with a mouse, by one letter or sign (help.html.j2 lists them). They do nothing while
// something is typed, with Ctrl, Alt or Meta, where the browser's own controls use them, and when they are switched off.
//
// For tests and styles: button#help-open, dialog#help, #keys-on (checkbox, remembered as localStorage "mee.keys").

import { toExport } from "./marks.js";
import { shown, toggle } from "./player.js";
import { scrub } from "./strip.js";

const STORE = "mee.keys";
const player = document.getElementById("player");
const help = document.getElementById("help");
const on = document.getElementById("keys-on");

// ---- help

if (help) {
  const button = document.getElementById("help-open");
  const wide = matchMedia("(min-width: 40rem)"); // else the search box needs the header's width
  const place = () => document.querySelector(wide.matches ? "header.top" : "main").append(button);
  wide.addEventListener("change", place);
  place();
  button.hidden = false;
  button.addEventListener("click", () => help.showModal());
  try {
    on.checked = localStorage.getItem(STORE) !== "off";
    on.addEventListener("change", () => localStorage.setItem(STORE, on.checked ? "on" : "off"));
  } catch {
    // storage is switched off: the choice lasts as long as the page
  }
}

// ---- hits

const links = () => [...document.querySelectorAll(".hit a.open")].filter((link) => link.getClientRects().length);
const focused = () => document.activeElement.closest(".hit");

/** The hit beside, above or below one, by where they are on the screen. */
function beside(link, key) {
  const all = links();
  const at = all.indexOf(link);
  if (at < 0) return all.find((other) => other.getBoundingClientRect().top >= 0) ?? all[0];
  if (key === "ArrowLeft") return all[at - 1];
  if (key === "ArrowRight") return all[at + 1];
  const place = (other) => other.closest(".hit").getBoundingClientRect();
  const here = place(link);
  const ahead = all.map((other) => {
    const { left, top } = place(other);
    return { other, far: Math.round(key === "ArrowDown" ? top - here.top : here.top - top), aside: Math.abs(left - here.left) };
  });
  return ahead.filter(({ far }) => far > 1).sort((a, b) => a.far - b.far || a.aside - b.aside)[0]?.other;
}

function go({ key }) {
  const hit = focused();
  if (!hit && document.activeElement !== document.body) return false; // arrows are for what has the focus
  const next = beside(hit?.querySelector("a.open"), key);
  next?.focus();
  next?.closest(".hit").scrollIntoView({ block: "nearest" });
  return Boolean(next);
}

function similar() {
  const menu = focused()?.querySelector("details.similar");
  if (!menu) return;
  menu.open = true;
  menu.querySelector("a").focus();
}

function search() {
  const box = document.querySelector("input[name=q]");
  box?.focus();
  box?.select();
}

const press = (selector) => (clip) => clip?.querySelector(selector)?.click();
const HITS = {
  ArrowLeft: go, ArrowRight: go, ArrowUp: go, ArrowDown: go, s: similar, m: () => press("input.mark")(focused()),
  g: () => press(".good")(focused()), b: () => press(".bad")(focused()), c: () => press(".closest")(focused()),
  " ": () => document.activeElement.matches(".hit a.open") && scrub(document.activeElement),
};
const EVERYWHERE = {
  "/": search, e: toExport, "?": () => help?.showModal(),
};
const CLIP = {
  " ": toggle, r: press(".replay"), l: press(".loop"), m: press("input.mark"),
  g: press(".good"), b: press(".bad"),
  "[": press("a[rel=prev]"), "]": press("a[rel=next]"),
};

// ---- which key is whose

const typed = "input:not([type=checkbox], [type=radio], [type=submit]), textarea, select, [contenteditable]";
const pressed = "button, summary, input, video, audio, a:not(.open)"; // Space is theirs

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
  if (key === "Escape" && target.matches("input[name=q]")) {
    target.blur(); // from where arrows lead to the hits
    event.preventDefault(); // what was typed stays
  }
  if (!on?.checked || help.open || target.closest(typed) || (key === " " && target.closest(pressed))) return;
  const clip = shown();
  const mine = clip && CLIP[key] ? () => CLIP[key](clip) : HITS[key];
  const action = player.open && key !== "?" ? clip && CLIP[key] && mine : mine ?? EVERYWHERE[key];
  if (action && action(event) !== false) event.preventDefault();
});
