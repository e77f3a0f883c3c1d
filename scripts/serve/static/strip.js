// Film strip: eight pictures of a clip, one at a time in place of its thumbnail: under the pointer by where it is,
// with the keyboard by Space. Nothing moves by itself.
//
// For tests and styles: .hit a.open .strip, data-at: the picture that is shown, from 0.

const PICTURES = 8;
const DELAY_MS = 150;
let waiting = 0;
const strips = new WeakMap(); // of links; null: there is none

/** Show the next picture of a hit's strip. */
export function scrub(link) {
  const strip = strips.get(link);
  place(link, strip && !strip.hidden ? (Number(strip.dataset.at) + 1) % PICTURES : 0);
}

async function place(link, at) {
  if (!strips.has(link) && link.querySelector("img.thumb")) {
    strips.set(link, null);
    strips.set(link, await load(link).catch(() => null)); // the thumbnail stays
    if (!link.matches(":hover, :focus")) return;
  }
  const strip = strips.get(link);
  if (!strip) return;
  strip.dataset.at = at;
  strip.style.setProperty("background-position-x", `${(100 * at) / (PICTURES - 1)}%`);
  strip.hidden = false;
}

async function load(link) {
  const picture = new Image();
  picture.src = `/api/clips/${link.closest(".hit").dataset.key}/strip`;
  await picture.decode();
  const strip = Object.assign(document.createElement("span"), { className: "strip", hidden: true });
  strip.style.setProperty("background-image", `url("${picture.src}")`);
  strip.style.setProperty("aspect-ratio", `${picture.naturalWidth / PICTURES} / ${picture.naturalHeight}`);
  link.querySelector("img.thumb").after(strip);
  return strip;
}

function hide(link) {
  clearTimeout(waiting);
  const strip = strips.get(link);
  if (strip) strip.hidden = true;
}

const pictureAt = (link, x) => {
  const box = link.getBoundingClientRect();
  return Math.min(Math.max(Math.floor(((x - box.left) / box.width) * PICTURES), 0), PICTURES - 1);
};
const listen = (name, heard) =>
  document.addEventListener(name, (event) => {
    const link = event.target.closest?.(".hit a.open");
    if (link && event.pointerType !== "touch") heard(link, event);
  });

listen("pointermove", (link, { clientX }) => {
  clearTimeout(waiting);
  if (strips.get(link)) place(link, pictureAt(link, clientX));
  else waiting = setTimeout(() => place(link, pictureAt(link, clientX)), DELAY_MS);
});
listen("pointerout", (link, { relatedTarget }) => link.contains(relatedTarget) || hide(link));
listen("focusout", hide);
listen("keydown", (link, { key }) => key === "Escape" && hide(link));
