// The player: a clip over the page, in a dialog; and what both it and the page of a clip do with its video or sound.
//
// For tests and styles:
//   dialog#player              the dialog; data-key: the clip that is shown
//   #player .body              its content, /clip/KEY/part
//   #player button.close
//   .clip[data-key]            a clip, in the dialog or on its page
//   .clip .media               <video>, <audio> or <img>; data-start, data-end: the moment, in seconds of the player;
//                              data-state: "preparing", "ready", "error"
//   .clip .play-note           one sentence, where something is to be known or done (role=status)
//   .clip .replay, .loop       <button>, <input type=checkbox>
//   .clip a[rel=prev], a[rel=next]   neighbours in time
// The address of an open clip ends in #clip=KEY; Back closes it.

const STEP_S = 0.05; // before its end, where a moment is over
const LATE_S = 0.2; // after it, where the picture is of something else
let opener = null; // what had the focus before
let leaving = null; // going back in the history, which takes a while
let pending = new AbortController(); // of what is fetched for the clip that is shown

const dialog = document.getElementById("player") ?? document.createElement("dialog");
dialog.id = "player";
dialog.setAttribute("aria-labelledby", "clip-title");
dialog.innerHTML =
  '<button type="button" class="close" aria-label="Close the player">✕</button><div class="body"></div>';
if (!dialog.isConnected) document.body.append(dialog);
const body = dialog.querySelector(".body");

// ---- playing a moment

/** Let the media of a clip stop where its moment ends, and say what is wrong where it does not play. */
export function attach(clip, { start = false } = {}) {
  const media = clip.querySelector(".media");
  if (!media) return;
  const state = (name, sentence = "") => {
    media.dataset.state = name;
    say(clip, sentence);
  };
  media.addEventListener("error", () => problemOf(media, pending.signal).then((problem) => {
    state("error", problem.sentence);
    if (problem.again) clip.querySelector(".play-note").append(againButton(media));
  }, ignoreAbort));
  if (media.tagName === "IMG") {
    if (media.complete && !media.naturalWidth) media.dispatchEvent(new Event("error"));
    return;
  }
  const [from, to] = [Number(media.dataset.start), Number(media.dataset.end)];
  const loop = clip.querySelector(".loop");
  const lines = [...clip.querySelectorAll(".lines li[data-from]")];
  let last = from;
  const ended = () => {
    if (loop.checked) return playFrom(media, from);
    media.pause();
    if (media.currentTime > to + LATE_S) media.currentTime = to;
  };
  media.addEventListener("loadstart", () => state("preparing", media.dataset.preparing));
  media.addEventListener(media.tagName === "AUDIO" ? "loadedmetadata" : "loadeddata", () => state("ready"));
  media.addEventListener("seeking", () => { last = media.currentTime; });
  media.addEventListener("timeupdate", () => {
    const passed = last < to && media.currentTime >= to - STEP_S; // not where somebody has sought beyond it
    last = media.currentTime;
    for (const line of lines) line.classList.toggle("now", line.dataset.from <= last && last < line.dataset.to);
    if (passed) ended(); // the browser may have paused there, by the address's #t=
  });
  media.addEventListener("ended", ended);
  clip.querySelector(".controls").hidden = false;
  clip.querySelector(".replay").addEventListener("click", () => playFrom(media, from));
  for (const line of lines) {
    line.querySelector("a").addEventListener("click", (event) => {
      event.preventDefault();
      playFrom(media, Number(line.dataset.from));
    });
  }
  if (media.error) media.dispatchEvent(new Event("error"));
  else if (media.readyState < 2) state("preparing", media.dataset.preparing);
  else state("ready");
  if (start) media.play().catch(ignoreAbort); // where the browser does not allow it, its controls are there
}

function playFrom(media, time) {
  media.currentTime = time;
  media.play().catch(ignoreAbort);
}

