// Keys: all that can be done with a mouse, by one letter or sign (help.html.j2 lists them). They do nothing while
// something is typed, with Ctrl, Alt or Meta, where the browser's own controls use them, and when they are switched off.
//
// For tests and styles: button#help-open, dialog#help, #keys-on (checkbox, remembered as localStorage "mee.keys").

import { actions, shown } from "./player.js";
import { toExport } from "./marks.js";
import { scrub } from "./strip.js";

const STORE = "mee.keys";
const player = document.getElementById("player");
const help = document.getElementById("help");
const on = document.getElementById("keys-on");
const opener = document.getElementById("help-open");
const press = (selector, within) => within?.querySelector(selector)?.click();

// ---- help

if (help) {
  opener.hidden = false;
  const wide = matchMedia("(min-width: 40rem)"); // else the search box needs the header's width
  const place = () => document.querySelector(wide.matches ? "header.top" : "main")?.append(opener);
  wide.addEventListener("change", place);
  place();
  opener.addEventListener("click", () => help.showModal());
  on.checked = remembered() !== "off";
  on.addEventListener("change", remember);
}

function remembered() {
  try {
    return localStorage.getItem(STORE);
  } catch {
    return null; // storage is switched off
  }
}

function remember() {
  try {
    localStorage.setItem(STORE, on.checked ? "on" : "off");
  } catch {
    // then it lasts as long as the page
  }
}

// ---- hits

const links = () => [...document.querySelectorAll(".hit a.open")].filter((link) => link.getClientRects().length);
const focused = () => document.activeElement?.closest(".hit");

/** The hit beside, above or below one, by where they are on the screen. */
function beside(link, key) {
  const all = links();
  const at = all.indexOf(link);
  if (at < 0) return all.find((other) => other.getBoundingClientRect().top >= 0) ?? all[0];
  if (key === "ArrowLeft") return all[at - 1];
  if (key === "ArrowRight") return all[at + 1];
  const sign = key === "ArrowDown" ? 1 : -1;
  const place = (other) => {
    const { left, width, top } = other.closest(".hit").getBoundingClientRect();
    return { x: left + width / 2, y: top * sign };
  };
  const here = place(link);
  let best;
  for (const other of all) {
    const { x, y } = place(other);
    const [down, aside] = [Math.round(y - here.y), Math.abs(x - here.x)];
    if (down > 1 && (!best || down < best.down || (down === best.down && aside < best.aside))) {
      best = { other, down, aside };
    }
  }
  return best?.other;
}

function go(event) {
  const hit = focused();
  if (!hit && document.activeElement !== document.body) return false; // arrows are for what has the focus
  const next = beside(hit?.querySelector("a.open"), event.key);
  next?.focus();
  next?.closest(".hit").scrollIntoView({ block: "nearest" });
  return Boolean(next);
}

const HITS = {
  ArrowLeft: go, ArrowRight: go, ArrowUp: go, ArrowDown: go,
  " ": () => document.activeElement.matches(".hit a.open") && scrub(document.activeElement),
  s: () => {
    const menu = focused()?.querySelector("details.similar");
    if (!menu) return false;
    menu.open = true;
    menu.querySelector("a")?.focus();
    return true;
  },
  m: () => press("input.mark", focused()),
};
const EVERYWHERE = {
  "/": () => {
    const box = document.querySelector("input[name=q]");
    box?.focus();
    box?.select();
  },
  "?": () => help?.showModal(),
  e: toExport,
};
const CLIP = {
  " ": actions.toggle, r: actions.replay, l: actions.loop, "[": actions.before, "]": actions.after,
  m: (clip) => press("input.mark", clip),
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
    return;
  }
  if (!on?.checked || target.closest?.(typed) || help.open) return;
  if (key === " " && target.closest?.(pressed)) return;
  const clip = shown();
  let action = (clip && CLIP[key] && (() => CLIP[key](clip))) || HITS[key];
  if (!player.open) action ??= EVERYWHERE[key];
  else if (key === "?") action = EVERYWHERE[key];
  if (action && action(event) !== false) event.preventDefault();
});
