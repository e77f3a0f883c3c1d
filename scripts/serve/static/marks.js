// Marks: hits that are kept for an export, across searches, until the tab is closed.
//
// For tests and styles: input.mark (name=key, value=KEY, form=export); form#export, its .count (role=status), its
// buttons name=form, value=csv|json|edl|otio|ffmpeg, and button[type=reset], which clears them.

const STORE = "mee.marks";
const MOST = 200; // keys in one address
const form = document.getElementById("export");
const marked = new Set(stored());

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORE)).filter((key) => /^[\w-]+$/.test(key)).slice(0, MOST);
  } catch {
    return []; // nothing is stored, or storage is switched off
  }
}

function keep() {
  show();
  try {
    sessionStorage.setItem(STORE, JSON.stringify([...marked]));
  } catch {
    // they last as long as the page
  }
}

/** Set the boxes that are on the page, and the bar. */
function show() {
  for (const box of document.querySelectorAll("input.mark")) box.checked = marked.has(box.value);
  if (!form) return;
  form.classList.toggle("some", marked.size > 0);
  const full = marked.size === MOST ? ", the most that are exported at once" : "";
  form.querySelector(".count").textContent = `${marked.size} marked${full}`;
}

document.addEventListener("change", ({ target }) => {
  if (!target.matches("input.mark")) return;
  if (!target.checked) marked.delete(target.value);
  else if (marked.size < MOST) marked.add(target.value);
  keep();
});
form?.addEventListener("formdata", ({ formData }) => {
  formData.delete("key");
  for (const key of marked) formData.append("key", key);
});
form?.addEventListener("reset", () => {
  marked.clear();
  setTimeout(keep); // after the boxes were reset
});
for (const name of ["mee:hits", "mee:clip"]) document.addEventListener(name, show);
addEventListener("pageshow", show); // the browser may restore boxes of before
show();

/** Go to the buttons that export, or say what to do first. */
export function toExport() {
  if (marked.size) form?.querySelector("button[name=form]").focus();
  else if (form) {
    form.classList.add("some");
    form.querySelector(".count").textContent = "nothing is marked yet; mark hits with m, or by their boxes";
  }
}