/** Why media did not load, by what the server says about its address. */
async function problemOf(media, signal) {
  const address = media.getAttribute("src").split("#")[0];
  let answer;
  try {
    answer = await fetch(address, { headers: { Range: "bytes=0-0" }, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return { sentence: "The server does not answer; start mee serve again, then try again.", again: true };
  }
  if (!answer.ok) return { sentence: await sentenceOf(answer), again: answer.status === 503 };
  answer.body?.cancel();
  return { sentence: "This browser cannot play the file; play it in a video player, or in another browser." };
}

async function sentenceOf(answer) {
  const said = await answer.json().then((content) => content.error, () => null);
  return said || `The server answered with error ${answer.status}; load the page again.`;
}

function againButton(media) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "again";
  button.textContent = "Try again";
  button.addEventListener("click", () => media.load());
  return button;
}

function say(clip, sentence) {
  clip.querySelector(".play-note").textContent = sentence ?? "";
}

function ignoreAbort(error) {
  if (!["AbortError", "NotAllowedError", "NotSupportedError"].includes(error.name)) throw error;
}

// ---- the dialog

/** Show the clip of an address such as /clip/KEY?q=a+dog in the dialog. */
export async function show(href, { pushed = true } = {}) {
  const address = new URL(href, location.href);
  const key = address.pathname.split("/").pop();
  await leaving;
  const known = { ...history.state, clip: address.pathname + address.search };
  stop();
  dialog.dataset.key = key;
  if (dialog.open) history.replaceState({ ...known, pushed: history.state?.pushed }, "", `#clip=${key}`);
  else {
    opener = document.activeElement;
    if (history.state?.clip !== known.clip) {
      history[pushed ? "pushState" : "replaceState"]({ ...known, pushed }, "", `#clip=${key}`);
    }
    dialog.showModal();
  }
  pending = new AbortController();
  try {
    const signal = pending.signal;
    const answer = await fetch(`${address.pathname}/part${address.search}`, { signal });
    body.innerHTML = answer.ok ? await answer.text() : "";
    if (!answer.ok) throw new Error(await sentenceOf(answer));
    const clip = body.querySelector(".clip");
    attach(clip, { start: true });
    clip.querySelector("#clip-title").focus();
    document.dispatchEvent(new Event("mee:clip"));
  } catch (error) {
    if (error.name !== "AbortError") tell(error);
  }
}

function tell(error) {
  const offline = error instanceof TypeError; // of fetch
  const note = document.createElement("p");
  note.className = "problem";
  note.id = "clip-title";
  note.setAttribute("role", "alert");
  note.textContent = offline ? "The server does not answer; start mee serve again." : error.message;
  body.replaceChildren(note);
}

/** Stop what plays and what is fetched: the server drops a conversion when nobody waits for it. */
function stop() {
  pending.abort();
  for (const media of body.querySelectorAll("video, audio")) {
    media.removeAttribute("src");
    media.load();
  }
  body.replaceChildren();
}

dialog.addEventListener("close", () => {
  stop();
  const { key } = dialog.dataset;
  if (history.state?.clip && history.state.pushed) {
    leaving = new Promise((done) => addEventListener("popstate", done, { once: true }));
    history.back();
  } else if (location.hash.startsWith("#clip=")) {
    history.replaceState({ ...history.state, clip: undefined }, "", location.pathname + location.search);
  }
  const again = document.querySelector(`.hit[data-key="${CSS.escape(key)}"] .open`);
  (opener?.isConnected && opener !== document.body ? opener : again)?.focus();
});
dialog.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it

// ---- what opens and closes it

document.addEventListener("click", (event) => {
  const link = event.target.closest(".hit a.open, #player a.step");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  show(link.href);
});
addEventListener("popstate", () => {
  if (history.state?.clip) show(history.state.clip);
  else if (dialog.open) dialog.close();
});
document.addEventListener("mee:hits", () => dialog.open && !location.hash.startsWith("#clip=") && dialog.close());

for (const clip of document.querySelectorAll("main .clip")) attach(clip);
const asked = /^#clip=([\w-]+)$/.exec(location.hash);
if (asked) show(history.state?.clip ?? `/clip/${asked[1]}${location.search}`, { pushed: false });

// ---- for keys.js

export function shown() {
  return dialog.open ? body.querySelector(".clip") : document.querySelector("main .clip");
}

export const actions = {
  toggle(clip) {
    const media = clip.querySelector("video, audio");
    if (media?.paused) media.play().catch(ignoreAbort);
    else media?.pause();
  },
  replay: (clip) => clip.querySelector(".replay")?.click(),
  loop: (clip) => clip.querySelector(".loop")?.click(),
  before: (clip) => clip.querySelector("a[rel=prev]")?.click(),
  after: (clip) => clip.querySelector("a[rel=next]")?.click(),
};
