// The player: a clip over the page, in a dialog; and what the dialog and the page of a clip do with video and sound.
//
// For tests and styles:
//   dialog#player              the dialog; data-key: the clip that is shown
//   #player .body              its content, /clip/KEY/part
//   #player button.close
//   .clip[data-key]            a clip, in the dialog or on its page
//   .clip .media               <video>, <audio> or <img>; data-start, data-end: the moment, in seconds of the player;
//                              data-state: "preparing", "ready", "error"
//   .clip .play-note           one sentence, where something is to be known or done (role=status)
//   .clip .replay, .loop, .again     <button>, <input type=checkbox>, <button>
//   .clip .lines li[data-from]       what is said and written; .now: at this moment; a.line plays from there
//   .clip a[rel=prev], a[rel=next]   neighbours in time
// The address of an open clip ends in #clip=KEY; Back closes it.

const STEP_S = 0.05; // before its end, where a moment is over
const LATE_S = 0.2; // after it, where the picture is of something else
const UNREACHABLE = "The server does not answer; start mee serve again, then try again.";
const UNPLAYABLE = "This browser cannot play the file; play it in a video player, or in another browser.";
let opener = null; // what had the focus before
let leaving = null; // going back in the history, which takes a while
let pending = new AbortController(); // of what is fetched for the clip that is shown

const dialog = document.getElementById("player") ?? document.body.appendChild(document.createElement("dialog"));
dialog.id = "player";
dialog.setAttribute("aria-labelledby", "clip-title");
dialog.innerHTML =
  '<button type="button" class="close" aria-label="Close the player">✕</button><div class="body"></div>';
const body = dialog.querySelector(".body");

// ---- playing a moment

/** Let the media of a clip stop where its moment ends, and say what is wrong where it does not play. */
function attach(clip, start = false) {
  const media = clip.querySelector(".media");
  if (!media) return;
  const state = (name, sentence = "") => {
    media.dataset.state = name;
    clip.querySelector(".play-note").textContent = sentence;
  };
  const failed = async () => {
    const { sentence, again } = await problemOf(media);
    if (!media.isConnected) return;
    state("error", sentence);
    if (!again) return;
    const button = Object.assign(document.createElement("button"), { className: "again", textContent: "Try again" });
    button.addEventListener("click", () => media.load());
    clip.querySelector(".play-note").append(button);
  };
  media.addEventListener("error", failed);
  if (media.tagName === "IMG") {
    if (media.complete && !media.naturalWidth) failed();
    return;
  }
  const [from, to] = [Number(media.dataset.start), Number(media.dataset.end)];
  const lines = [...clip.querySelectorAll(".lines li[data-from]")];
  let last = from;
  const ended = () => {
    if (clip.querySelector(".loop").checked) return playFrom(media, from);
    media.pause();
    if (media.currentTime > to + LATE_S) media.currentTime = to;
  };
  const prepare = () => state("preparing", media.dataset.preparing);
  media.addEventListener("loadstart", prepare);
  media.addEventListener(media.tagName === "AUDIO" ? "loadedmetadata" : "loadeddata", () => state("ready"));
  media.addEventListener("seeking", () => { last = media.currentTime; });
  media.addEventListener("timeupdate", () => {
    const passed = last < to - STEP_S && media.currentTime >= to - STEP_S; // not where somebody has sought beyond it
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
  if (media.error) failed();
  else if (media.readyState < 2) prepare();
  else state("ready");
  if (start) play(media);
}

function playFrom(media, time) {
  media.currentTime = time;
  play(media);
}

function play(media) {
  media.play().catch(() => {}); // not allowed: the browser's controls are there; failed: "error" says why
}

/** Why media did not load, by what the server says about its address. */
async function problemOf(media) {
  const address = media.getAttribute("src").split("#")[0];
  const answer = await fetch(address, { headers: { Range: "bytes=0-0" }, signal: pending.signal }).catch(() => null);
  if (!answer) return { sentence: UNREACHABLE, again: true };
  if (!answer.ok) return { sentence: await sentenceOf(answer), again: answer.status === 503 };
  answer.body?.cancel();
  return { sentence: UNPLAYABLE };
}

async function sentenceOf(answer) {
  const { error } = await answer.json().catch(() => ({}));
  return error ?? `The server answered with error ${answer.status}; load the page again.`;
}

// ---- the dialog

/** Show the clip of an address such as /clip/KEY?q=a+dog in the dialog; pushed: as a new entry of the history. */
async function show(href, pushed = true) {
  await leaving;
  const address = new URL(href, location.href);
  const state = { clip: address.pathname + address.search, pushed };
  stop();
  dialog.dataset.key = address.pathname.split("/").pop();
  const write = (how) => history[how](state, "", `#clip=${dialog.dataset.key}`);
  if (dialog.open) {
    state.pushed = history.state?.pushed;
    write("replaceState");
  } else {
    opener = document.activeElement;
    if (history.state?.clip !== state.clip) write(pushed ? "pushState" : "replaceState");
    dialog.showModal();
  }
  pending = new AbortController();
  try {
    const answer = await fetch(`${address.pathname}/part${address.search}`, { signal: pending.signal });
    if (!answer.ok) return tell(await sentenceOf(answer));
    body.innerHTML = await answer.text();
    attach(body.querySelector(".clip"), true);
    body.querySelector("#clip-title").focus();
    document.dispatchEvent(new Event("mee:clip"));
  } catch (error) {
    if (error.name !== "AbortError") tell(UNREACHABLE);
  }
}

function tell(sentence) {
  body.innerHTML = '<p class="problem" id="clip-title" role="alert"></p>';
  body.firstChild.textContent = sentence;
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
  if (history.state?.clip && history.state.pushed) {
    leaving = new Promise((done) => addEventListener("popstate", done, { once: true }));
    history.back();
  } else if (location.hash.startsWith("#clip=")) history.replaceState(null, "", location.pathname + location.search);
  const hit = document.querySelector(`.hit[data-key="${CSS.escape(dialog.dataset.key)}"] .open`);
  (opener?.isConnected && opener !== document.body ? opener : hit)?.focus();
});
dialog.addEventListener("click", ({ target }) => {
  if (target === dialog || target.matches(".close")) dialog.close(); // beside it, or on the button
});

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
for (const clip of document.querySelectorAll("main .clip")) attach(clip);
const asked = /^#clip=([\w-]+)$/.exec(location.hash);
if (asked) show(history.state?.clip ?? `/clip/${asked[1]}${location.search}`, false);

// ---- for keys.js and form.js

/** Close the dialog, if it is open, until the address is that of the page again. */
export async function leave() {
  if (!dialog.open) return;
  const closed = new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  dialog.close();
  await closed;
  await leaving;
}

/** The clip in the open dialog, or of this page. */
export const shown = () => (dialog.open ? body : document).querySelector(".clip");

export function toggle(clip) {
  const media = clip.querySelector("video, audio");
  if (media?.paused) play(media);
  else media?.pause();
}
