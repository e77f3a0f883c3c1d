// Saved searches: names and addresses, kept by this browser; the start page lists them.
//
// For tests and styles: button#save (aria-pressed: it is saved); section#saved, its li a, li button (takes it out).

const STORE = "mee.saved";
const MOST = 100;
const button = document.getElementById("save");
const section = document.getElementById("saved");

/** Pairs of a name and a query, the last one first; an error where storage is switched off. */
function stored() {
  const text = localStorage.getItem(STORE) ?? "[]";
  try {
    return JSON.parse(text).filter((pair) => pair.length === 2 && pair.every((part) => typeof part === "string")).slice(0, MOST);
  } catch {
    return []; // something else has written it
  }
}

const here = () => `?${document.getElementById("asked").dataset.query}`;
const saved = () => stored().some(([, query]) => query === here());
const keep = (pairs) => localStorage.setItem(STORE, JSON.stringify(pairs));

function toggle() {
  const others = stored().filter(([, query]) => query !== here());
  keep(saved() ? others : [[document.title.replace(/ – MEE$/, ""), here()], ...others]);
  button.setAttribute("aria-pressed", saved());
}

function list() {
  const pairs = stored();
  section.hidden = !pairs.length;
  section.querySelector("ul").replaceChildren(...pairs.map(([name, query]) => {
    const link = Object.assign(document.createElement("a"), { textContent: name || query });
    link.href = `/?${query.replace(/^\?/, "")}`;
    const out = Object.assign(document.createElement("button"), { type: "button", className: "out", textContent: "×" });
    out.setAttribute("aria-label", `Take out ${link.textContent}`);
    out.addEventListener("click", () => {
      const row = [...section.querySelectorAll("button")].indexOf(out);
      keep(stored().filter((pair) => pair[1] !== query));
      list();
      const left = section.querySelectorAll("button");
      (left[Math.min(row, left.length - 1)] ?? document.querySelector("#q")).focus();
    });
    const line = Object.assign(document.createElement("li"), { className: "chip" });
    line.append(link, " ", out);
    return line;
  }));
}

try {
  if (section) list();
  if (button) {
    button.setAttribute("aria-pressed", saved());
    button.addEventListener("click", toggle);
    document.addEventListener("mee:hits", () => button.setAttribute("aria-pressed", saved()));
    button.hidden = false;
  }
} catch {
  // nothing can be saved
}
