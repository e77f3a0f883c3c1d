// Film strip: eight pictures of a clip, one at a time in place of its thumbnail: under the pointer by where it is,
// with the keyboard by Space. Nothing moves by itself.
//
// For tests and styles: .hit .strip (in a.open), data-at: the picture that is shown, from 0.

const PICTURES = 8;
const DELAY_MS = 150;
let waiting = 0;
const strips = new WeakMap(); // of links
const failed = new Set(); // addresses

/** Show the next picture of a hit's strip. */
export function scrub(link) {
  const strip = strips.get(link);
  place(link, strip && !strip.hidden ? (Number(strip.dataset.at) + 1) % PICTURES : 0);
}

async function place(link, at) {
  const thumb = link.querySelector("img.thumb");
  const address = `/api/clips/${link.closest(".hit").dataset.key}/strip`;
  if (!thumb || failed.has(address)) return;
  let strip = strips.get(link);
  if (!strip?.isConnected) {
    strip = document.createElement("span");
    strip.className = "strip";
    strip.hidden = true;
    strips.set(link, strip);
    thumb.after(strip);
    const picture = new Image();
    picture.src = address;
    strip.dataset.at = at;
    try {
      await picture.decode();
    } catch {
      failed.add(address); // the thumbnail stays
      strip.remove();
      return;
    }
    strip.style.setProperty("background-image", `url("${address}")`);
    strip.style.setProperty("aspect-ratio", `${picture.naturalWidth / PICTURES} / ${picture.naturalHeight}`);
    if (!link.matches(":hover, :focus")) return;
    at = Number(strip.dataset.at); // the pointer has moved on
  }
  strip.dataset.at = at;
  strip.style.setProperty("background-position-x", `${(100 * at) / (PICTURES - 1)}%`);
  strip.hidden = !strip.style.backgroundImage;
}

function hide(link) {
  clearTimeout(waiting);
  const strip = strips.get(link);
  if (strip) strip.hidden = true;
}

const linkOf = (event) => event.target.closest?.(".hit a.open");

document.addEventListener("pointerover", (event) => {
  const link = linkOf(event);
  if (!link || event.pointerType === "touch" || link.contains(event.relatedTarget)) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => place(link, pictureAt(link, event.clientX)), DELAY_MS);
});
document.addEventListener("pointermove", (event) => {
  const link = linkOf(event);
  if (link && strips.has(link) && event.pointerType !== "touch") place(link, pictureAt(link, event.clientX));
});
document.addEventListener("pointerout", (event) => {
  const link = linkOf(event);
  if (link && !link.contains(event.relatedTarget)) hide(link);
});
document.addEventListener("focusout", (event) => linkOf(event) && hide(linkOf(event)));
document.addEventListener("keydown", (event) => event.key === "Escape" && linkOf(event) && hide(linkOf(event)));

function pictureAt(link, x) {
  const box = link.getBoundingClientRect();
  return Math.min(Math.max(Math.floor(((x - box.left) / box.width) * PICTURES), 0), PICTURES - 1);
}
