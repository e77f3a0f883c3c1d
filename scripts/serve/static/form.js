// The form: searches when it is sent, when a box is ticked, and while a slider is moved.

import { leave } from "./player.js";
import { answering, show } from "./search.js";

const form = document.getElementById("search");
const SLIDE_MS = 120; // between searches while a slider moves
let timer = 0;

/** What the fields ask, without those that are empty. */
function asked() {
  const pairs = [...new FormData(form)].filter(([, value]) => value.trim());
  return new URLSearchParams(pairs).toString();
}

/** The same search with the weights of the sliders. */
function weighted() {
  const params = new URLSearchParams();
  for (const [name, value] of new FormData(document.getElementById("weights"))) {
    if (name.startsWith("weights.")) params.append("weights", `${name.slice(8)}=${Number(value).toFixed(3)}`);
    else params.append(name, value);
  }
  return params.toString();
}

function search(event) {
  const query = asked();
  if (!answering() || !query) return; // the browser loads the page
  event.preventDefault();
  for (const field of document.querySelectorAll("input.add")) field.value = "";
  show(query, { top: event.type === "submit" });
}

form?.addEventListener("submit", search);
document.addEventListener("change", (event) => {
  const { target } = event;
  if (target.form === form && target.matches("[type=checkbox], [type=number], select")) search(event);
  else if (target.type === "range" && target.form?.id === "weights") {
    timer = clearTimeout(timer);
    show(weighted());
  }
});
document.addEventListener("input", ({ target }) => {
  if (target.type !== "range" || target.form?.id !== "weights") return;
  target.form.querySelector(`output[for="${target.id}"]`).textContent = Number(target.value).toFixed(2);
  timer ||= setTimeout(() => {
    timer = 0;
    show(weighted(), { push: false, only: ["status", "results"] });
  }, SLIDE_MS);
});
document.addEventListener("submit", async (event) => {
  const { target, submitter } = event;
  if (!["weights", "judge"].includes(target.id) || !answering()) return;
  event.preventDefault();
  if (target.id === "weights") return show(weighted());
  const mark = Object.assign(document.createElement("input"), { type: "hidden", name: "mark", value: submitter.value });
  target.append(mark); // the next mark may come before this one is answered
  const query = new URLSearchParams(new FormData(target)).toString();
  await leave();
  show(query);
});

// beside the results there is room for all of it; styles show it where scripts do not run
const wide = matchMedia("(min-width: 64rem)");
const refine = document.getElementById("refine");
const unfold = () => { if (refine) refine.open = wide.matches; };
wide.addEventListener("change", unfold);
unfold();
